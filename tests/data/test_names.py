"""Another package called data beside ours."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
STRANGER = {"__init__.py": "from data import load\n", "load.py": ""}
BUILD = """
try:
    import configs.digits
    from training.builder import build_task

    build_task({{**configs.digits.get_config("gru").task}}, {data!r})
except ImportError as error:
    print(error)
else:
    print("built")
"""


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A folder with a package `data` in it."""
    folder = tmp_path / "site" / "data"
    folder.mkdir(parents=True)
    for name, contents in STRANGER.items():
        (folder / name).write_text(contents)
    return folder.parent


def build(first: Path, second: Path, cwd: Path, before: str = "") -> str:
    """What a process in `cwd` says that builds a task of real data, with two folders on its path."""
    environment = os.environ | {"PYTHONPATH": f"{first}{os.pathsep}{second}", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", before + BUILD.format(data=str(cwd / "data"))],
        cwd=cwd, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_another_package_of_that_name_is_named_in_one_line(elsewhere: Path, tmp_path: Path):
    said = build(elsewhere, PROJECT, tmp_path)
    assert said == (
        f"data is another package of that name, {elsewhere / 'data'}: put {PROJECT} first on sys.path before "
        f"it is imported, or run in that folder"
    )


def test_what_it_says_helps(elsewhere: Path, tmp_path: Path):
    before = f"import sys; sys.path.insert(0, {str(PROJECT)!r})"
    assert build(elsewhere, PROJECT, tmp_path, before) == "built"
    assert build(PROJECT, elsewhere, tmp_path) == "built"


def test_a_plain_folder_of_that_name(elsewhere: Path, tmp_path: Path):
    """Which has no __init__.py, and so gives way to ours wherever it stands."""
    for name in STRANGER:
        (elsewhere / "data" / name).unlink()
    assert build(elsewhere, PROJECT, tmp_path) == "built"
