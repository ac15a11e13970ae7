"""docs/lecture.ipynb: it was run from top to bottom, leads somewhere, and says what the records say."""

import json
import re
from importlib.util import find_spec
from typing import Any

import pytest

from experiments import notebook
from experiments.ablation import study
from experiments.reporting.claims import LECTURE_CLAIMS
from tests import ROOT
from tests.examples.test_docs import LINK, heading_anchors

PATH = ROOT / "docs/lecture.ipynb"
CELLS: list[dict[str, Any]] = json.loads(PATH.read_text("utf-8"))["cells"]
CODE = [cell for cell in CELLS if cell["cell_type"] == "code"]
TEXT = "\n".join("".join(cell["source"]) for cell in CELLS if cell["cell_type"] == "markdown")
MAX_LINES = 15  # of a cell
MAX_BYTES = 1.5 * 2**20
NUMBER = re.compile(r"\d+\.?\d*")


def outputs_of(kind: str) -> list[str]:
    """Every output of a kind, as "text/markdown"."""
    found = [output["data"] for cell in CODE for output in cell["outputs"] if "data" in output]
    return ["".join(data[kind]) for data in found if kind in data]


def judged_studies(cell: dict[str, Any]) -> list[str]:
    """The studies whose verdicts a cell reads."""
    call = re.match(r"notebook\.read_verdicts\((.*)\)", "".join(cell["source"]))
    return re.findall(r'"(\w+)"', call[1]) if call else []


def shown_words(cells: list[dict[str, Any]]) -> list[list[str]]:
    """What each output says, without its numbers: printed text, and the words of a picture."""
    shown = []
    for output in (output for cell in cells for output in cell["outputs"]):
        data = output.get("data", {"text/plain": output.get("text", "")})
        text = "".join(data.get("image/svg+xml", data["text/plain"]))
        words = re.findall(r"<text[^>]*>([^<]+)<", text) if text.startswith("<?xml") else text.split()
        shown.append([word for word in words if not NUMBER.fullmatch(word.strip("−-%,()"))])
    return shown


def test_it_was_run_from_its_first_cell_to_its_last():
    assert [cell["execution_count"] for cell in CODE] == list(range(1, len(CODE) + 1)), "run make lecture"
    outputs = [output for cell in CODE for output in cell["outputs"]]
    assert not any(output["output_type"] == "error" or output.get("name") == "stderr" for output in outputs)


def test_nothing_in_it_is_another_one_in_every_run():
    assert not any(cell["metadata"] for cell in CELLS)
    shown = [
        *outputs_of("text/plain"),
        *("".join(output.get("text", "")) for cell in CODE for output in cell["outputs"]),
    ]
    assert not any("/tmp" in text or "0x" in text for text in shown)
    assert not any("<dc:date>" in picture for picture in outputs_of("image/svg+xml"))


def test_it_is_small_enough_to_be_read():
    assert PATH.stat().st_size < MAX_BYTES
    assert max(len(cell["source"]) for cell in CODE) <= MAX_LINES


def test_every_sentence_of_the_lecture_stands_in_it():
    assert sorted(re.findall(r"^> (.+)\.$", TEXT, re.M)) == sorted(LECTURE_CLAIMS.values())


def test_every_study_of_the_lecture_is_judged_in_it_once():
    named = [name for cell in CODE for name in judged_studies(cell)]
    assert sorted(named) == sorted(name for name in study.study_names() if study.load_study(name).notes_row)


def test_links_and_pictures_lead_somewhere():
    for link in LINK.findall("\n".join([TEXT, *outputs_of("text/markdown")])):
        path, _, anchor = link.partition("#")
        target = PATH.parent / path
        assert target.exists(), f"docs/lecture.ipynb links to {path}, which is not there"
        assert not anchor or anchor in heading_anchors(target), f"{path} has no heading #{anchor}"


@pytest.mark.parametrize(
    "cell", [cell for cell in CODE if judged_studies(cell)], ids=lambda c: "-".join(judged_studies(c))
)
def test_its_verdicts_are_those_of_the_records(cell: dict[str, Any]):
    (output,) = cell["outputs"]
    now = notebook.read_verdicts(*judged_studies(cell))
    assert "".join(output["data"]["text/markdown"]) == now._repr_markdown_(), "run make lecture"


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.skipif(not find_spec("nbclient"), reason="needs the extra docs")
def test_a_new_run_says_the_same(monkeypatch: pytest.MonkeyPatch):
    """But for numbers, which another processor rounds in another way; on one machine they are the same too."""
    monkeypatch.delenv("XLA_FLAGS", raising=False)  # compile as `make lecture` does
    monkeypatch.syspath_prepend(ROOT / "docs")
    import execute_lecture  # pyright: ignore[reportMissingImports]

    cells = [cell for cell in execute_lecture.execute_notebook().cells if cell.cell_type == "code"]
    assert shown_words(cells) == shown_words(CODE)
