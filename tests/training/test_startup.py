"""Ctrl-C while a command imports what it needs: one line, and the exit status that says so."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests import ROOT

# What people type of experiments/.
PROGRAMS = sorted(path.stem for path in (ROOT / "experiments").glob("*.py") if "cli.run_command(" in path.read_text())


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a process which finds a jax that does nothing but send it Ctrl-C."""
    directory = tmp_path_factory.mktemp("imports")
    (directory / "jax.py").write_text("import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(10)\n")
    return {**os.environ, "PYTHONPATH": str(directory)}


@pytest.mark.parametrize("words", [["train.py"], *(["-m", f"experiments.{name}"] for name in PROGRAMS)], ids=" ".join)
def test_ctrl_c_during_imports_is_one_line(words: list[str], interrupted: dict[str, str]):
    command = [sys.executable, *words]
    done = subprocess.run(command, cwd=ROOT, env=interrupted, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (128 + signal.SIGINT, "", "interrupted\n")


def test_a_process_that_ignores_ctrl_c_goes_on_ignoring_it(interrupted: dict[str, str]):
    """As in the background of a shell script."""
    jax = Path(interrupted["PYTHONPATH"]) / "jax.py"
    jax.write_text(jax.read_text().replace("sleep(10)", "sleep(60)"))
    ignoring = (
        "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); os.execv(sys.executable, sys.argv)"
    )
    command = [sys.executable, "-c", ignoring.replace("sys.argv", "[sys.executable, 'train.py']")]
    done = subprocess.Popen(command, cwd=ROOT, env=interrupted, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with pytest.raises(subprocess.TimeoutExpired):
        done.wait(3)
    done.kill()


def test_nothing_changes_for_who_only_imports_them():
    code = "import signal, train, experiments.run; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


def test_training_on_generated_tasks_loads_no_data_or_drawing_library():
    heavy = ["tensorflow", "tensorflow_datasets", "grain", "matplotlib", "tensorboardX", "sklearn"]
    code = f"import sys, train; print([name for name in {heavy} if name in sys.modules])"
    out = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=100, check=True
    )
    assert out.stdout.strip() == "[]"
