from typing import Any

import pytest

from experiments.ablation import study, verdicts
from experiments.ablation.verdicts import Verdict
from experiments.reporting import published_results
from experiments.reporting.published_numbers import PublishedNumber, read_published
from experiments.reporting.published_results import ReproducedResult
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


# Results of one learning rate: the paper's own, or one that their docstrings explain.
ONE_RATE = ("slots", "counting", "newton_iterations")


@pytest.mark.parametrize("name", RESULT_NAMES)
def test_a_result_is_a_study_and_a_table_of_what_was_published(name: str):
    one, numbers = study.load_study(name), read_published(name)
    assert one.paper
    assert {"smoke", "quick", "standard", "full"} == set(one.scales)
    assert len(one.scales["standard"].seeds) >= 5
    assert len(one.scales["quick"].seeds) >= 3
    overrides = [
        changes for labels in study.axis_overrides(one, one.scales["quick"]).values() for changes in labels.values()
    ]
    varied = {changes["optimizer.learning_rate"] for changes in overrides if "optimizer.learning_rate" in changes}
    rates = one.scales["quick"].learning_rates or varied  # chosen from, or all of them shown
    assert not one.trained or len(rates) >= 3 or name in ONE_RATE
    assert any(number.shown for number in numbers)
    settings = [study.format_labels(labels) for labels in study.grid_labels(one, one.scales["quick"])]
    there = set()
    for number in numbers:
        if number.metric:
            study.validate_metric(one, number.our_metric)
            assert number.setting in settings
            there.add(number.setting)
    assert there


def test_every_study_with_a_paper_is_a_result():
    assert len(set(RESULT_NAMES)) == len(RESULT_NAMES)
    assert {name for name in study.study_names() if study.load_study(name).paper} == set(RESULT_NAMES)


def test_every_scale_has_a_twin_with_other_seeds_and_the_same_rates():
    one = load_result("counting")
    for scale in ("quick", "full"):
        first, second = one.scales[scale], one.scales[scale + OTHER_SEEDS_SUFFIX]
        assert not set(first.seeds + first.tuning_seeds) & set(second.seeds)
        assert second._replace(seeds=first.seeds) == first


@pytest.mark.parametrize(("name", "row"), [("queries", "mingru"), ("counting", "lstm")])
def test_another_mixer_is_another_row(name: str, row: str):
    one = load_result(name, ["gla", row])
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


def test_a_number_of_the_paper_s_best_run_stands_beside_our_best_seed():
    best = NUMBERS[0]._replace(metric="best of test")
    (row, _) = published_results.published_table(make_result(published=[best, NUMBERS[1]])).rows
    assert row[4:] == ["best of 3 seeds 0.92", "0.92"]


def test_the_overview_has_a_row_for_every_result_in_short_cells():
    rows = published_results.overview_table([make_result()]).rows
    assert [row[0] for row in rows] == list(RESULT_NAMES)
    by_name = {row[0]: row for row in rows}
    assert by_name["counting"][1:3] == ["Is it so?", "Someone 1999"]
    assert by_name["counting"][3:] == ["✓ reproduced", "– not run", "under 1"]
    others = [row for row in rows if row[0] != "counting"]
    assert {tuple(row[3:]) for row in others} == {("– not run yet", "– not run", "–")}
    assert max(len(cell) for row in rows for cell in row) <= 110


@pytest.mark.parametrize(
    ("paper", "short"),
    [
        ("Schlag, Irie and Schmidhuber 2021, Fig. 2 (arXiv 2102.11174)", "Schlag et al. 2021"),
        ("Gu and Dao 2023, Mamba, Table 11; Olsson et al. 2022 (arXiv …)", "Gu and Dao 2023; Olsson et al. 2022"),
        ("Weiss, Goldberg and Yahav 2018 (arXiv 1805.04908), and the authors' notebook", "Weiss et al. 2018"),
        ("a notebook", "a notebook"),
    ],
)  # fmt: skip
def test_a_paper_in_few_words(paper: str, short: str):
    assert published_results.short_paper(paper) == short


def test_the_verdict_and_its_reason_are_one_sentence():
    first = make_result(verdicts=[Verdict("it is", "reproduced", "0.9"), Verdict("it grows", "undecided", "p 0.2")])
    sentence = published_results.verdict_sentence(first)
    assert sentence == "**? Undecided**, because 3 seeds do not decide 1 of its 2 claims: “it grows” (p 0.2)."
    others = [Verdict("it is", "contradicted"), Verdict("it grows", "undecided")]
    sentence = published_results.verdict_sentence(first._replace(other_seeds=others))
    assert sentence.endswith("; unstable, because with other seeds “it is” is contradicted.")
    sentence = published_results.verdict_sentence(first._replace(other_seeds=first.verdicts))
    assert sentence.endswith("; other seeds say the same.")
    for verdict in published_results.VERDICT_ORDER:
        alone = published_results.verdict_sentence(make_result(verdicts=[Verdict("it is", verdict, "0.9")]))
        assert alone.startswith(f"**{verdicts.VERDICT_SIGNS[verdict]} {verdict.capitalize()}**, because ")
        assert alone.endswith(".")
        assert "\n" not in alone
    assert "no claim" in published_results.verdict_sentence(make_result(verdicts=[]))


def test_the_command_and_the_cost_are_those_of_the_record():
    trials = [t._replace(result={**t.result, "seconds": 60.0, "looks": "3"}) for t in study_trials()]
    result = make_result(trials=trials, other_trials=study_trials())
    assert published_results.repeat_commands(result) == [
        ".venv/bin/python -m experiments.reproduce --result=counting --until=decided",
        ".venv/bin/python -m experiments.reproduce --result=counting --other_seeds",
    ]
    assert published_results.cost_sentence(result) == (
        "Measured: 18 minutes for 3 seeds, map on 1 (cpu); with other seeds under 1 minute for 3 seeds, map on 1 (cpu)."
    )
    assert published_results.compute_minutes(()) == "–"
    assert len(published_results.repeat_commands(make_result())) == 1


def test_one_page_for_reading_has_the_charts_of_every_result():
    report = published_results.results_report([make_result()])
    assert report.title == f"{len(RESULT_NAMES)} published results"
    (section,) = report.sections
    assert [chart.name for chart in section.charts] == ["accuracy", "main"]


def test_a_result_reads_its_records_at_the_scales_that_have_one():
    result = published_results.read_result("parallel")
    assert result
    assert len(result.verdicts) == len(result.other_seeds) == len(result.study.claims)
    assert published_results.count_seeds(result.trials) >= len(result.study.scales["quick"].seeds)
    assert {trial.seed for trial in result.other_trials}.isdisjoint(trial.seed for trial in result.trials)
    assert published_results.read_result("parallel", "full") is None
