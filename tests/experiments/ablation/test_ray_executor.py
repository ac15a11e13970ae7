import ast
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from experiments.ablation import ray_executor, record_table, runner
from tests import ROOT, listening_addresses
from tests.experiments.ablation.test_runner import SCALE, STUDY, timeless
from training import runtime

ray = pytest.importorskip("ray")


def workers() -> list[int]:
    """The processes that Ray runs a group in at this moment."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes().startswith(b"ray::run_group_on_cores"):
                found.append(int(path.parent.name))
        except OSError:  # it has ended meanwhile
            pass
    return found


def children(process: int) -> list[int]:
    """All processes that this one started, and those started."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            if int(path.read_text().rsplit(")", 1)[1].split()[1]) == process:
                found += [int(path.parent.name), *children(int(path.parent.name))]
    return found


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_worker_that_is_killed_gives_its_cells_back(tmp_path: Path):
    """On a cluster of this machine: no cell is lost and none is there twice, and all are what one process makes."""
    expected = runner.run_study(STUDY, SCALE, tmp_path / "alone", log=lambda line: None)
    killed: list[int] = []
    heard: set[str] = set()  # addresses at which any process of the cluster listens
    ran_on: set[frozenset[int]] = set()  # the cores that each worker was to run on, once it had begun

    def kill() -> None:
        end = time.monotonic() + 120
        while not killed and time.monotonic() < end:
            if list((tmp_path / "cluster").glob("groups/*/metrics.jsonl")) and (found := workers()):
                for process in (os.getpid(), *children(os.getpid())):
                    heard.update(listening_addresses(process))
                ran_on.update(frozenset(os.sched_getaffinity(process)) for process in found)
                os.kill(found[0], signal.SIGKILL)
                killed.append(found[0])
            time.sleep(0.02)

    watcher, before = threading.Thread(target=kill), signal.getsignal(signal.SIGTERM)
    watcher.start()
    try:
        execute = ray_executor.make_ray_executor(None, cpus=1)
        found = runner.run_study(STUDY, SCALE, tmp_path / "cluster", execute=execute, log=lambda line: None)
    finally:
        watcher.join()
        ray.shutdown()
        signal.signal(signal.SIGTERM, before)  # Ray has one of its own
    assert killed
    assert heard == {"127.0.0.1"}
    assert min(map(len, ran_on)) == 1  # which one has begun to train
    keys = [line.result["key"] for line in found]
    assert len(keys) == len(set(keys)) == 8
    header = [name for name in record_table.tabulate_records(found)[0] if name not in ("seconds", "training_seconds")]
    for ours, theirs in zip(timeless(found), timeless(expected), strict=True):
        for name, a, b in zip(header, ours, theirs, strict=True):
            if (
                name in ("test", "validation", "affine") and a != ""
            ):  # compiled without the suite's settings; affine is rounding alone
                assert float(a) == pytest.approx(float(b), rel=1e-3, abs=1e-5), name
            else:
                assert a == b or name in ("how", "revision"), name


HELD = """
import os, sys
from pathlib import Path
import jax
from experiments.ablation import ray_executor
for count in map(int, sys.argv[2:]):
    with ray_executor.reserve_cores(count, Path(sys.argv[1])):
        jax.block_until_ready(jax.numpy.ones((64, 64)) @ jax.numpy.ones((64, 64)))
        print(*({*os.sched_getaffinity(int(t))} for t in os.listdir("/proc/self/task")), sep=";", flush=True)
        input()
print({*os.sched_getaffinity(0)})
"""


def hold(locks: Path, *counts: int) -> subprocess.Popen[str]:
    """A process that holds so many cores, and so many, one after another; a line to it ends each."""
    command = [sys.executable, "-c", HELD, str(locks), *map(str, counts)]
    env = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""}
    return subprocess.Popen(command, cwd=ROOT, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def cores(process: subprocess.Popen[str]) -> set[int]:
    """Those that every thread of the process may run on."""
    assert process.stdout
    found = {frozenset(ast.literal_eval(one)) for one in process.stdout.readline().split(";")}
    assert len(found) == 1, found
    return set(found.pop())


def end(process: subprocess.Popen[str]) -> None:
    assert process.stdin
    process.stdin.write("\n")
    process.stdin.flush()


@pytest.mark.skipif(runtime.usable_cores() < 2, reason="one core can't be shared out")
def test_each_worker_has_cores_of_its_own_until_it_ends_or_dies(tmp_path: Path):
    every = os.sched_getaffinity(0)
    first, other = hold(tmp_path, 1, len(every)), hold(tmp_path, 1)
    one, two = cores(first), cores(other)
    assert len(one) == len(two) == 1
    assert not one & two
    third = hold(tmp_path, len(every) - 1)
    assert cores(third) == every  # too few are left for it
    other.kill()
    other.wait()
    third.kill()
    again = hold(tmp_path, 1)
    assert cores(again) == two  # the first that is free
    end(first)
    assert cores(first) == every  # all of them, since `again` holds one
    end(first)
    assert cores(first) == every
    end(again)
    assert first.wait() == again.wait() == 0


def test_a_cluster_that_there_is_not():
    with pytest.raises(ValueError, match=r"--address=127\.0\.0\.1:1: no Ray cluster there"):
        ray_executor.make_ray_executor("127.0.0.1:1", cpus=1)
