from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import models
from experiments import compare
from experiments.ablation import record_table, runner, study
from experiments.ablation.learning_rates import LEARNING_RATES, format_learning_rate, tied_rates
from experiments.ablation.own_data import OwnData
from experiments.ablation.record_table import OUTDATED_MARK, outdated_records
from experiments.ablation.study import Scale, Study
from experiments.ablation.study_on_data import study_on_data
from experiments.ablation.trials import TrialRecord, trial_key
from experiments.reporting import comparison_report, study_report
from experiments.reporting.html_report import Table
from experiments.reporting.mixer_tables import TASK_TITLES
from experiments.studies import compare as compare_study
from experiments.studies import compare_cost, mixers

RESULT: Any = {
    "died_at": None, "metric": "accuracy", "best": "max", "chance": 0.1, "baseline": ("a rule", 0.2), "steps": 10,
    "parameters": 1234, "mixer_parameters": 200, "state_floats": 56, "step_flops": 1.0, "seconds": 2.0,
    "training_seconds": 1.0, "best_step": 10, "how": "map on 1", "device": "cpu", "key": "0", "revision": "f" * 40,
    "group": "none", "packages": {}, "config": {},
}  # fmt: skip


def trial(task: str, mixer: str, seed: int, test: float, **result: Any) -> TrialRecord:
    kept: Any = {**RESULT, "metrics": {"test": test, "validation": test, "permuted": 0.5}, **result}
    return TrialRecord({"task": task, "mixer": mixer}, "report", seed, 3e-3, kept)


def cost(mixer: str, power: float) -> TrialRecord:
    metrics = {f"step time@{x}": 1e-3 * x**power for x in (64, 128, 256, 512)}
    metrics |= {"step depth@512": 700.0, "stream time@512": 5e-5}
    kept: Any = {**RESULT, "metrics": metrics}
    return TrialRecord({"mixer": mixer}, "report", 0, 1e-3, kept)


def test_reported_seeds_are_never_those_that_rates_were_chosen_with():
    for scale in (*compare_study.STUDY.scales.values(), *mixers.STUDY.scales.values()):
        assert not set(scale.seeds) & set(scale.tuning_seeds)
    assert len(compare_study.STUDY.scales["quick"].seeds) >= 3


def test_the_recorded_rates_are_of_the_quick_scale_as_it_is_now():
    """A changed quick setting needs `run --study=compare --record` anew, or `make compare` would choose rates itself,
    outside its budget."""
    scale = compare_study.STUDY.scales["quick"]
    recorded = {one.result["key"]: one.result for one in compare.read_record("quick") if one.phase == "choose"}
    settings = study.resolve_settings(compare_study.STUDY, scale)
    for setting, grid in runner.tuning_trials(compare_study.STUDY, scale, settings):
        for seed, rate in grid:
            assert trial_key(setting.config, seed, rate) in recorded, (setting.labels, seed, rate)


def test_attention_leaves_its_plateau_in_every_one_of_the_twenty_recorded_seeds():
    plateau = study.load_study("plateau")
    trials = study_report.read_study_record("plateau", plateau, "quick")
    assert not outdated_records(trials, plateau, plateau.scales["quick"])
    chosen = {
        one.learning_rate
        for one in compare.read_record("quick")
        if one.phase == "report" and one.labels == {"task": "recall", "mixer": "attention"}
    }
    found = [one for one in trials if {one.learning_rate} == chosen]
    assert len({one.seed for one in found}) == 20
    assert all(0 < one.get_metric("first step at 0.99") <= int(one.result["steps"]) for one in found)
    assert not {one.seed for one in found} & set(compare_study.STUDY.scales["quick"].seeds)


def test_the_best_rate_is_chosen_by_mean_and_a_diverged_one_never():
    nan = float("nan")

    def choose(scores: dict[float, list[float]], metric_mode: str) -> float:
        return min(tied_rates(scores, metric_mode))

    assert choose({1e-3: [0.5, 0.7], 1e-2: [0.9, 0.2]}, "max") == 1e-3
    assert choose({1e-3: [0.5, 0.7], 1e-2: [0.9, 0.2]}, "min") == 1e-2
    assert choose({3e-2: [0.99, 0.99], 1e-2: [0.9999, 1.0], 3e-3: [1.0, 0.9992]}, "max") == 3e-3  # a tie
    assert choose({1e-2: [2.0], 3e-3: [2.001], 1e-3: [2.01]}, "min") == 3e-3
    assert choose({1e-3: [nan], 1e-2: [nan]}, "max") == 1e-3  # all the same; the study goes on
    assert choose({1e-3: [0.1, 0.1], 1e-2: [0.9, nan]}, "max") == 1e-3
    assert choose({1e-3: [nan, 0.1], 1e-2: [nan, 0.9], 3e-2: [nan, nan]}, "max") == 1e-2
    assert [format_learning_rate(rate) for rate in (1e-3, 3e-3, 3e-2)] == ["0.001*", "0.003", "0.03*"]


def test_the_claims_as_the_records_have_them():
    """At quick scale both hold; with 40 symbols attention does not recall 8 pairs with every seed."""
    from experiments.ablation.verdicts import judge_claims

    found = judge_claims(compare_study.STUDY, compare.read_record("quick"), "quick")
    assert [one.verdict for one in found] == ["reproduced", "reproduced"]
    assert found[0].claim == (
        "At equal parameters attention recalls ≥ 0.99 of 8 pairs where every recurrent mixer stays ≤ 0.6"
    )
    assert "gru 2.63 against shakespeare, attention 2.98" in found[1].evidence
    (found,) = judge_claims(compare_study.STUDY, compare.read_record("recall"), "recall")
    assert found.verdict == "undecided"


@pytest.mark.parametrize(("power", "expected"), [(1.8, "reproduced"), (0.5, "contradicted")])
def test_the_claim_about_time_compares_exponents(power: float, expected: str):
    from experiments.ablation.verdicts import judge_claims

    costs = [cost("attention", power), *(cost(mixer, 1.0) for mixer in (*compare_study.RECURRENT, "dense"))]
    (found,) = judge_claims(compare_cost.STUDY, costs, "quick")
    assert found.verdict == expected


def test_diverged_seeds_are_left_out_and_named():
    some = [trial("t", "gru", seed, test) for seed, test in enumerate((0.5, 0.7))]
    dead = trial("t", "gru", 2, 0.1, died_at=7)
    assert comparison_report.format_score([*some, dead]).startswith("0.600")
    assert comparison_report.format_score([*some, dead]).endswith("(1 of 3 diverged)")
    assert comparison_report.format_score([dead]) == "all diverged"
    assert comparison_report.format_score([]) == "not run"


def test_a_network_that_is_not_matched_is_named():
    counts = {"attention": 1000, "lstm": 1049, "gru": 1060, "rnn": 900}
    some = [trial("t", mixer, 0, 0.5, parameters=count) for mixer, count in counts.items()]
    assert comparison_report.unmatched_mixers(some, "t") == ["gru +6%", "rnn -10%"]


def test_the_table_of_the_record_marks_what_is_of_older_code(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(compare, "outdated_records", lambda trials, *_: [])
    table = compare.recorded_table("recall", "data")
    assert table.splitlines()[0] == "| mixer | recall 2 | recall 4 | recall 8 | recall 16 |"
    assert "| gru | 0.6" in table
    assert OUTDATED_MARK not in table
    by_gru = lambda trials, *_: [one for one in trials if one.labels["mixer"] == "gru"]  # noqa: E731
    monkeypatch.setattr(compare, "outdated_records", by_gru)
    table = compare.recorded_table("recall", "data")
    assert [line.split("|")[1].strip() for line in table.splitlines() if " † |" in line] == ["gru"]
    assert table.endswith("†: 24 of 120 cells are of older code, whose VERSIONs, data or settings have changed.")
    with pytest.raises(ValueError, match="--table: there is a record of scale quick and recall, and none of smoke"):
        compare.recorded_table("smoke", "data")


def test_the_table_of_mixers_is_made_from_the_record():
    """Every mixer that the record has, its scores and costs, and a mark at what is outdated."""
    trials = study_report.read_study_record("mixers", mixers.STUDY, "quick")
    outdated = [one for one in trials if one.labels == {"task": "copy memory", "mixer": "gru"}]
    header, _, *rows = comparison_report.mixers_table(trials, TASK_TITLES, outdated).splitlines()
    assert header == "| mixer | recall of 8 pairs | copy memory, 20 steps | parameters | state, floats |"
    known = {*models.MIXERS, *mixers.EQUIPPED, "rglru + attention"}
    assert {row.split("|")[1].strip() for row in rows} <= known
    (row,) = (row for row in rows if OUTDATED_MARK in row)
    assert row.startswith("| gru | 0.187 ± 0.015 | 0.324 ± 0.076 † | 19,038 | 42 |")
    steps = {(one.labels["task"], int(one.result["steps"])) for one in trials}
    assert steps == {(task, overrides["training.steps"]) for task, overrides in mixers.TASKS.items()}


def test_a_folder_of_an_older_program_and_an_unknown_task_are_refused_in_one_line(tmp_path: Path):
    args = SimpleNamespace(scale="smoke", workdir=str(tmp_path), only=["recal"], allow_fewer_devices=False, data_dir="")
    with pytest.raises(ValueError, match=r"task=?:? ?=?recal: must be one of recall 2, digits"):
        compare.run_comparison(args)
    (tmp_path / "recall-gru").mkdir()
    (tmp_path / "recall-gru" / "group.json").write_text("{}")
    with pytest.raises(ValueError, match=r"holds runs as revision .* kept them, which that revision reads") as caught:
        compare.run_comparison(args)
    assert "\n" not in str(caught.value)


def test_the_page_has_a_table_with_a_row_per_mixer_and_the_verdicts(tmp_path: Path):
    tasks, names = ("recall 2", "digits"), ("attention", "gru", "dense")
    trials = [trial(task, mixer, seed, 0.5 + 0.1 * seed) for task in tasks for mixer in names for seed in (0, 1)]
    costs = [cost(mixer, 1.0) for mixer in names]
    written = comparison_report.write_comparison(compare_study.STUDY, "smoke", trials, costs, [], "digits 3", tmp_path)
    assert [path.name for path in written] == ["report.html", "picture.svg", "results.csv", "timing.csv"]
    page = written[0].read_text()
    assert "recall 2 (accuracy, higher is better)" in page
    assert "µs a token at 512" in page
    assert "seconds used: digits 3" in page
    table = comparison_report.summary_table(trials, costs)
    assert [row[0] for row in table.rows] == list(names)
    assert all(len(row) == len(table.header) for row in table.rows)
    assert comparison_report.pairs_chart(compare_study.STUDY, "smoke", trials) is None


def test_the_page_of_own_data_says_whose_they_are(tmp_path: Path):
    data = OwnData("shakespeare", "", {}, {"name": "characters", "dataset": "shakespeare"})
    found, _ = study_on_data("compare", compare_study.STUDY, data)
    names = ("attention", "gru", "dense")
    trials = [trial("shakespeare", mixer, seed, 0.5 + 0.1 * seed) for mixer in names for seed in (0, 1)]
    shown = Table("The data", ["data", "notes.txt"], [["train", "7 tokens"]], "One line was left out.")
    comparison_report.write_comparison(
        found, "smoke", trials, [cost(mixer, 1.0) for mixer in names], [], "3", tmp_path,
        data=shown, title="Compare on notes.txt", command="python -m experiments.compare --config=configs/text.py",
    )  # fmt: skip
    page = (tmp_path / "report.html").read_text()
    assert "<h1>Compare on notes.txt</h1>" in page
    assert page.index("7 tokens") < page.index("<svg")
    assert "One line was left out." in page
    assert "experiments.compare --config=configs/text.py" in page
    assert "The next character of Shakespeare" in page


TINY = Study(
    question="?",
    fixed={
        "config": "recall", "task.pairs": 1, "task.max_length": 4, "training.steps": 10, "training.steps_per_call": 5,
        "training.eval_every": 5, "model.width": 4, "model.depth": 1, "training.batch_size": 4,
    },
    grid={"task": {"recall": {}}, "mixer": ("gru",)},
    scales={"quick": Scale(seeds=(0, 1), learning_rates=LEARNING_RATES, tuning_seeds=(100,))},
    claims=(),
)  # fmt: skip


def test_recorded_rates_are_found_and_nothing_is_trained_for_choosing(tmp_path: Path):
    """Tuned for real where no record fits; with a record, another folder trains the reported seeds alone."""
    said: list[str] = []
    scale = TINY.scales["quick"]
    first = runner.run_study(TINY, scale, tmp_path / "a", log=said.append, describe=compare.describe_group)
    assert len(said) == 2
    assert "4 learning rates tried" in said[0]
    assert said[1].startswith("recall       gru ")
    header, rows = record_table.tabulate_records(first)
    recorded = record_table.parse_records([dict(zip(header, map(str, row), strict=True)) for row in rows], TINY, scale)
    said.clear()
    again = runner.run_study(TINY, scale, tmp_path / "b", recorded=recorded, log=said.append)
    assert len(said) == 1
    assert [one[:4] for one in again] == [one[:4] for one in first]
    assert [one.get_metric("test") for one in again[4:]] == [one.get_metric("test") for one in first[4:]]
    assert not (tmp_path / "b" / "cells.jsonl").read_text().count('"seed":100')


@pytest.mark.parametrize("name", ["compare", "own_data"])
def test_the_learning_rate_falls_within_the_steps_of_the_smallest_scale(name: str):
    loaded = study.load_study(name)
    for setting in study.resolve_settings(loaded, loaded.scales["smoke"], {}):
        assert setting.config["optimizer"]["warmup_steps"] < setting.config["training"]["steps"], setting.labels
