from typing import Any

import pytest

from experiments.ablation import study, verdicts
from experiments.ablation.record_table import OUTDATED_MARK
from experiments.ablation.verdicts import Verdict
from experiments.reporting import published_results
from experiments.reporting.published_results import PublishedNumber, ReproducedResult
from experiments.reporting.publishing import lost_parts
from experiments.reporting.result_studies import OTHER_SEEDS_SUFFIX, RESULT_NAMES, load_result
from tests.experiments.reporting import STUDY, study_trials

NUMBERS = [
    PublishedNumber("theirs", "n = 4", "97.0", " %", "V", "Table 1", "a, 4", "test", "1"),
    PublishedNumber("another", "", "12", "", "M", "Table 2", "", "", "1"),
    PublishedNumber("a third", "", "0.5", "", "R", "Fig. 1", "c, 4", "test", ""),
]


def make_result(**changes: Any) -> ReproducedResult:
    judged = verdicts.judge_claims(STUDY, study_trials(), "quick")
    return ReproducedResult("counting", STUDY, NUMBERS, study_trials(), judged, [])._replace(**changes)


@pytest.mark.parametrize("name", RESULT_NAMES)
def test_a_result_is_a_study_and_a_table_of_what_was_published(name: str):
    one, numbers = study.load_study(name), published_results.read_published(name)
    assert one.paper
    assert {"smoke", "quick", "standard", "full"} == set(one.scales)
    assert len(one.scales["standard"].seeds) >= 5
    assert len(one.scales["quick"].seeds) >= 3
    overrides = [
        changes for labels in study.axis_overrides(one, one.scales["quick"]).values() for changes in labels.values()
    ]
    varied = {changes["optimizer.learning_rate"] for changes in overrides if "optimizer.learning_rate" in changes}
    rates = one.scales["quick"].learning_rates or varied  # chosen from, or all of them shown
    assert not one.trained or len(rates) >= 3
    assert any(number.shown for number in numbers)
    settings = [study.format_labels(labels) for labels in study.grid_labels(one, one.scales["quick"])]
    there = set()
    for number in numbers:
        assert number.confidence in published_results.CONFIDENCE_NOTES
        assert number.model
        assert number.value
        assert number.source
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
    one = load_result("counting")
    for scale in ("quick", "full"):
        first, second = one.scales[scale], one.scales[scale + OTHER_SEEDS_SUFFIX]
        assert not set(first.seeds + first.tuning_seeds) & set(second.seeds)
        assert second._replace(seeds=first.seeds) == first


@pytest.mark.parametrize("name", ["queries", "counting"])
def test_another_mixer_is_another_row(name: str):
    one = load_result(name, ["gla", "lstm"])
    (axis,) = (axis for axis in ("mixer", "model") if axis in one.grid)
    before = list(study.load_study(name).grid[axis])
    assert list(one.grid[axis]) == [*before, "gla"]
    rows = study.resolve_settings(one, one.scales["quick"], {axis: ["gla"]})
    assert rows
    assert all(row.config["model"]["mixer"] == "gla" for row in rows)


def test_what_can_not_be_asked_for():
    with pytest.raises(ValueError, match=r"--result=count: must be one of .*did you mean counting"):
        load_result("count")
    with pytest.raises(ValueError, match="--mixers=glaa: must be one of"):
        load_result("counting", ["glaa"])
    with pytest.raises(ValueError, match="--mixers: phrases varies something else than its mixer; give --mixers to "):
        load_result("phrases", ["gla"])


def test_the_verdict_is_that_of_the_weakest_claim():
    def told(*verdicts: str) -> list[Verdict]:
        return [Verdict("a claim", verdict) for verdict in verdicts]

    assert published_results.weakest_verdict(told("reproduced", "reproduced")) == "reproduced"
    assert published_results.weakest_verdict(told("reproduced", "proxy")) == "proxy"
    assert published_results.weakest_verdict(told("undecided", "reproduced")) == "undecided"
    assert published_results.weakest_verdict(told("undecided", "contradicted")) == "contradicted"
    assert (
        published_results.weakest_verdict(told("contradicted", "not run"))
        == published_results.weakest_verdict([])
        == "not run"
    )
    first = make_result(verdicts=told("reproduced"))
    assert published_results.verdict_label(first) == "✓ reproduced"
    assert published_results.verdict_label(first._replace(other_seeds=told("reproduced"))) == "✓ reproduced"
    assert published_results.verdict_label(first._replace(other_seeds=told("undecided"))) == "✓ reproduced"
    assert published_results.verdict_label(first._replace(other_seeds=told("contradicted"))) == "✓ reproduced, unstable"


def test_ours_stands_beside_what_was_published():
    rows = published_results.published_table(make_result()).rows
    assert rows[0][:4] == ["theirs", "n = 4", "97.0 %", "Table 1"]
    assert rows[0][4].startswith("0.910")
    assert rows[0][5] == "0.92"
    assert rows[1] == ["another", "–", "12 (from memory, unchecked)", "Table 2", "–", "–"]
    assert len(rows) == 2
    assert (
        "1 more published numbers are in experiments/published/counting.csv"
        in published_results.published_table(make_result()).note
    )
    assert str(NUMBERS[2]) == "0.5 (read off a figure)"
    (row,) = published_results.overview_table([make_result()]).rows
    assert row[3] == "theirs at n = 4 97.0 %; another 12 (from memory, unchecked)"
    assert row[4].startswith("theirs 0.910")
    assert "reproduced" in row[5]


def test_a_page_names_each_result_its_claims_and_how_to_repeat_it():
    text = published_results.results_page([make_result()])
    assert "## 1. Counting: " in text
    assert "a is better" in text
    assert "python -m experiments.reproduce --result=counting" in text
    assert "from memory, unchecked" in text


def test_what_rests_on_older_code_is_marked():
    """In the verdict, at the end of its part of the page, and behind the settings."""
    fresh = make_result()
    assert "older code" not in published_results.results_page([fresh])
    assert OUTDATED_MARK not in published_results.results_page([fresh])
    old = make_result(
        outdated=[t for t in study_trials() if t.labels == {"mixer": "a", "n": 2}], other_seeds_outdated=4
    )
    text = published_results.results_page([old])
    assert (
        published_results.verdict_label(old)
        == f"{published_results.verdict_label(fresh)} {OUTDATED_MARK}"
        == published_results.verdicts_table([old]).rows[-2][2]
    )
    assert "repeats it. 3 of 18 cells are of older code; 4 cells with other seeds are of older code." in text
    assert f"| a, 2 {OUTDATED_MARK} |" in text
    assert text.count(f"{OUTDATED_MARK}: 3 of 18 cells are of older code") == 1


def test_other_seeds_that_were_run_stay_in_the_document():
    with_others = make_result(other_seeds=verdicts.judge_claims(STUDY, study_trials(), "quick"))
    before, after = (published_results.results_page([result]) for result in (with_others, make_result()))
    assert lost_parts(before, after) == ["Counting"]
    assert lost_parts(after, before) == []


def test_a_result_reads_its_records_at_the_scales_that_have_one():
    result = published_results.read_result("parallel")
    assert result
    assert len(result.verdicts) == len(result.other_seeds) == len(result.study.claims)
    assert {trial.seed for trial in result.trials} == set(result.study.scales["quick"].seeds)
    assert published_results.read_result("parallel", "full") is None
