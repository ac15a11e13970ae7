"""What a user can do wrong, and what can go wrong around a run: one line that says what to do, and nothing lost."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import ROOT, ForkedProgram, assert_same, read_checkpoint, start_training, tiny_config, tiny_flags
from training import cli, loop, metrics


def told(outcome: tuple[int, str, str]) -> str:
    """What a process said that failed as it should: status 1, and after its progress one line on standard error."""
    code, out, err = outcome
    lines = [line for line in err.splitlines() if not line.startswith("rnn: ")]
    assert (code, out, len(lines)) == (1, "", 1), err
    assert lines[0].startswith("error: ")
    return lines[0]


def refused(config: Any, workdir: Path, capsys: pytest.CaptureFixture[str], **options: Any) -> str:
    """`told`, of a run in this process."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        cli.report_errors(lambda: loop.train(config, workdir, tensorboard=False, **options))
    captured = capsys.readouterr()
    assert isinstance(stop.value.code, int)
    return told((stop.value.code, captured.out, captured.err.replace("train: ", "rnn: ")))


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
            "config has no field modle; did you mean model? it has ensemble, model, optimizer",
        ),
        (["--config.model.heads=2"], "config.model has no field heads; "),
        (["--config.task.pears=2"], "config.task has no field pears; did you mean pairs?"),
        (["--workdri=x"], "Unknown command line flag 'workdri'. Did you mean: workdir ?"),
        (["recall"], "'recall' is no flag; flags look like --name=value, and --help lists them"),
        (["--config=configs/recal.py"], "--config=configs/recal.py: no such file; there are configs/adding.py, "),
        (["--config", "configs/recal.py"], "--config=configs/recal.py: no such file; there are configs/adding.py, "),
        (["--config="], "--config=: no such file; there are configs/adding.py, "),
        (["--config=configs/recall.py:lsmt"], "=lsmt: must be one of dense, rnn, irnn, lstm, gru, slstm, mlstm, "),
        (["--config=configs/recall.py:lsmt"], "; did you mean lstm?"),
        (["--config.training.steps=1e3"], "--config.training.steps=1e3: invalid literal for int()"),
        (["--config.optimizer.learning_rate=fast"], "could not convert string to float: 'fast'"),
        (["--config.model.residual=maybe"], "--config.model.residual=maybe: must be True or False"),
        (["--config.ensemble.seeds=a,b"], "ensemble.seeds=('a,b',): give one or more whole numbers from 0 to "),
        (["--config.ensemble.seeds=-1"], "ensemble.seeds=(-1,): give one or more whole numbers from 0 to "),
        (["--config.optimizer.learning_rate=nan"], "learning_rate=nan: must be a number from 1e-12 to 3.4e+38"),
        (["--config.model.mixer=lsmt"], "model.mixer=lsmt: must be one of "),
        (["--save_seconds=-1"], "-1.0 is not a non-negative number"),
        (["--workdir="], "flag --workdir=: names no directory"),
        (["--export=nowhere"], "holds no run; --workdir names the one to export from"),
    ],
)
def test_a_mistyped_command(program: ForkedProgram, tmp_path: Path, flags: list[str], says: str):
    assert says in told(program(*tiny_flags(), f"--workdir={tmp_path / 'run'}", *flags))
    assert not list(tmp_path.iterdir())


def test_a_command_without_config_or_workdir(program: ForkedProgram, tmp_path: Path):
    assert "with NAME one of adding, associations, bible, copy_memory, " in told(program(f"--workdir={tmp_path}"))
    assert "--config.model.depth: give --config=FILE too" in told(program("--config.model.depth=2"))
    assert "give --workdir=DIR, the directory of the run's files" in told(program(*tiny_flags()))


def test_the_traceback_is_there_for_whoever_asks(program: ForkedProgram, tmp_path: Path):
    code, _, err = program(*tiny_flags(), f"--workdir={tmp_path}", "--config.model.depth=-1", "--traceback")
    assert code == 1
    assert "Traceback (most recent call last)" in err
    assert "ValueError: model.depth=-1" in err


def test_a_process_of_its_own_says_the_same(tmp_path: Path):
    process = start_training(*tiny_flags(), f"--workdir={tmp_path / 'run'}", "--config.model.depth=-1")
    out, err = process.communicate()
    assert told((process.returncode, out, err)) == "error: model.depth=-1: must be 0 or more"


# ---- numbers and names that can't be trained with -------------------------------------------------------------------


TRANSLATION = {"name": "translation", "eval_lengths": (15,)}


@pytest.mark.parametrize(
    ("mixer", "fields", "says"),
    [
        ("attention", {"model.attention.heads": 0}, "model.attention.heads=0: must be 1 or more"),
        ("attention", {"model.attention.heads": 3}, "heads=3: must divide the inner width 8; 2 and 4 do"),
        ("rnn", {"model.mixer": "lsmt"}, "model.mixer=lsmt: must be one of .*; did you mean lstm?"),
        ("rnn", {"model.depth": -1}, "model.depth=-1: must be 0 or more"),
        ("rnn", {"model.width": -8}, "model.width=-8: must be 1 or more"),
        ("rnn", {"model.dropout": float("nan")}, "model.dropout=nan: must be at least 0 and below 1"),
        ("rnn", {"model.positions": "learned", "model.max_length": 4}, "model.max_length=4: the task has .* of 8"),
        ("rnn", {"model.mixer": "lstm"}, "this config was made for another mixer .* --config=FILE:lstm"),
        (
            "rnn",
            {"model.causal": False, "task": TRANSLATION},
            "causal=False: the targets of Translation are the tokens",
        ),
        ("rnn", {"model.positions": "learned", "task": TRANSLATION}, "learned: there are 21 .* model.max_length=31"),
        ("rnn", {"training.steps": 42}, "training.steps=42: must be a multiple of training.steps_per_call=5"),
        ("rnn", {"training.eval_every": 7}, "training.eval_every=7: must be a multiple of"),
        ("rnn", {"training.steps": 0}, "training.steps=0: must be a number from 1 to 2147483647"),
        ("rnn", {"training.batch_size": -4}, "training.batch_size=-4: must be a number from 1 to 2147483647"),
        ("rnn", {"training.min_length": -1}, "training.min_length=-1: must be a number from 0 to 2147483647"),
        ("rnn", {"training.min_length": 3}, "training.min_length=3: the task's sequences have 4 steps at least"),
        (
            "rnn",
            {"optimizer.grad_clip_norm": float("inf")},
            r"optimizer.grad_clip_norm=inf: must be a number from 1e-12 to 3.4e\+38",
        ),
        ("rnn", {"training.min_length": 9}, "training.min_length=9: the task's sequences have 8 steps at most"),
        ("rnn", {"optimizer.learning_rate": -1.0}, "optimizer.learning_rate=-1.0: must be a number from 1e-12 to"),
        ("rnn", {"optimizer.learning_rate": 0.0}, "optimizer.learning_rate=0.0: must be a number from 1e-12 to"),
        (
            "rnn",
            {"optimizer.learning_rate": float("inf")},
            "optimizer.learning_rate=inf: must be a number from 1e-12 to",
        ),
        ("rnn", {"ensemble.learning_rates": (1e-3, "x")}, "ensemble.learning_rates=x: must be a number"),
        ("rnn", {"ensemble.learning_rates": (1e-3, 1e-3)}, "learning_rates=.*: each may be given once"),
        ("rnn", {"ensemble.seeds": ()}, "seeds=.*: give one or more whole numbers"),
        ("rnn", {"ensemble.seeds": (0, 1, 0)}, "seeds=.*: each may be given once"),
        ("rnn", {"ensemble.seeds": (2**31,)}, "seeds=.*: give one or more whole numbers from 0 to 2147483647"),
        ("rnn", {"ensemble.seeds": (True,)}, "seeds=.*: give one or more whole numbers from 0 to 2147483647"),
        ("rnn", {"ensemble.learning_rates": (True,)}, "ensemble.learning_rates=True: must be a number"),
        ("rnn", {"ensemble.mode": "both"}, "ensemble.mode=both: must be one of auto, map, vmap, autotune"),
        ("rnn", {"optimizer.b1": 1.0}, "optimizer.b1=1.0: must be at least 0 and below 1"),
        ("rnn", {"optimizer.b2": 1 - 1e-9}, "optimizer.b2=0.99.*: must be at least 0 and below 1, in float32 too"),
        ("rnn", {"optimizer.learning_rate": 1e-300}, "optimizer.learning_rate=1e-300: must be a number from 1e-12 to"),
        ("rnn", {"optimizer.learning_rate": 1e39}, r"learning_rate=1e\+39: must be a number from 1e-12 to 3.4e\+38"),
        (
            "rnn",
            {"optimizer.grad_clip_norm": 1e-300},
            "optimizer.grad_clip_norm=1e-300: must be a number from 1e-12 to",
        ),
        (
            "rnn",
            {"optimizer.weight_decay": 1e39},
            r"optimizer.weight_decay=1e\+39: must be a number from 0 to 3.4e\+38",
        ),
        ("rnn", {"ensemble.learning_rates": (1e-3, 1e-3 + 1e-12)}, "learning_rates=.*: each may be given once"),
        ("rnn", {"training.steps": 2**31 * 5}, "training.steps=10737418240: must be a number from 1 to 2147483647"),
        (
            "rnn",
            {"training.batch_size": 2**40},
            "training.batch_size=1099511627776: must be a number from 1 to 2147483647",
        ),
        (
            "rnn",
            {"optimizer.warmup_steps": 2**31},
            "optimizer.warmup_steps=2147483648: must be a number from 0 to 2147483647",
        ),
        (
            "rnn",
            {"training.batch_size": 2**31 - 1, "model.width": 4096},
            "1 × .* parameters and batches of 2147483647 × 8 st",
        ),
        ("lstm", {"model.width": 16384, "model.depth": 8}, "1 × .* parameters .* need at least .* GiB, and this"),
        ("rnn", {"model.width": 10**9}, "model.width=1000000000: must be"),
        ("rnn", {"model.width": 10**30}, "model.width=1000000000000000000000000000000: must be"),
        ("rnn", {"optimizer.warmup_steps": -1}, "optimizer.warmup_steps=-1: must be a number from 0 to"),
        ("rnn", {"optimizer.weight_decay": float("nan")}, "optimizer.weight_decay=nan: must be a number from 0 to"),
        (
            "rnn",
            {"optimizer.grad_clip_norm": float("nan")},
            "optimizer.grad_clip_norm=nan: must be a number from 1e-12 to",
        ),
        ("rnn", {"task.name": "recal"}, "task.name=recal: must be one of .*; did you mean recall?"),
        ("rnn", {"task.pairs": 9}, "task.pairs=9: 16 symbols hold 7 distinct keys"),
        ("rnn", {"task.pears": 2}, "task: .*pears"),
        ("rnn", {"optimizer.clip": 2.0}, "optimizer.clip: no such field"),
        ("rnn", {"training.batch": 2}, "training.batch: no such field; did you mean batch_size?"),
        ("rnn", {"model.dept": 2}, "model.dept: no such field; did you mean depth?"),
        ("rnn", {"task.dataset": "digit"}, "no data set is called 'digit': did you mean digits?"),
    ],
)
def test_a_config_that_cannot_be_trained(
    mixer: str, fields: dict, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "claim_workdir", None)  # it is refused before anything is written
        line = refused(changed_config(mixer, fields), tmp_path / "run", capsys)

    assert re.search(says.replace("?", r"\?"), line), line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("seconds", [float("nan"), -1.0])
def test_a_time_between_checkpoints_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str], seconds: float):
    line = refused(tiny_config(), tmp_path / "run", capsys, save_seconds=seconds)
    assert line == f"error: save_seconds={seconds}: must be 0 or more"
    assert not list(tmp_path.iterdir())


def changed_config(mixer: str, fields: dict[str, Any]) -> dict[str, Any]:
    """`tiny` as plain dicts, in which any value may be put."""
    config = tiny_config(mixer).to_dict()
    for name, value in fields.items():
        *parents, last = name.split(".")
        group = config
        for parent in parents:
            group = group[parent]
        group[last] = value
    return config


# ---- a workdir that holds something else, or something damaged ------------------------------------------------------


def test_a_workdir_with_another_configs_run(workdir: Path, capsys: pytest.CaptureFixture[str]):
    before = files(workdir)
    line = refused(tiny_config("lstm", {"optimizer.grad_clip_norm": 2.0}), workdir, capsys)
    assert "holds another config's run (model.hidden_size is 10, not " in line
    assert "model.mixer is 'rnn', not 'lstm'; optimizer.grad_clip_norm is 1.0, not 2.0" in line
    assert line.endswith("give another --workdir, or that run's own values to resume it")
    assert files(workdir) == before


@pytest.mark.parametrize("name", ["config.json", "group.json"])
@pytest.mark.parametrize("damage", [b"", b"\0" * 100, b"\xff\xfe", None])
def test_a_damaged_json_file(
    workdir: Path, halfway: tuple[Path, Any], name: str, damage: bytes | None, capsys: pytest.CaptureFixture[str]
):
    path = workdir / name
    path.write_bytes(path.read_bytes()[:30] if damage is None else damage)
    before = files(workdir)
    line = refused(tiny_config(), workdir, capsys)
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
    line = refused(tiny_config(), workdir, capsys)
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
    assert refused(tiny_config(), workdir, capsys).endswith("delete that directory to start anew")


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
    line = told(program(*flags))
    assert "No space left on device" in line
    assert str(run) in line
    saved = [int(path.name) for path in (run / "checkpoints").iterdir() if path.name.isdigit()]
    assert saved, "the disk is to be full in mid-run: give it another size"
    assert max(saved) < 40
    assert "No space left on device" in told(program(*flags)), "again, while it is still full"
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
        line = told(program(*tiny_flags(), f"--workdir={run}"))
        assert f"error: {run}" in line
        assert line.endswith("Read-only file system")
    assert files(disk) == before


def test_a_workdir_that_cannot_be_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "file").write_text("mine")
    assert refused(tiny_config(), tmp_path / "file" / "run", capsys) == f"error: {tmp_path}/file/run: Not a directory"
    assert f"{tmp_path}/file" in refused(tiny_config(), tmp_path / "file", capsys)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_checkpoint_that_fails_in_the_background(program: ForkedProgram, workdir: Path, halfway: tuple[Path, Any]):
    """No file may grow past 8 kB, which a checkpoint's does. It is written in a thread, and read about at the end."""
    line = told(program(*tiny_flags(), f"--workdir={workdir}", "--notensorboard", max_file_size=8_000))
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
    assert told((done.returncode, done.stdout, done.stderr)) == says
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
    assert says in told(program(*tiny_flags(), f"--workdir={tmp_path / 'run'}", flag))
    assert not list(tmp_path.iterdir())


def test_lists_ranges_and_nothing_where_the_help_promises_them(program: ForkedProgram, tmp_path: Path):
    given = ["--config.ensemble.seeds=0..2,7", "--config.ensemble.learning_rates=", "--config.model.hidden_size=8,16"]
    code, out, err = program(*tiny_flags("rnn,gru", {"model.depth": 2}), *given, "--dry_run")
    assert code == 0, err
    assert "\nmixer       rnn,gru, hidden size (8, 16)\n" in out
    assert "\nmembers     4, for" in out


def test_a_tilde_is_the_home_directory(program: ForkedProgram, tmp_path: Path):
    home = Path("~").expanduser()
    outcome = program("--workdir=~/is/no/run", f"--export={tmp_path / 'to'}")
    assert f"{home}/is/no/run" in told(outcome)
