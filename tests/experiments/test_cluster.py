import os
import signal
import threading
import time
from pathlib import Path

import pytest

from experiments import cluster, runner
from tests.experiments.test_runner import SCALE, STUDY, timeless

ray = pytest.importorskip("ray")


def workers() -> list[int]:
    """The processes that Ray runs a group in at this moment."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes().startswith(b"ray::work"):
                found.append(int(path.parent.name))
        except OSError:  # it has ended meanwhile
            pass
    return found


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_worker_that_is_killed_gives_its_cells_back(tmp_path: Path):
    """On a cluster of this machine: no cell is lost and none is there twice, and all are what one process makes."""
    expected = runner.run(STUDY, SCALE, tmp_path / "alone", say=lambda line: None)
    killed: list[int] = []

    def kill() -> None:
        end = time.monotonic() + 120
        while not killed and time.monotonic() < end:
            if list((tmp_path / "cluster").glob("groups/*/metrics.jsonl")) and (found := workers()):
                os.kill(found[0], signal.SIGKILL)
                killed.append(found[0])
            time.sleep(0.02)

    watcher, before = threading.Thread(target=kill), signal.getsignal(signal.SIGTERM)
    watcher.start()
    try:
        execute = cluster.executor(None, cpus=1)
        found = runner.run(STUDY, SCALE, tmp_path / "cluster", execute=execute, say=lambda line: None)
    finally:
        watcher.join()
        ray.shutdown()
        signal.signal(signal.SIGTERM, before)  # Ray has one of its own
    assert killed
    keys = [line.cell["key"] for line in found]
    assert len(keys) == len(set(keys)) == 8
    header = [name for name in runner.table(found)[0] if name not in ("seconds", "training_seconds")]
    for ours, theirs in zip(timeless(found), timeless(expected), strict=True):
        for name, a, b in zip(header, ours, theirs, strict=True):
            if name in ("test", "validation", "affine") and a != "":  # compiled without the suite's settings
                assert float(a) == pytest.approx(float(b), rel=1e-3), name
            else:
                assert a == b or name in ("how", "revision"), name


def test_a_cluster_that_there_is_not():
    with pytest.raises(ValueError, match=r"--address=127\.0\.0\.1:1: no Ray cluster there"):
        cluster.executor("127.0.0.1:1", cpus=1)
