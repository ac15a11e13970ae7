"""`make setup` with stand-ins for Python: which are refused, and what an interruption leaves is made anew."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests import ROOT

pytestmark = pytest.mark.skipif(not shutil.which("make"), reason="make is not there")

# As in a shell of one's own, where the suite itself is run by make.
ENV = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS")) and name != "VENV"}

# Like a Python of the version in its file VERSION, as far as the Makefile asks: -c, -m venv DIR, -m pip, -m ensurepip.
# Where the file KILL says "venv" or "install", that kills make halfway.
PYTHON = """#!/bin/sh
here=$(dirname "$0")
echo "$*" >> LOG
case "$1 $2" in
"-m venv")
    mkdir -p "$3/bin" && cp "$0" "$3/bin/python" && cp "$here/VERSION" "$3/bin/VERSION"
    if grep -qs venv KILL; then kill -9 $PPID; exit 1; fi
    touch "$3/bin/PIP";;
"-m ensurepip") touch "$here/PIP";;
"-m pip") test -e "$here/PIP" || { echo "No module named pip" >&2; exit 1; }
    if grep -qse "$3" KILL; then kill -9 $PPID; fi;;
"-c "*) cat "$here/VERSION";;
esac
"""
UV = """#!/bin/sh
echo "uv $*" >> LOG
test "$1" != venv || "$4" -m venv "$5"
"""


class Checkout(NamedTuple):
    """A folder with this Makefile and a stand-in for Python."""

    path: Path

    def python(self, version: str) -> str:
        home = self.path / f"python-{version}"
        home.mkdir(exist_ok=True)
        (home / "VERSION").write_text(f"{version}\n")
        return write_script(home / "python", PYTHON)

    def setup(self, version: str = "3.12", *words: str, uv: str = "") -> tuple[int, str, list[str]]:
        """Exit status, errors, and what the stand-ins were asked for."""
        log = self.path / "LOG"
        log.write_text("")
        asked = ["make", "setup", f"PYTHON={self.python(version)}", f"UV={uv}", *words]
        done = subprocess.run(asked, cwd=self.path, env=ENV, capture_output=True, text=True)
        return done.returncode, done.stderr, [line for line in log.read_text().splitlines() if line[:2] != "-c"]


def write_script(path: Path, text: str) -> str:
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in ("requirements.lock", "requirements-data.lock", "requirements-build.txt", "pyproject.toml"):
        (tmp_path / name).touch()
    return Checkout(tmp_path)


def count_installs(asked: list[str]) -> int:
    return sum(line.startswith(("-m pip install", "uv pip")) for line in asked)


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_a_second_call_installs_nothing(checkout: Checkout, version: str):
    code, _, asked = checkout.setup(version)
    assert code == 0
    assert asked[0] == "-m venv .venv"
    assert count_installs(asked) == 3
    assert checkout.setup(version)[::2] == (0, [])


@pytest.mark.parametrize("version", ["3.10", "3.14", "2.7"])
def test_another_python_is_refused_in_one_line_before_anything_is_made(checkout: Checkout, version: str):
    code, told, asked = checkout.setup(version)
    assert code
    first, rest = told.split("\n", 1)
    assert first.startswith("error: Python 3.11, 3.12 or 3.13 is needed; PYTHON=")
    assert first.endswith(f" is {version}: give another one: make setup PYTHON=python3.13")
    assert rest.startswith("make: ")  # its own word on it
    assert rest.count("\n") == 1
    assert not asked
    assert not list(checkout.path.glob(".venv*"))


def test_a_python_that_is_not_there(checkout: Checkout):
    code, told, _ = checkout.setup("3.12", "PYTHON=nowhere")
    assert code
    assert "PYTHON=nowhere is none that runs: give another one" in told.splitlines()[0]


@pytest.mark.parametrize("uv", [False, True])
def test_a_venv_of_an_old_python_is_named_and_kept(checkout: Checkout, uv: bool):
    bins = checkout.path / ".venv" / "bin"
    bins.mkdir(parents=True)
    shutil.copy(checkout.python("3.10"), bins)
    (bins / "VERSION").write_text("3.10\n")
    code, told, asked = checkout.setup("3.12", uv=write_script(checkout.path / "uv", UV) if uv else "")
    assert code
    assert told.splitlines()[0] == (
        "error: Python 3.11, 3.12 or 3.13 is needed; .venv has 3.10: make clean and then make setup PYTHON=python3.13"
    )
    assert not asked
    assert (bins / "VERSION").read_text() == "3.10\n"
    assert subprocess.run(["make", "clean"], cwd=checkout.path, env=ENV, capture_output=True).returncode == 0
    assert not list(checkout.path.glob(".venv*"))
    assert checkout.setup()[0] == 0


@pytest.mark.parametrize(("uv", "where"), [(False, "venv"), (False, "install"), (True, "venv")])
def test_killed_while_it_makes_or_first_fills_the_venv_it_begins_anew(checkout: Checkout, uv: bool, where: str):
    tool = write_script(checkout.path / "uv", UV) if uv else ""
    (checkout.path / "KILL").write_text(where)
    assert checkout.setup(uv=tool)[0]
    (checkout.path / ".venv" / "left").touch()
    (checkout.path / "KILL").unlink()
    code, told, asked = checkout.setup(uv=tool)
    assert code == 0, told
    assert "-m venv .venv" in asked
    assert count_installs(asked) == 3
    assert not (checkout.path / ".venv" / "left").exists()
    assert checkout.setup(uv=tool)[::2] == (0, [])


def test_killed_in_a_later_install_it_goes_on_in_the_same_venv(checkout: Checkout):
    assert checkout.setup()[0] == 0
    (checkout.path / ".venv" / "kept").touch()
    (checkout.path / ".venv" / ".installed").unlink()  # as when the lock is newer
    (checkout.path / "KILL").write_text("install")
    assert checkout.setup()[0]
    (checkout.path / "KILL").unlink()
    code, told, asked = checkout.setup()
    assert code == 0, told
    assert "-m venv .venv" not in asked
    assert count_installs(asked) == 3
    assert (checkout.path / ".venv" / "kept").exists()


def test_a_venv_without_pip_that_was_left_by_an_older_makefile_or_by_uv_gets_it(checkout: Checkout):
    bins = checkout.path / ".venv" / "bin"
    bins.mkdir(parents=True)
    shutil.copy(checkout.python("3.12"), bins)
    (bins / "VERSION").write_text("3.12\n")
    code, told, asked = checkout.setup()
    assert code == 0, told
    assert asked.index("-m ensurepip") < asked.index(next(line for line in asked if line.startswith("-m pip install")))


def test_its_packages_are_found_from_any_folder(tmp_path: Path):
    """One of the packages of data has a folder data/ in site-packages, where ours has the same name."""
    code = "import configs, data, experiments, models, tasks, train, training; print(data.load_dataset.__module__)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("data")
