import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from experiments.ablation import study, trial_scores
from experiments.ablation.looks import parse_looks, scale_at_look
from experiments.ablation.record_files import write_record
from experiments.ablation.record_table import OUTDATED_MARK, tabulate_records
from experiments.reporting import study_report
from experiments.reporting.result_studies import RESULT_NAMES, load_result
from tests.experiments.reporting import STUDY, study_trials
from training import files as files_module


def test_the_table_names_what_diverged():
    some = study_trials()
    some[0] = some[0]._replace(result={**some[0].result, "died_at": 3})
    table = study_report.settings_table(STUDY, some)
    assert table.rows[0][:2] == ["a, 1", "0.915 ± 0.064"]
    assert table.rows[0][-1] == "1 of 3"
    assert table.rows[1][-1] == "–"
    assert table.header == ["setting", "accuracy", "bits", "parameters", "state, floats", "rate", "diverged"]


def test_columns_without_a_number_are_left_out_unless_they_are_wanted():
    table = study_report.settings_table(STUDY, study_trials())
    assert table.header == ["setting", "accuracy", "bits", "parameters", "state, floats", "rate"]
    assert table.note == "Mean and 95 % interval over 3 seeds."
    whole = study_report.settings_table(STUDY, study_trials(), keep_empty=True)
    assert [name for name in whole.header if name not in table.header] == ["middle half", "diverged"]
    assert {(row[2], row[-1]) for row in whole.rows} == {("–", "–")}
    assert "“middle half” is the interquartile mean" in whole.note
    assert {len(row) for row in table.rows} == {len(table.header)}


@pytest.mark.parametrize(("best", "words"), [("min", "lower is better"), ("max", "higher is better")])
def test_the_table_says_which_way_the_score_is_better_where_trials_do(best: str, words: str):
    trials = [trial._replace(result={**trial.result, "best": best}) for trial in study_trials()]
    assert study_report.settings_table(STUDY, trials).header[1] == f"accuracy, {words}"


def test_the_page_says_how_much_its_scale_is(tmp_path: Path):
    remark = study_report.describe_scale("smoke", study_trials())
    assert remark == "smoke: 600 steps and 3 seeds; it shows that it runs, not who is better"
    assert study_report.describe_scale("quick", study_trials()) == "quick: 600 steps and 3 seeds"
    (page, *_) = study_report.write_report("some_name", STUDY, "quick", study_trials(), tmp_path)
    text = page.read_text()
    assert text.index("Is it so?") < text.index("quick: 600 steps and 3 seeds") < text.index("<main>")


def test_extra_scores_have_a_column_each():
    table = study_report.settings_table(STUDY, study_trials(**{"macro F1": 0.25}))
    assert table.header[:4] == ["setting", "accuracy", "macro F1", "bits"]
    assert all(row[2].startswith("0.25") for row in table.rows)


def test_the_table_marks_what_is_of_older_code():
    table = study_report.settings_table(STUDY, study_trials(), study_trials()[:1])
    assert [row[0] for row in table.rows[:2]] == [f"a, 1 {OUTDATED_MARK}", "a, 2"]
    assert f"{OUTDATED_MARK}: 1 of 18 cells are of older code" in table.note
    assert OUTDATED_MARK not in study_report.settings_table(STUDY, study_trials()).note


def test_page_tables_and_pictures_are_written(tmp_path: Path):
    """Verdicts before figures; CSV and Parquet with the same numbers; nothing that a page would have to fetch."""
    files = study_report.write_report("some_name", STUDY, "quick", study_trials(), tmp_path)
    assert [path.name for path in files] == [
        "report.html", "cells.csv", "cells.parquet", "picture.svg", "picture.pdf", "picture.png"
    ]  # fmt: skip
    page = files[0].read_text()
    assert page.index("a is better") < page.index("<svg")
    assert "python -m experiments.run --study=some_name --scale=quick" in page
    assert not re.findall(r"(?:src|href)=.?https?:|@import|<script", page)
    rows, columns = files_module.read_csv(files[1]), pq.read_table(files[2]).to_pydict()
    assert [float(row["test"]) for row in rows] == columns["test"]
    assert [row["mixer"] for row in rows] == columns["mixer"]
    assert set(columns) == set(rows[0])


def test_a_record_that_is_missing_or_holds_a_trial_twice_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(
        ValueError, match=r"lines-smoke\.csv is missing; .*--study=lines --scale=smoke --record makes it"
    ):
        study_report.read_study_record("lines", study.load_study("lines"), "smoke")
    trials = study_trials()
    other = next(trial for trial in trials if trial.labels != trials[0].labels and trial.seed == trials[0].seed)
    other.result["key"] = trials[0].result["key"]
    (tmp_path / "studies").mkdir()
    monkeypatch.setattr(study_report, "RECORDS_DIR", tmp_path)
    path = study_report.record_path("mine", "quick")
    header, rows = tabulate_records(trials)
    write_record(path, header, rows)
    with pytest.raises(
        ValueError, match=r"mine-quick\.csv: two trials of one seed have the key .*; each must have its own"
    ):
        study_report.read_study_record("mine", STUDY, "quick")


def test_every_record_is_of_its_study():
    """Every seed of every setting, each trial once; that pages show them is publish --check."""
    paths = sorted((study_report.RECORDS_DIR / "studies").glob("*.csv"))
    assert len(paths) > 40
    for path in paths:
        name, _, scale = path.stem.partition("-")
        loaded = load_result(name) if name in RESULT_NAMES else study.load_study(name)
        trials = trial_scores.reported_records(study_report.read_study_record(name, loaded, scale))
        axis = loaded.registry_axis  # what is registered later than the record has no trials in it
        recorded = {trial.labels[axis] for trial in trials} if axis else set()
        looks = parse_looks(trial.result.get("looks", "") for trial in trials)
        expected = {
            (repr(labels), seed)
            for labels in study.grid_labels(loaded, loaded.scales[scale])
            for seed in scale_at_look(loaded.scales[scale], looks).seeds
            if not axis or labels[axis] in recorded
        }
        assert {(repr(trial.labels), trial.seed) for trial in trials} == expected, path.name
