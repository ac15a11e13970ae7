"""Run docs/lecture.ipynb from its first cell to its last, and keep its outputs in it: `make lecture`.

What would be another one in every run is left out: times, progress on standard error, and the version of Python.
"""

from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

PATH = Path(__file__).with_name("lecture.ipynb")
MAX_SECONDS = 1200  # of a cell


def execute_notebook(path: Path = PATH) -> Any:
    """Return the notebook with the outputs of a new run. Raises CellExecutionError where a cell fails."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(notebook, timeout=MAX_SECONDS, record_timing=False, coalesce_streams=True)
    client.execute(cwd=str(path.parent))
    notebook.metadata["language_info"] = {"name": "python"}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    return notebook


if __name__ == "__main__":
    nbformat.write(execute_notebook(), PATH)
