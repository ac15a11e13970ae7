"""What notebooks show: learning curves, studies and the look inside; examples/in_a_notebook.py runs all of it."""

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from experiments import notebook
from experiments.ablation.study import Scale, Study
from experiments.reporting.html_report import Table
from training import files
from training.ensemble import EnsemblePlan, plan_to_json
from training.files import to_json_line


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    """A run of two seeds at two rates, as far as its log goes; one member has diverged at the end."""
    plan = EnsemblePlan("map", 1, (0, 1, 0, 1), (1e-3, 1e-3, 1e-2, 1e-2))
    files.write_json(tmp_path / "group.json", plan_to_json(plan))
    rows = [
        {"step": step, "split": split, "loss": [1.0] * 4, "accuracy": [0.1, 0.2, 0.3, last], "seconds": 1.0}
        for step, last in ((10, 0.4), (20, None))
        for split in ("train", "validation")
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(to_json_line(row) + "\n" for row in rows))
    return tmp_path


def test_a_learning_curve_has_a_line_for_each_rate(workdir: Path):
    picture = notebook.draw_learning(workdir)
    text = picture._repr_svg_()
    assert ET.fromstring(text).tag.endswith("svg")
    assert all(name in text for name in ("learning rate 0.001", "learning rate 0.01", "accuracy", "training step"))
    assert picture.save(workdir / "curve.pdf").read_bytes().startswith(b"%PDF")
    assert picture.figure().axes
    assert [row["step"] for row in notebook.read_log(workdir)] == [10, 10, 20, 20]


def test_a_split_that_was_not_logged_is_one_line_that_names_those_that_were(workdir: Path):
    with pytest.raises(ValueError, match=r": its log has no tests; it has train, validation$"):
        notebook.draw_learning(workdir, "tests")


def test_a_study_is_shown_with_its_table_and_its_rows_are_dicts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    seen: dict[str, Any] = {}

    def run_study(study: Study, scale: Scale, folder: Path, **options: Any) -> list[Any]:
        seen.update(study=study, scale=scale, folder=folder, **options)
        return [SimpleNamespace(result={"metrics": {"test": 0.5}})]

    monkeypatch.setattr(notebook.runner, "run_study", run_study)
    monkeypatch.setattr(notebook, "tabulate_records", lambda trials: (["mixer", "test"], [["gru", "0.5"]]))
    table = Table("Every setting", ["setting", "score"], [["<gru>", "0.5"]], "two seeds")
    monkeypatch.setattr(notebook.study_report, "settings_table", lambda study, trials: table)
    monkeypatch.setattr(notebook.verdicts, "judge_claims", lambda study, trials, scale: ["seen: GRUs <count>"])
    monkeypatch.setattr(notebook, "_html_pictures", lambda pictures: "<img>")
    monkeypatch.setattr(notebook.StudyResult, "pictures", {"main": None})
    found = notebook.run_study("shape", "smoke", tmp_path, selected={"mixer": ["gru"]}, log=seen.get)
    assert (seen["scale"].seeds, seen["folder"], seen["selected"]) == ((0, 1), tmp_path, {"mixer": ["gru"]})
    assert found.rows == [{"mixer": "gru", "test": 0.5}]
    shown = found._repr_html_()
    assert "<td>&lt;gru&gt;</td>" in shown
    assert "GRUs &lt;count&gt;" in shown
    assert json.dumps(found.rows)
    with pytest.raises(ValueError, match="smol"):
        notebook.run_study("shape", "smol", tmp_path)


def test_a_study_on_record_is_read_with_its_verdicts():
    found = notebook.read_study("lines")
    assert [one.claim for one in found.verdicts] == [claim.text for claim in found.study.claims]
    assert len(found.rows) == len(found.trials) > 0
    assert ET.fromstring(found.pictures["main"]._repr_svg_()).tag.endswith("svg")
    with pytest.raises(ValueError, match=r"nothing-quick\.csv is missing|nothing"):
        notebook.read_study("nothing")


def test_verdicts_on_record_are_a_list_that_leads_to_their_evidence():
    lines, further = notebook.read_verdicts("lines", "recipes").studies
    shown = notebook.read_verdicts("lines", "recipes")._repr_markdown_()
    assert shown.startswith("[Lines](results/claims.md#1-lines), quick scale, 3 seeds")
    assert "\n\n[Recipes](results/further-studies.md#recipes), " in shown
    verdicts = [*lines.verdicts, *further.verdicts]
    assert [line.split("**: ")[1] for line in shown.splitlines() if line.startswith("- ")] == [
        v.claim for v in verdicts
    ]
    assert all(f"**{one.verdict}**: {one.claim}" in shown for one in verdicts)


def test_what_a_notebook_shows_in_words_is_short_and_names_no_address_in_memory(workdir: Path):
    for shown in (notebook.read_verdicts("lines"), notebook.read_study("lines"), notebook.draw_learning(workdir)):
        assert len(repr(shown)) < 2000
        assert "0x" not in repr(shown)
