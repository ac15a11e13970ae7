from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from experiments import reproduce
from experiments.ablation import record_table, study
from experiments.ablation import verdicts as judge
from experiments.ablation.record_table import OUTDATED_MARK
from experiments.ablation.study import Scale, Study, claim_above
from experiments.ablation.verdicts import Verdict
from experiments.reporting import study_report
from experiments.reporting.html_report import SECTION_PATTERN, lost_parts, markdown_table
from experiments.reproduce import OTHER_SEEDS_SUFFIX, RESULT_NAMES, PublishedNumber, ReproducedResult
from tests.experiments.reporting.test_study_report import lines

STUDY = Study(
    "Is it so?",
    {},
    {"mixer": ("a", "b"), "n": (1, 2, 4)},
    {"quick": Scale((0, 1, 2))},
    (claim_above("a is better", {"mixer": "a"}, {"mixer": "b"}),),
    measures=("bits",),
    paper="Someone 1999",
)
NUMBERS = [
    PublishedNumber("theirs", "n = 4", "97.0", " %", "V", "Table 1", "a, 4", "test", "1"),
    PublishedNumber("another", "", "12", "", "M", "Table 2", "", "", "1"),
    PublishedNumber("a third", "", "0.5", "", "R", "Fig. 1", "c, 4", "test", ""),
]


def found(**more: Any) -> ReproducedResult:
    verdicts = judge.judge_claims(STUDY, lines(), "quick")
    return ReproducedResult(**{"name": "counting", "study": STUDY, "published": NUMBERS, "lines": lines(), "verdicts": verdicts,
                    "again": []} | more)  # fmt: skip


@pytest.mark.parametrize("name", RESULT_NAMES)
def test_a_result_is_a_study_and_a_table_of_what_was_published(name: str):
    one, numbers = study.load_study(name), reproduce.read_published(name)
    assert one.paper
    assert {"smoke", "quick", "standard", "full"} == set(one.scales)
    assert len(one.scales["standard"].seeds) >= 5
    assert len(one.scales["quick"].seeds) >= 3
    varied = {s.config["optimizer"]["learning_rate"] for s in study.resolve_settings(one, one.scales["quick"])}
    rates = one.scales["quick"].learning_rates or varied  # chosen from, or all of them shown
    assert not one.trained or len(rates) >= 3
    assert any(number.shown for number in numbers)
    settings = [study.format_labels(labels) for labels in study.grid_labels(one, one.scales["quick"])]
    there = set()
    for number in numbers:
        assert number.sure in reproduce.CONFIDENCE_NOTES
        assert number.model
        assert number.value
        assert number.where
        assert bool(number.setting) == bool(number.metric)
        if number.metric:
            study.validate_metric(one, number.metric)
            assert number.setting in settings
            there.add(number.setting)
    assert there


def test_there_are_twelve_results_and_every_study_with_a_paper_is_one():
    assert len(set(RESULT_NAMES)) == 12
    assert {name for name in study.study_names() if study.load_study(name).paper} == set(RESULT_NAMES)


def test_every_scale_has_a_twin_with_other_seeds_and_the_same_rates():
    one = reproduce.load_result("counting")
    for scale in ("quick", "full"):
        first, second = one.scales[scale], one.scales[scale + reproduce.OTHER_SEEDS_SUFFIX]
        assert not set(first.seeds + first.tuning_seeds) & set(second.seeds)
        assert second._replace(seeds=first.seeds) == first


@pytest.mark.parametrize("name", ["queries", "counting"])
def test_another_mixer_is_another_row(name: str):
    one = reproduce.load_result(name, ["gla", "lstm"])
    (axis,) = (axis for axis in ("mixer", "model") if axis in one.grid)
    before = list(study.load_study(name).grid[axis])
    assert list(one.grid[axis]) == [*before, "gla"]
    rows = [setting for setting in study.resolve_settings(one, one.scales["quick"]) if setting.labels[axis] == "gla"]
    assert rows
    assert all(row.config["model"]["mixer"] == "gla" for row in rows)


def test_what_can_not_be_asked_for():
    with pytest.raises(ValueError, match=r"--result=count: must be one of .*did you mean counting"):
        reproduce.load_result("count")
    with pytest.raises(ValueError, match="--models=glaa: must be one of"):
        reproduce.load_result("counting", ["glaa"])
    with pytest.raises(ValueError, match="--models: phrases varies something else than its mixer; give --models to "):
        reproduce.load_result("phrases", ["gla"])


def test_the_verdict_is_that_of_the_weakest_claim():
    def told(*verdicts: str) -> list[Verdict]:
        return [Verdict("a claim", verdict) for verdict in verdicts]

    assert reproduce.weakest_verdict(told("reproduced", "reproduced")) == "reproduced"
    assert reproduce.weakest_verdict(told("reproduced", "proxy")) == "proxy"
    assert reproduce.weakest_verdict(told("trend only", "reproduced")) == "trend only"
    assert reproduce.weakest_verdict(told("trend only", "not reproduced")) == "not reproduced"
    assert reproduce.weakest_verdict(told("not reproduced", "not run")) == reproduce.weakest_verdict([]) == "not run"
    first = found(verdicts=told("reproduced"))
    assert reproduce.verdict_label(first) == "✓ reproduced"
    assert reproduce.verdict_label(first._replace(other_seeds=told("reproduced"))) == "✓ reproduced"
    assert reproduce.verdict_label(first._replace(other_seeds=told("trend only"))) == "✓ reproduced, unstable"


def test_ours_stands_beside_what_was_published():
    rows = reproduce.published_table(found()).rows
    assert rows[0][:4] == ["theirs", "n = 4", "97.0 %", "Table 1"]
    assert rows[0][4].startswith("0.910")
    assert rows[0][5] == "0.92"
    assert rows[1] == ["another", "–", "12 (from memory, unchecked)", "Table 2", "–", "–"]
    assert len(rows) == 2
    assert (
        "1 more published numbers are in experiments/published/counting.csv" in reproduce.published_table(found()).note
    )
    assert str(NUMBERS[2]) == "0.5 (read off a figure)"
    (row,) = reproduce.overview_table([found()]).rows
    assert row[3] == "theirs at n = 4 97.0 %; another 12 (from memory, unchecked)"
    assert row[4].startswith("theirs 0.910")
    assert "reproduced" in row[5]


def test_a_page_names_each_result_its_claims_and_how_to_repeat_it():
    text = reproduce.results_page([found()])
    assert "## 1. Counting: " in text
    assert "a is better" in text
    assert "python -m experiments.reproduce --result=counting" in text
    assert "from memory, unchecked" in text


def test_what_rests_on_older_code_is_marked():
    """In the verdict, at the end of its part of the page, and behind the settings."""
    fresh = found()
    assert "older code" not in reproduce.results_page([fresh])
    assert OUTDATED_MARK not in reproduce.results_page([fresh])
    old = found(older=[line for line in lines() if line.labels == {"mixer": "a", "n": 2}], again_older=4)
    text = reproduce.results_page([old])
    assert (
        reproduce.verdict_label(old)
        == f"{reproduce.verdict_label(fresh)} {OUTDATED_MARK}"
        == reproduce.verdicts_table([old]).rows[-2][2]
    )
    assert "repeats it. 3 of 18 cells are of older code; 4 cells with other seeds are of older code." in text
    assert f"| a, 2 {OUTDATED_MARK} |" in text
    assert text.count(f"{OUTDATED_MARK}: 3 of 18 cells are of older code") == 1


def test_the_readme_and_the_document_say_what_the_records_say():
    some = [one for name in RESULT_NAMES if (one := reproduce.read_result(name))]
    assert [one.name for one in some] == list(RESULT_NAMES)
    assert (reproduce.DOCS / "reproduce.md").read_text() == reproduce.results_page(some)
    readme = (Path(reproduce.__file__).parents[1] / "README.md").read_text()
    table = reproduce.verdicts_table(some)
    assert markdown_table(table.header, table.rows) in readme


@pytest.mark.parametrize("name", RESULT_NAMES)
@pytest.mark.parametrize("scale", ["quick", "quick-again"])
def test_a_record_is_of_its_study(name: str, scale: str):
    one = reproduce.load_result(name)
    lines = study_report.read_study_record(name, one, scale)
    there = {(repr(x.labels), x.seed) for x in judge.reported_records(lines)}
    settings = study.resolve_settings(one, one.scales[scale])
    assert there == {(repr(s.labels), seed) for s in settings for seed in one.scales[scale].seeds}
    old = len(record_table.outdated_records(lines, one, one.scales[scale]))
    said = (
        f"{old} cells with other seeds are"
        if scale.endswith(OTHER_SEEDS_SUFFIX)
        else f"{old} of {len(lines)} cells are"
    )
    document = (Path(reproduce.__file__).parents[1] / "docs" / "reproduce.md").read_text()
    (line,) = [line for line in document.splitlines() if f"--result={name}` repeats it." in line]
    assert (f" {said} of older code" in line) == bool(old), "what is older is said so"


@pytest.mark.parametrize(
    ("scale", "says"),
    [
        ("fulll", "--scale=fulll: must be one of smoke, quick, standard, full; did you mean full?"),
        ("smoke", r"reproduce\.md shows Slots and 11 more, of which a record is missing: python -m "
         r"experiments\.reproduce --result=slots --scale=smoke --record "),
    ],
)  # fmt: skip
def test_what_is_committed_is_not_wiped_for_want_of_records(
    scale: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name in ("reproduce.md", "reproduce.svg"):
        (tmp_path / name).write_bytes((reproduce.DOCS / name).read_bytes())
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.setattr(reproduce, "DOCS", tmp_path)
    monkeypatch.setattr(reproduce.html_report, "replace_table", lambda *_: pytest.fail("README"))
    args = SimpleNamespace(all=False, result=None, record=False, models=[], again=False, write=True, scale=scale)
    monkeypatch.setattr(reproduce, "flags", SimpleNamespace(FLAGS=args))
    with pytest.raises(ValueError, match=says):
        reproduce.main()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_other_seeds_that_were_run_stay_in_the_document():
    with_others = found(again=judge.judge_claims(STUDY, lines(), "quick"))
    assert lost_parts(reproduce.results_page([with_others]), reproduce.results_page([found()]), SECTION_PATTERN) == [
        "Counting"
    ]
    assert lost_parts(reproduce.results_page([found()]), reproduce.results_page([with_others]), SECTION_PATTERN) == []
