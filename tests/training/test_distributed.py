"""One run in two processes: the numbers and the files of one process, one end for both, and errors in one line."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import pytest

from tests import (
    ROOT,
    ForkedProgram,
    assert_close,
    assert_same,
    read_checkpoint,
    start_training,
    tiny_config,
    tiny_flags,
)
from tests.training import error_line
from tests.training.test_resume import rows_without_times, wait_for_more
from training import builder, distributed, files, loop

LONG = {"training.steps": 100, "training.eval_every": 100, "ensemble.seeds": (0, 1)}
ONE = {"training.steps": 60, "training.eval_every": 60, "ensemble.seeds": (0,)}


def start_both(workdir: Path, *flags: str) -> list[subprocess.Popen]:
    """train.py in two processes of a device each, which meet on this machine."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    meet = (*flags, f"--workdir={workdir}", f"--coordinator=127.0.0.1:{port}", "--processes=2", "--notensorboard")
    return [start_training(*meet, f"--process={index}") for index in range(2)]


def await_both(processes: list[subprocess.Popen]) -> list[tuple[int, str, str]]:
    """Exit status, output and errors of each, without what Gloo, JAX's way between CPUs, says of itself."""
    told = [process.communicate() for process in processes]
    kept = ["".join(f"{line}\n" for line in out.splitlines() if "[Gloo]" not in line) for out, _ in told]
    waiting = [[line for line in err.splitlines() if not line.startswith("waiting for ")] for _, err in told]
    errors = ["".join(f"{line}\n" for line in lines) for lines in waiting]
    return [(p.returncode, out, err) for p, out, err in zip(processes, kept, errors, strict=True)]


@pytest.mark.long
@pytest.mark.timeout(240)
def test_two_processes_stop_together_go_on_and_end_with_the_bits_of_one(tmp_path: Path):
    whole, workdir = tmp_path / "whole", tmp_path / "run"
    flags = tiny_flags(fields=LONG)
    undisturbed = start_training(*flags, f"--workdir={whole}", "--notensorboard", devices=2)
    assert undisturbed.wait() == 0

    processes = start_both(workdir, *flags, "--save_seconds=0")
    wait_for_more(workdir / "metrics.jsonl")
    processes[1].send_signal(signal.SIGTERM)  # which process 0 only hears of
    first, other = await_both(processes)
    assert (first[0], other[0]) == (143, 143), (first, other)
    step = max(int(path.name) for path in (workdir / "checkpoints").iterdir())
    last = first[2].splitlines()[-1]
    assert last == f"SIGTERM: saved step {step} of 100 in {workdir}; the same command goes on from there"
    assert other[1:] == ("", "")
    assert step < 100

    first, other = await_both(start_both(workdir, *flags))
    assert first[0] == other[0] == 0, (first, other)
    assert first[1].startswith("finished: 100 steps")
    assert other[1:] == ("", "")
    group = files.read_json(workdir / "group.json")
    assert (group["devices"], group["shards"]) == (2, 1)
    assert_same(read_checkpoint(workdir), read_checkpoint(whole))
    assert rows_without_times(workdir) == rows_without_times(whole)
    ours, theirs = (files.read_json(at / "result.json") for at in (workdir, whole))
    assert {**ours, "seconds": 0, "training_seconds": 0} == {**theirs, "seconds": 0, "training_seconds": 0}


@pytest.mark.long
@pytest.mark.timeout(240)
def test_two_processes_share_a_batch_and_when_one_dies_both_end(tmp_path: Path):
    workdir = tmp_path / "run"
    for victim in (1, 0):
        processes = start_both(workdir, *tiny_flags(fields=ONE), "--save_seconds=0")
        wait_for_more(workdir / "metrics.jsonl")
        processes[victim].kill()
        begun = time.monotonic()
        outcomes = await_both(processes)
        codes = [code for code, _, _ in outcomes]
        assert time.monotonic() - begun < 30
        assert codes[victim] == -signal.SIGKILL
        assert codes[1 - victim] not in (0, -signal.SIGKILL)
        if victim == 1:  # the others of a dead process 0 are ended by JAX itself, in many words
            assert "another process of this run is gone" in error_line(outcomes[0])
    first, other = await_both(start_both(workdir, *tiny_flags(fields=ONE)))
    assert first[0] == other[0] == 0, (first, other)
    group = files.read_json(workdir / "group.json")
    assert (group["devices"], group["shards"]) == (1, 2)
    loop.train(tiny_config(fields=ONE), tmp_path / "whole", tensorboard=False)
    for part in ("params", "step"):
        assert_close(read_checkpoint(workdir)[part], read_checkpoint(tmp_path / "whole")[part], within=1e-3)


@pytest.mark.timeout(120)
def test_both_say_in_one_line_what_only_process_0_finds(tmp_path: Path):
    workdir = tmp_path / "run"
    workdir.mkdir()
    files.write_json(workdir / "config.json", builder.build_run(tiny_config("gru")).config)
    first, other = map(error_line, await_both(start_both(workdir, *tiny_flags())))
    assert "holds another config's run (model.hidden_size is" in first
    assert other.startswith(f"error: process 0: {workdir} holds another config's run")
    shutil.rmtree(workdir)
    three = tiny_flags(fields={"training.batch_size": 3})
    for line in map(error_line, await_both(start_both(workdir, *three))):
        assert "1 members and their batches can share 1 devices, too few for 2 processes" in line
    assert not (workdir / "group.json").exists()


@pytest.mark.parametrize(
    ("coordinator", "processes", "process", "says"),
    [
        (None, None, 1, "--process=1: give --coordinator and --processes too"),
        (None, 2, None, "--processes=2: give --coordinator and --process too"),
        ("localhost:1234", 2, None, "--coordinator=localhost:1234: give --process too"),
        ("localhost", 2, 0, "--coordinator=localhost: must be HOST:PORT"),
        (":1", 2, 0, "--coordinator=:1: must be HOST:PORT"),
        ("a:70000", 2, 0, "--coordinator=a:70000: must be HOST:PORT"),
        ("a:1", 2, 2, "--process=2: must be below --processes=2"),
    ],
)
def test_arguments_that_do_not_go_together(
    monkeypatch: pytest.MonkeyPatch, coordinator: str | None, processes: int | None, process: int | None, says: str
):
    monkeypatch.setattr(distributed, "_abort_process", None)  # they are refused before there is a group to leave
    with pytest.raises(ValueError, match=says), distributed.process_group(False, coordinator, processes, process):
        pass


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--process=1"], "--process=1: give --coordinator and --processes too"),
        (["--process=-1"], "-1 is not a non-negative integer"),
        (["--distributed"], "; give --coordinator, --processes and --process"),
    ],
)
def test_flags_that_do_not_go_together(program: ForkedProgram, tmp_path: Path, flags: list[str], says: str):
    assert says in error_line(program(*tiny_flags(), f"--workdir={tmp_path / 'run'}", *flags))
    assert not list(tmp_path.iterdir())


def test_a_coordinator_that_is_not_there_or_a_port_that_is_taken(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(distributed, "STARTUP_TIMEOUT", 0.3)
    with socket.create_server(("", 0)) as server:
        address = f"localhost:{server.getsockname()[1]}"
        distributed.await_coordinator(address, is_coordinator=False)
        with pytest.raises(ValueError, match=f"--coordinator={address}: Address already in use"):
            distributed.await_coordinator(address, is_coordinator=True)
    with pytest.raises(ValueError, match=r"process 0 didn't answer in 0.3 s \(Connection refused\)"):
        distributed.await_coordinator(address, is_coordinator=False)
    distributed.await_coordinator(address, is_coordinator=True)


MEET = """
import os, sys
import jax, numpy as np
from jax.experimental import multihost_utils
from training import distributed
from tests import listening_addresses
distributed.connect_processes(sys.argv[1], 2, int(sys.argv[2]))
gathered = multihost_utils.process_allgather(np.int32(os.getpid()))
print(*sorted(listening_addresses(os.getpid())))
multihost_utils.sync_global_devices("seen")
os._exit(0)
"""


@pytest.mark.skipif(not Path("/proc/self/net/tcp").exists(), reason="only Linux says there who listens where")
@pytest.mark.parametrize("host", ["127.0.0.2", "localhost"])
def test_no_one_listens_elsewhere_than_at_the_coordinators_address(host: str):
    """Not even Gloo, which would take that of the machine's name; 127.0.0.2 is not what any name stands for."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-c", MEET, f"{host}:{port}"]
    env = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""}
    both = [
        subprocess.Popen(
            [*command, str(i)], cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for i in range(2)
    ]
    first, other = await_both(both)
    assert (first[0], other[0]) == (0, 0), (first, other)
    assert first[1].split() == ["127.0.0.2" if host == "127.0.0.2" else "127.0.0.1"]
    assert other[1].split() == ["127.0.0.1"]


def test_a_coordinator_address_of_another_machine_or_of_this_one_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(
        ValueError, match=r"=192\.0\.2\.77:1: is no address of this machine; give process 0 one of its own"
    ):
        distributed.await_coordinator("192.0.2.77:1", is_coordinator=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert distributed.await_coordinator(f"0.0.0.0:{port}", is_coordinator=True) == ("0.0.0.0", port)
    assert capsys.readouterr().err == f"waiting for the other processes at 0.0.0.0:{port}\n"
    named = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: named)
    assert distributed.await_coordinator(f"host0:{port}", is_coordinator=True) == ("127.0.0.1", port)
    assert "at host0:" in (told := capsys.readouterr().err)
    assert told.endswith("(127.0.0.1 here, which no other machine can reach)\n")


def test_devices_are_taken_from_every_process_alike(monkeypatch: pytest.MonkeyPatch):
    devices = [SimpleNamespace(process_index=process, id=10 * process + i) for process in range(3) for i in range(4)]
    monkeypatch.setattr(jax, "process_count", lambda: 3)
    monkeypatch.setattr(jax, "devices", lambda: devices)
    taken: list[Any] = [[device.id for device in distributed.choose_devices(count)] for count in (3, 4, 6, 12)]
    assert taken[:3] == [[0, 10, 20], [0, 1, 10, 20], [0, 1, 10, 11, 20, 21]]
    assert len(taken[3]) == 12
    distributed.check_uniform_devices()
    monkeypatch.setattr(jax, "devices", lambda: devices[:-1])
    with pytest.raises(ValueError, match="the processes have 4, 4, 3 devices; each must have as many"):
        distributed.check_uniform_devices()
