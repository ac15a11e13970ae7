"""What a user can do wrong, and what can go wrong around a run: one line that says what to do, and nothing lost."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import ROOT, ForkedProgram, assert_same, read_checkpoint, start_training, tiny_config, tiny_flags
from tests.training import error_line, refusal_line
from training import cli, loop, metrics


def files(directory: Path) -> dict[Path, bytes]:
    return {path.relative_to(directory): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def halfway(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A run stopped at step 20, with checkpoints at 15 and 20, to be copied; and how it ends when nobody stops it."""
    root = tmp_path_factory.mktemp("halfway")
    loop.train(tiny_config(), root / "whole", tensorboard=False)

    class Display(loop.ProgressBar):
        def update(self, done: int, **values: float) -> None:
            super().update(done, **values)
            if done == 20:
                signal.raise_signal(signal.SIGTERM)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "ProgressBar", Display)
        with pytest.raises(cli.Preempted):
            loop.train(tiny_config(), root / "run", tensorboard=False, save_seconds=0)
    assert sorted(path.name for path in (root / "run" / "checkpoints").iterdir()) == ["15", "20"]
    return root / "run", read_checkpoint(root / "whole")


@pytest.fixture
def workdir(halfway: tuple[Path, Any], tmp_path: Path) -> Path:
    return shutil.copytree(halfway[0], tmp_path / "run")


# ---- the command line -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--config.model.dept=3"], "--config.model.dept: config.model has no field dept; did you mean depth? it has "),
        (
            ["--config.modle.depth=3"],
            "config has no field modle; did you mean model? it has ensemble, mesh, model, optimizer",
        ),
        (["--config.model.heads=2"], "config.model has no field heads; "),
        (["--config.task.pears=2"], "config.task has no field pears; did you mean pairs?"),
        (["--workdri=x"], "Unknown command line flag 'workdri'. Did you mean: workdir ?"),
        (["recall"], "'recall' is no flag; flags look like --name=value, and --help lists them"),
        (["--config=configs/recal.py"], "--config=configs/recal.py: no such file; there are configs/adding.py, "),
        (["--config", "configs/recal.py"], "--config=configs/recal.py: no such file; there are configs/adding.py, "),
        (["--config="], "--config=: no such file; there are configs/adding.py, "),
        (["--config=configs/recall.py:lsmt"], "=lsmt: must be one of dense, "),
        (["--config=configs/recall.py:lsmt"], "; did you mean lstm?"),
        (["--config.training.steps=1e3"], "--config.training.steps=1e3: invalid literal for int()"),
        (["--config.optimizer.learning_rate=fast"], "could not convert string to float: 'fast'"),
        (["--config.model.residual=maybe"], "--config.model.residual=maybe: must be True or False"),
        (["--config.ensemble.seeds=a,b"], "ensemble.seeds=('a,b',): give one or more whole numbers from 0 to "),
        (["--config.ensemble.seeds=-1"], "ensemble.seeds=(-1,): give one or more whole numbers from 0 to "),
        (["--config.optimizer.learning_rate=nan"], "learning_rate=nan: must be a number from 1e-12 to 3.4e+38"),
        (
            ["--config.model.inner=8"],
            "config.model has no field inner; it is model.hidden_size now; it has activation, ",
        ),
        (["--config.model.mixer=lsmt"], "model.mixer=lsmt: must be one of "),
        (["--save_seconds=-1"], "-1.0 is not a non-negative number"),
        (["--workdir="], "flag --workdir=: names no directory"),
        (["--export=nowhere"], "holds no run; --workdir names the one to export from"),
    ],
)
def test_a_mistyped_command(program: ForkedProgram, tmp_path: Path, flags: list[str], says: str):
    assert says in error_line(program(*tiny_flags(), f"--workdir={tmp_path / 'run'}", *flags))
    assert not list(tmp_path.iterdir())


def test_a_command_without_config_or_workdir(program: ForkedProgram, tmp_path: Path):
    assert "with NAME one of adding, associations, bible, compression, " in error_line(program(f"--workdir={tmp_path}"))
    assert "--config.model.depth: give --config=FILE too" in error_line(program("--config.model.depth=2"))
    assert "give --workdir=DIR, the directory of the run's files" in error_line(program(*tiny_flags()))


def test_the_traceback_is_there_for_whoever_asks(program: ForkedProgram, tmp_path: Path):
    code, _, err = program(*tiny_flags(), f"--workdir={tmp_path}", "--config.model.depth=-1", "--traceback")
    assert code == 1
    assert "Traceback (most recent call last)" in err
    assert "ValueError: model.depth=-1" in err


def test_a_process_of_its_own_says_the_same(tmp_path: Path):
    process = start_training(*tiny_flags(), f"--workdir={tmp_path / 'run'}", "--config.model.depth=-1")
    out, err = process.communicate()
    assert error_line((process.returncode, out, err)) == "error: model.depth=-1: must be 0 or more"


# ---- a workdir that holds something else, or something damaged ------------------------------------------------------


def test_a_workdir_with_another_configs_run(workdir: Path, capsys: pytest.CaptureFixture[str]):
    before = files(workdir)
    line = refusal_line(tiny_config("lstm", {"optimizer.grad_clip_norm": 2.0}), workdir, capsys)
    assert "holds another config's run (model.hidden_size is 10, not " in line
    assert "model.mixer is 'rnn', not 'lstm'; optimizer.grad_clip_norm is 1.0, not 2.0" in line
    assert line.endswith("give another --workdir, or that run's own values to resume it")
    assert files(workdir) == before


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("optimizer.name", "soap", "optimizer.name=soap: must be one of"),
        ("optimizer.options", "nesterov=yes,b3=1", "has no b3"),
        ("optimizer.schedule", "cosin", "optimizer.schedule=cosin: must be one of"),
        ("training.accumulate_steps", 3, "training.accumulate_steps=3: must divide training.batch_size=4"),
        ("mesh.params", 4, "1 × 1 × 4"),
    ],
)
def test_a_run_that_is_there_is_not_touched_by_a_recipe_or_a_mesh_that_is_refused(
    workdir: Path, capsys: pytest.CaptureFixture[str], field: str, value: Any, says: str
):
    before = files(workdir)
    assert says in refusal_line(tiny_config(fields={field: value}), workdir, capsys)
    assert files(workdir) == before


def test_a_mesh_that_is_refused_leaves_no_directory_that_would_refuse_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert "1 × 1 × 4" in refusal_line(tiny_config(fields={"mesh.params": 4}), tmp_path / "new", capsys)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", ["config.json", "group.json"])
@pytest.mark.parametrize("damage", [b"", b"\0" * 100, b"\xff\xfe", None])
def test_a_damaged_json_file(
    workdir: Path, halfway: tuple[Path, Any], name: str, damage: bytes | None, capsys: pytest.CaptureFixture[str]
):
    path = workdir / name
    path.write_bytes(path.read_bytes()[:30] if damage is None else damage)
    before = files(workdir)
    line = refusal_line(tiny_config(), workdir, capsys)
    assert f"{path} is damaged" in line
    assert "delete it" in line
    assert files(workdir) == before
    path.unlink()
    if damage is None:
        loop.train(tiny_config(), workdir, tensorboard=False)
        assert_same(read_checkpoint(workdir), halfway[1])


def truncate_half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


# cli._ignore_late_orbax_errors says why.
LATE = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.mark.parametrize("cut", [truncate_half, empty, Path.unlink])
@pytest.mark.parametrize("pattern", ["_METADATA", "manifest.ocdbt", "d/*"])
@LATE
def test_a_truncated_checkpoint(
    workdir: Path,
    halfway: tuple[Path, Any],
    cut: Callable[[Path], None],
    pattern: str,
    capsys: pytest.CaptureFixture[str],
):
    newest = workdir / "checkpoints" / "20"
    for path in (newest / "default").glob(pattern):
        cut(path)
    before = files(workdir / "checkpoints")
    line = refusal_line(tiny_config(), workdir, capsys)
    assert f"checkpoint {newest} can't be read (" in line
    assert line.endswith("delete that directory to go on from step 15")
    assert files(workdir / "checkpoints") == before
    if (cut, pattern) == (truncate_half, "d/*"):
        shutil.rmtree(newest)
        loop.train(tiny_config(), workdir, tensorboard=False)
        assert_same(read_checkpoint(workdir), halfway[1])


@LATE
def test_the_only_checkpoint_truncated(workdir: Path, capsys: pytest.CaptureFixture[str]):
    shutil.rmtree(workdir / "checkpoints" / "15")
    empty(workdir / "checkpoints" / "20" / "default" / "_METADATA")
    assert refusal_line(tiny_config(), workdir, capsys).endswith("delete that directory to start anew")


# ---- places that can't be written -----------------------------------------------------------------------------------


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 280 kB of its own: one checkpoint takes up to 212, two take 308 or more."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=280k", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("only root may mount a small disk")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def remount(disk: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", disk], check=True)


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a tmpfs")
def test_a_full_disk_loses_nothing_that_was_saved(disk: Path, program: ForkedProgram, halfway: tuple[Path, Any]):
    run = disk / "run"
    flags = [*tiny_flags(), f"--workdir={run}", "--save_seconds=0"]
    line = error_line(program(*flags))
    assert "No space left on device" in line
    assert str(run) in line
    saved = [int(path.name) for path in (run / "checkpoints").iterdir() if path.name.isdigit()]
    assert saved, "the disk is to be full in mid-run: give it another size"
    assert max(saved) < 40
    assert "No space left on device" in error_line(program(*flags)), "again, while it is still full"
    remount(disk, "size=20m")
    code, out, err = program(*flags)
    assert code == 0, err
    assert out.startswith("finished: 40 steps")
    assert_same(read_checkpoint(run), halfway[1])


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a tmpfs")
def test_a_read_only_disk(disk: Path, program: ForkedProgram, workdir: Path):
    remount(disk, "size=20m")
    shutil.copytree(workdir, disk / "run")
    remount(disk, "ro")
    before = files(disk)
    for run in (disk / "run", disk / "new"):
        line = error_line(program(*tiny_flags(), f"--workdir={run}"))
        assert f"error: {run}" in line
        assert line.endswith("Read-only file system")
    assert files(disk) == before


def test_a_workdir_that_cannot_be_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "file").write_text("mine")
    assert (
        refusal_line(tiny_config(), tmp_path / "file" / "run", capsys) == f"error: {tmp_path}/file/run: Not a directory"
    )
    assert f"{tmp_path}/file" in refusal_line(tiny_config(), tmp_path / "file", capsys)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_checkpoint_that_fails_in_the_background(program: ForkedProgram, workdir: Path, halfway: tuple[Path, Any]):
    """No file may grow past 8 kB, which a checkpoint's does. It is written in a thread, and read about at the end."""
    line = error_line(program(*tiny_flags(), f"--workdir={workdir}", "--notensorboard", max_file_size=8_000))
    assert f"no checkpoint could be written to {workdir / 'checkpoints'} (File too large); " in line
    assert line.endswith("the same command goes on from step 20")
    assert not (workdir / "result.json").exists()
    assert program(*tiny_flags(), f"--workdir={workdir}", "--notensorboard")[0] == 0
    assert_same(read_checkpoint(workdir), halfway[1])
    assert len(metrics.read_metrics(workdir / "metrics.jsonl")) == 8 + 2 * 4


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="has no /dev/full")
def test_metrics_that_cannot_be_written_name_their_file(tmp_path: Path):
    log = metrics.MetricWriter(tmp_path / "metrics.jsonl")
    log.file = open("/dev/full", "w")  # noqa: SIM115
    with pytest.raises(OSError, match="No space left") as caught:
        log.write_row(step=1, split="train")
    assert cli.format_error(caught.value) == f"{tmp_path}/metrics.jsonl: No space left on device"


@pytest.mark.parametrize("platform", ["cuda", "nonsense"])
def test_a_platform_that_is_not_there(tmp_path: Path, platform: str):
    env = {**os.environ, "JAX_PLATFORMS": platform, "XLA_FLAGS": ""}
    command = [sys.executable, "train.py", *tiny_flags(), f"--workdir={tmp_path / 'run'}"]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    says = f"error: JAX_PLATFORMS={platform}: JAX finds no such device here, or has no plugin for it; it finds cpu"
    if done.returncode == 0:
        pytest.skip("this machine has a GPU")
    assert error_line((done.returncode, done.stdout, done.stderr)) == says
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("flag", "says"),
    [
        ("--mixer=lstm", "--mixer: the mixer stands behind the colon, as in --config=configs/recall.py:lstm"),
        ("--steps=3", "--steps: no such flag; did you mean --config.training.steps?"),
        ("--config.ensemble.seeds=9..0", "=9..0: a range goes up, as 0..9, and has at most 10000 numbers"),
        ("--config.ensemble.seeds=0..10000", "a range goes up, as 0..9, and has at most 10000 numbers"),
        ("--config.ensemble.seeds=", "ensemble.seeds=(): give one or more whole numbers"),
        (
            "--config.model.hidden_size=a",
            "model.hidden_size=a: must be 0 or more, one number for all mixers or one for each",
        ),
        (
            "--config.model.hidden_size=1.5",
            "model.hidden_size=1.5: must be 0 or more, one number for all mixers or one for each",
        ),
        (
            "--config.model.hidden_size=8,8",
            "model.hidden_size=(8, 8): must be 0 or more, one number for all mixers or one for",
        ),
        ("--data_dir=", "flag --data_dir=: names no directory"),
        ("--export=", "flag --export=: names no directory"),
    ],
)
def test_words_that_are_nearly_right(program: ForkedProgram, tmp_path: Path, flag: str, says: str):
    assert says in error_line(program(*tiny_flags(), f"--workdir={tmp_path / 'run'}", flag))
    assert not list(tmp_path.iterdir())


def test_lists_ranges_and_nothing_where_the_help_promises_them(program: ForkedProgram, tmp_path: Path):
    given = ["--config.ensemble.seeds=0..2,7", "--config.ensemble.learning_rates=", "--config.model.hidden_size=8,16"]
    code, out, err = program(*tiny_flags("rnn,gru", {"model.depth": 2}), *given, "--dry_run")
    assert code == 0, err
    assert "\nmixer       rnn,gru, hidden size 8, 16\n" in out
    assert "\nmembers     4, for" in out


def test_a_tilde_is_the_home_directory(program: ForkedProgram, tmp_path: Path):
    home = Path("~").expanduser()
    outcome = program("--workdir=~/is/no/run", f"--export={tmp_path / 'to'}")
    assert f"{home}/is/no/run" in error_line(outcome)
