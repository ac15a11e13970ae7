"""What import-linter can't see of the floors, since train.py and its neighbours are single files."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
THIRD = ["train", "checkpoint", "command", "display", "distributed", "machine", "records", "startup"]


def imported(path):
    """The names of all modules that a file imports, at the top or anywhere inside."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").split(".")[0]


@pytest.mark.parametrize("name", THIRD)
def test_the_training_floor_imports_nothing_from_above(name):
    assert "experiments" not in set(imported(ROOT / f"{name}.py"))


def test_this_list_is_complete():
    assert sorted(THIRD) == sorted(path.stem for path in ROOT.glob("*.py"))


def test_training_on_generated_tasks_loads_no_data_or_drawing_library():
    heavy = ["tensorflow", "tensorflow_datasets", "grain", "matplotlib", "tensorboardX", "sklearn"]
    code = f"import sys, train; print([name for name in {heavy} if name in sys.modules])"
    out = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=100, check=True
    )
    assert out.stdout.strip() == "[]"
