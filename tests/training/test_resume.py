"""A run that is stopped in any way goes on, and ends with the bits of one that nobody stopped.

`KILLS=10 python -m pytest tests/test_resume.py -n 0 -s` kills ten times, and says when.
"""

import contextlib
import os
import pty
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests import ROOT, assert_close, assert_same, read_checkpoint, start_training, tiny_config, tiny_flags
from training import cli, files, loop, metrics, trainer

KILLS = int(os.environ.get("KILLS", "2"))
STEPS = 100 + 50 * KILLS  # some seconds, with a checkpoint every fifth
LONG = {"training.steps": STEPS, "training.eval_every": 50, "ensemble.seeds": (0, 1)}


def rows_without_times(workdir: Path) -> list[dict[str, Any]]:
    """All rows of a run, without what the clock said."""
    rows = metrics.read_metrics(workdir / "metrics.jsonl")
    return [{name: value for name, value in row.items() if not name.endswith("seconds")} for row in rows]


@pytest.fixture
def stop(monkeypatch: pytest.MonkeyPatch):
    """`stop(step)`: the next run in this process gets SIGTERM in that step, and so raises Stopped."""
    real = loop.ProgressBar

    def at(step: int) -> None:
        class Display(real):
            def update(self, done: int, **values: float) -> None:
                super().update(done, **values)
                if done == step:
                    monkeypatch.setattr(loop, "ProgressBar", real)
                    signal.raise_signal(signal.SIGTERM)

        monkeypatch.setattr(loop, "ProgressBar", Display)

    return at


@pytest.mark.long
@pytest.mark.timeout(120 + 30 * KILLS)
def test_stopped_and_killed_it_ends_with_the_same_bits(tmp_path: Path):
    seed = random.randrange(10**6)
    draw = random.Random(seed)
    print(f"\nseed {seed}")
    whole, flags = tmp_path / "whole", [*tiny_flags(fields=LONG), "--notensorboard"]
    undisturbed = start_training(*flags, f"--workdir={whole}", devices=2, quick=False)
    flags.append("--save_seconds=0")
    assert undisturbed.wait() == 0

    workdir = tmp_path / "run"
    kills = [signal.SIGKILL] * KILLS
    for number in [*kills[:1], signal.SIGTERM, signal.SIGINT, *kills[1:]]:
        process = start_training(*flags, f"--workdir={workdir}", devices=2, quick=False)
        assert process.stderr
        assert process.stderr.readline() == "rnn: compiling\n"
        if number != signal.SIGKILL:
            wait_for_more(workdir / "metrics.jsonl")
        begun = any(path.name.isdigit() for path in workdir.glob("checkpoints/*"))
        wait = draw.uniform(0, 4 if begun else 0.5) if number == signal.SIGKILL else 0.2
        time.sleep(wait)
        process.send_signal(number)
        _, told = process.communicate()
        saved = sorted(path.name for path in (workdir / "checkpoints").iterdir())
        print(f"{signal.Signals(number).name} after {wait:.2f} s: exit {process.returncode}, left {saved}")
        if number == signal.SIGKILL:
            assert process.returncode in (-signal.SIGKILL, 0)  # 0: it had finished by then
            continue
        assert process.returncode == 128 + number
        last = told.splitlines()[-1]
        step = max(map(int, saved))
        name = cli.SIGNAL_NAMES[number]
        assert last == f"{name}: saved step {step} of {STEPS} in {workdir}; the same command goes on from there"
        assert all(line.startswith("rnn: ") for line in told.splitlines()[:-1])
        if number == signal.SIGTERM:
            shutil.copytree(workdir, tmp_path / "stopped")

    last = start_training(*flags, f"--workdir={workdir}", devices=2, quick=False)
    out, told = last.communicate()
    assert last.returncode == 0, told
    assert out.startswith(f"finished: {STEPS} steps")
    assert_same(read_checkpoint(workdir), read_checkpoint(whole))
    assert rows_without_times(workdir) == rows_without_times(whole)
    ours, theirs = (files.read_json(at / "result.json") for at in (workdir, whole))
    timeless = {"seconds": 0, "training_seconds": 0}
    assert {**ours, **timeless} == {**theirs, **timeless}

    resume_on_fewer_devices(tmp_path / "stopped", whole)


def resume_on_fewer_devices(workdir: Path, whole: Path) -> None:
    """The run that was stopped on two devices, continued in this process, which has one."""
    before = (workdir / "group.json").read_text()
    with pytest.raises(
        ValueError, match=r"was begun on 2 devices and 1 are here; --allow_fewer_devices resumes"
    ) as caught:
        loop.train(tiny_config(fields=LONG), workdir, tensorboard=False)
    assert "\n" not in str(caught.value)
    assert (workdir / "group.json").read_text() == before
    assert loop.train(tiny_config(fields=LONG), workdir, tensorboard=False, allow_fewer_devices=True)["steps"] == STEPS
    assert files.read_json(workdir / "group.json")["devices"] == 1
    assert_close(read_checkpoint(workdir)["params"], read_checkpoint(whole)["params"], within=1e-3)


TERMINAL = """
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, "train.py", *sys.argv[1:]])
"""


@pytest.mark.timeout(240)
@pytest.mark.parametrize("piped", [False, True])
def test_a_terminal_that_is_closed_loses_no_step(tmp_path: Path, piped: bool):
    """With `piped`, what it says goes to another program of that terminal, which ends too."""
    ours, theirs = pty.openpty()
    reads, writes = os.pipe()
    flags = [*tiny_flags(fields=LONG | {"training.steps": 10_000}), f"--workdir={tmp_path}", "--notensorboard"]
    out = writes if piped else theirs
    command = [sys.executable, "-c", TERMINAL, *flags, "--save_seconds=1000"]
    env = {**os.environ, "XLA_FLAGS": ""}
    process = subprocess.Popen(command, cwd=ROOT, env=env, stdin=theirs, stdout=out, stderr=out)
    os.close(theirs)
    os.close(writes)
    os.set_blocking(ours, False)
    while not (log := tmp_path / "metrics.jsonl").exists() or log.read_bytes().count(b"\n") < 5:
        with contextlib.suppress(BlockingIOError):  # nothing new is shown
            os.read(ours, 2**16)
        time.sleep(0.01)
    os.close(reads)
    os.close(ours)
    assert process.wait() == 128 + signal.SIGHUP
    saved = max(int(path.name) for path in (tmp_path / "checkpoints").iterdir())
    assert saved == max(row["step"] for row in rows_without_times(tmp_path))


def wait_for_more(path: Path) -> None:
    """Until the run has written another row."""
    before = path.stat().st_size if path.exists() else 0
    while not path.exists() or path.stat().st_size == before:
        time.sleep(0.01)


def test_a_torn_line_is_mended_and_no_row_is_lost_or_counted_twice(tmp_path: Path, stop: Any):
    config = tiny_config()
    loop.train(config, tmp_path / "whole", tensorboard=False)
    workdir = tmp_path / "run"
    stop(20)
    with pytest.raises(cli.Preempted):
        loop.train(config, workdir, tensorboard=False)
    log = metrics.MetricWriter(workdir / "metrics.jsonl")  # as if killed later than the checkpoint, and in mid-line
    log.write_row(step=25, split="train", loss=[9.0], accuracy=[0.0], seconds=1.0)
    log.close()
    with (workdir / "metrics.jsonl").open("a") as file:
        file.write('{"step": 30, "split": "train", "loss": [3.1')
    loop.train(config, workdir, tensorboard=False)
    assert rows_without_times(workdir) == rows_without_times(tmp_path / "whole")
    at = [(row["step"], row["split"]) for row in rows_without_times(workdir)]
    assert len(at) == len(set(at)) == 8 + 2 * 4
    assert_same(read_checkpoint(workdir), read_checkpoint(tmp_path / "whole"))


def test_a_stop_says_so_once_saved_and_keeps_how_the_members_run(tmp_path: Path, stop: Any):
    config = tiny_config(fields={"ensemble.seeds": (0, 1), "ensemble.mode": "auto"})
    stop(10)
    with pytest.raises(cli.Preempted, match=r"SIGTERM: saved step 10 of 40 in ") as caught:
        loop.train(config, tmp_path, tensorboard=False)
    assert caught.value.code == 143
    assert not (tmp_path / "result.json").exists()
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL

    # "auto" would be "map" here; begun elsewhere as "vmap", it stays that.
    group = files.read_json(tmp_path / "group.json")
    files.write_json(tmp_path / "group.json", {**group, "mode": "vmap"})
    stop(20)
    with pytest.raises(cli.Preempted):
        loop.train(config, tmp_path, tensorboard=False)
    assert files.read_json(tmp_path / "group.json")["mode"] == "vmap"
    loop.train(config, tmp_path, tensorboard=False, allow_fewer_devices=True)
    assert files.read_json(tmp_path / "group.json")["mode"] == "map"


def test_a_signal_in_the_last_call_lets_it_finish(tmp_path: Path, stop: Any):
    stop(40)
    assert loop.train(tiny_config(), tmp_path, tensorboard=False)["steps"] == 40


def test_a_run_killed_after_its_last_checkpoint_is_finished_without_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    result = loop.train(tiny_config(), tmp_path, tensorboard=False)
    (tmp_path / "result.json").unlink()
    monkeypatch.delattr(trainer, "train_step")  # which a further step would trace
    assert loop.train(tiny_config(), tmp_path, tensorboard=False) == result
