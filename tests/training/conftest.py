from pathlib import Path

import pytest

from tests import start_training, tiny_config, tiny_flags
from tests.training import FOUR
from training import loop
from training.result import RunResult


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunResult]:
    """Four members, one after another on one device: the workdir, which is not to be written to, and the result."""
    workdir = tmp_path_factory.mktemp("finished") / "run"
    return workdir, loop.train(tiny_config(fields=FOUR), workdir)


@pytest.fixture(scope="session")
def on_four_devices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workdir of `finished`, trained in a process with four devices."""
    workdir = tmp_path_factory.mktemp("devices") / "run"
    process = start_training(*tiny_flags(fields=FOUR), f"--workdir={workdir}", "--notensorboard", devices=4)
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    return workdir
