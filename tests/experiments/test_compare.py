import pytest
from experiments.comparison import (
    COMPARED_MIXERS,
    Row,
    Scale,
    Study,
    configure,
    estimate,
    scores,
    settings_key,
    told,
    told_rate,
    unmatched,
)

import models
from experiments import compare
from experiments.ablation.intervals import Interval
from experiments.ablation.learning_rates import LEARNING_RATES, RECORDS_DIR, choose_learning_rate, read_recorded_rates
from experiments.ablation.record_files import read_record, write_record
from experiments.compare import SCALES, verdict_on_recall, verdict_on_shakespeare, verdict_on_time
from training.builder import build_task
from training.validation import validate_config

TINY = Scale(
    rows=(
        Row(
            "recall",
            "recall",
            {"task.pairs": 1, "task.max_length": 4, "training.steps": 10, "training.steps_per_call": 5,
             "training.eval_every": 5, "model.width": 4, "model.depth": 1, "training.batch_size": 4},
        ),
    ),
    seeds=(0, 1),
    choosing=(100,),
    lengths=(8,),
    context=8,
)  # fmt: skip


def result(values, metric="accuracy", dead=0):
    members = [{"seed": i, "test": v, "died_at": None, "validation": v} for i, v in enumerate(values)]
    members += [{"seed": 100 + i, "test": None, "died_at": 7, "validation": None} for i in range(dead)]
    return {"replicas": members, "metric": metric}


def results(attention, others, row="recall", metric="accuracy"):
    found = {(row, "attention"): result(attention, metric)}
    return found | {(row, mixer): result(others, metric) for mixer in ("lstm", "gru", "rnn")}


@pytest.mark.parametrize("scale", SCALES)
def test_every_cell_of_every_scale_is_a_valid_config(scale):
    for row in SCALES[scale].rows:
        for mixer in COMPARED_MIXERS:
            config = configure(row, mixer, SCALES[scale].seeds, LEARNING_RATES).to_dict()
            validate_config(config)
            if "dataset" not in config["task"]:
                models.resolve_model(config["model"], build_task(config["task"]).max_length)


def test_reported_seeds_are_never_those_that_rates_were_chosen_with():
    for scale in SCALES.values():
        assert not set(scale.seeds) & set(scale.choosing)
        assert len(set(scale.seeds)) == len(scale.seeds) >= 2
    assert len(SCALES["quick"].seeds) >= 3


def test_the_recorded_rates_are_of_the_quick_scale_as_it_is_now():
    """A changed quick setting needs `--record=rates` anew, or `make compare` would choose rates inside its budget."""
    recorded = read_recorded_rates()
    for row in SCALES["quick"].rows:
        for mixer in COMPARED_MIXERS:
            assert set(recorded[settings_key(row, mixer)]) == set(LEARNING_RATES), (row.name, mixer)
            for values in recorded[settings_key(row, mixer)].values():
                assert len(values) == len(SCALES["quick"].choosing)


def test_attention_leaves_its_plateau_in_every_one_of_the_twenty_recorded_seeds():
    quick = SCALES["quick"].rows[0]
    settings = settings_key(quick, "attention")
    rate = f"{choose_learning_rate(read_recorded_rates()[settings], 'max'):g}"
    rows = read_record(RECORDS_DIR / "plateau.csv")
    rows = [row for row in rows if (row["settings"], row["learning_rate"]) == (settings, rate)]
    assert len({row["seed"] for row in rows}) == 20
    assert all(0 < int(row["first_step_at_0.99"]) <= int(row["steps"]) for row in rows)
    assert not {int(row["seed"]) for row in rows} & set(SCALES["quick"].seeds)


def test_the_best_rate_is_chosen_by_mean_and_a_diverged_one_never():
    nan = float("nan")
    assert choose_learning_rate({1e-3: [0.5, 0.7], 1e-2: [0.9, 0.2]}, "max") == 1e-3
    assert choose_learning_rate({1e-3: [0.5, 0.7], 1e-2: [0.9, 0.2]}, "min") == 1e-2
    assert choose_learning_rate({3e-2: [0.99, 0.99], 1e-2: [0.9999, 1.0], 3e-3: [1.0, 0.9992]}, "max") == 3e-3  # a tie
    assert choose_learning_rate({1e-2: [2.0], 3e-3: [2.001], 1e-3: [2.01]}, "min") == 3e-3
    assert choose_learning_rate({1e-3: [nan], 1e-2: [nan]}, "max") == 1e-3  # all the same; the study goes on
    assert choose_learning_rate({1e-3: [0.1, 0.1], 1e-2: [0.9, nan]}, "max") == 1e-3
    assert choose_learning_rate({1e-3: [nan, 0.1], 1e-2: [nan, 0.9], 3e-2: [nan, nan]}, "max") == 1e-2


def test_settings_key_ignores_rate_and_seeds_and_nothing_else():
    row = SCALES["quick"].rows[0]
    longer = row._replace(changes={**row.changes, "training.steps": 6000})
    assert settings_key(row, "lstm") != settings_key(longer, "lstm")
    assert settings_key(row, "lstm") != settings_key(row, "gru")
    assert settings_key(row, "lstm") == settings_key(row._replace(name="another name"), "lstm")


def test_diverged_seeds_are_left_out_and_named():
    found = result([0.5, 0.7], dead=1)
    assert scores(found) == {0: 0.5, 1: 0.7}
    assert estimate(found).mean == pytest.approx(0.6)
    assert "(1 of 3 diverged)" in told(found)
    assert told(result([], dead=2)) == "all diverged"


def test_the_verdict_on_recall_follows_its_inequality():
    def verdict(attention, others):
        return verdict_on_recall(results(attention, others), "recall", "").verdict

    assert verdict([1.0, 0.995, 1.0], [0.2, 0.21, 0.22]) == "reproduced"
    assert verdict([0.97, 0.96, 0.97], [0.2, 0.21, 0.22]) == "trend only"
    assert verdict([1.0, 1.0, 1.0], [0.61, 0.62, 0.63]) == "trend only"
    assert verdict([0.3, 0.2, 0.25], [0.2, 0.21, 0.25]) == "not reproduced"
    found = results([1.0, 1.0], [0.2, 0.3]) | {("recall", "gru"): result([0.2], dead=1)}
    assert verdict_on_recall(found, "recall", "").verdict == "not run"
    assert verdict_on_recall(found, "recall", "").evidence == "gru diverged in 1 of 2 seeds"
    del found["recall", "lstm"]
    assert verdict_on_recall(found, "recall", "").evidence == "lstm not trained"


def test_the_verdict_on_shakespeare_follows_its_inequality():
    def verdict(attention, others):
        return verdict_on_shakespeare(results(attention, others, "s", "bits per character"), "s", "").verdict

    assert verdict([2.5, 2.6, 2.7], [2.55, 2.66, 2.75]) == "reproduced"
    assert verdict([2.5, 2.6, 2.7], [2.4, 2.5, 2.6]) == "reproduced"
    assert verdict([2.5, 2.6, 2.7], [2.8, 2.81, 2.8]) == "not reproduced"
    assert verdict([2.5, 2.6, 2.7], [2.5, 2.75, 2.7]) == "trend only"  # on average near, but not surely


def test_the_verdict_on_shakespeare_pairs_seeds_and_chooses_by_validation():
    found = results([2.5, 2.6, 2.7], [2.9, 3.0, 3.1], "s", "bits per character")
    better = result([2.3, 2.4, 2.5], "bits per character")
    for member in better["replicas"]:
        member["validation"] = 4.0  # the best on the test split, but nobody could know
    found["s", "gru"] = better
    found["s", "lstm"]["replicas"].reverse()  # seeds are matched by number
    verdict = verdict_on_shakespeare(found, "s", "")
    assert verdict.verdict == "not reproduced"
    assert verdict.evidence == "lstm − attention: 0.400 (no spread seen) bits per character over 3 seeds"


def test_the_verdict_on_time_needs_intervals_apart():
    def verdict(low, high):
        exponents = {mixer: Interval(1.0, 0.9, 1.1, 4, "") for mixer in COMPARED_MIXERS}
        exponents["attention"] = Interval((low + high) / 2, low, high, 4, "")
        return verdict_on_time(exponents, "").verdict

    assert verdict(1.2, 1.6) == "reproduced"
    assert verdict(1.0, 1.4) == "trend only"
    assert verdict(0.7, 1.0) == "not reproduced"


def test_a_network_that_is_not_matched_and_a_rate_at_the_end_of_the_grid_are_named():
    row = SCALES["quick"].rows[0]
    found = results([1.0], [0.2], row.name)
    for (_, mixer), one in found.items():
        one["cost"] = {"parameters": {"attention": 1000, "lstm": 1049, "gru": 1060, "rnn": 900}[mixer]}
    assert unmatched(found, row) == ["gru +6%", "rnn -10%"]
    assert [told_rate(rate) for rate in (1e-3, 3e-3, 3e-2)] == ["0.001*", "0.003", "0.03*"]


def test_a_record_of_some_rates_keeps_the_others(tmp_path, monkeypatch):
    monkeypatch.setattr(compare, "RECORDS_DIR", tmp_path)
    monkeypatch.setattr(compare, "COMPARED_MIXERS", ("gru",))
    kept = {"scale": "quick", "row": "digits", "mixer": "gru", "settings": "x", "learning_rate": "1", "seed": "1"}
    kept |= {"validation": "0.5", "best_step": "1", "died_at": ""}
    old = [list(kept.values()), ["smoke", "recall", "gru", "y", "1", "1", "0.1", "1", ""]]
    write_record(tmp_path / "rates.csv", list(kept), old)
    study = Study("smoke", TINY, tmp_path, "data", [])
    compare.record_rates(study)
    rows = read_record(tmp_path / "rates.csv")
    assert rows[0] == kept
    assert [float(row["learning_rate"]) for row in rows[1:]] == list(LEARNING_RATES)
    assert {(row["row"], row["settings"]) for row in rows[1:]} == {("recall", settings_key(TINY.rows[0], "gru"))}


def test_the_table_of_the_record_marks_what_is_of_older_code(monkeypatch):
    monkeypatch.setattr(compare, "older", lambda lines, rows, data_dir: [])
    table = compare.format_recorded_table("full", "data")
    assert table.splitlines()[0] == "| mixer | recall 2 | recall 4 | recall 8 | recall 16 |"
    assert "| gru | 0.6" in table
    assert "†" not in table
    monkeypatch.setattr(compare, "older", lambda lines, *_: [line for line in lines if line["mixer"] == "gru"])
    table = compare.format_recorded_table("full", "data")
    assert [line.split("|")[1].strip() for line in table.splitlines() if " † |" in line] == ["gru"]
    assert table.endswith("†: 24 of 120 cells are of older code, whose VERSIONs, data or settings have changed.")
    with pytest.raises(ValueError, match="--table: there is a record of scale quick and full, and none of smoke"):
        compare.format_recorded_table("smoke", "data")


def test_an_unknown_row_is_refused_in_one_line(tmp_path):
    with pytest.raises(ValueError, match=r"recal is none of recall, digits") as error:
        Study("smoke", SCALES["smoke"], tmp_path, "data", ["recal"])
    assert "\n" not in str(error.value)


def test_a_study_trains_chooses_and_goes_on_where_it_was(tmp_path):
    """A tiny one for real: rates from the grid where no record fits, and a second call that trains nothing."""
    scale, row = TINY, TINY.rows[0]
    study = Study("tiny", scale, tmp_path, "data", [])
    rate = study.rate(row, "gru")
    assert rate in LEARNING_RATES
    first = study.train(row, "gru", scale.seeds, (rate,))
    assert [member["seed"] for member in first["replicas"]] == [0, 1]
    before = (study.directory(row, "gru") / "metrics.jsonl").read_bytes()
    assert study.train(row, "gru", scale.seeds, (rate,)) == first
    assert (study.directory(row, "gru") / "metrics.jsonl").read_bytes() == before
