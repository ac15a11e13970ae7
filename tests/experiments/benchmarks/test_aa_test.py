from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from experiments.ablation.record_files import read_record
from experiments.benchmarks import aa_test


def test_the_record_holds_what_is_claimed():
    lines = list(read_record(aa_test.RECORD_PATH))
    kinds = {
        (line["scores"], int(line["seeds"]), line["samples"])
        for line in lines
        if line["trials"] == str(aa_test.TRIALS) and line["scores"] in aa_test.DISTRIBUTIONS
    }
    seeds = {
        name: aa_test.GRID_SEED_COUNTS if name in aa_test.STEPS else aa_test.SEED_COUNTS
        for name in aa_test.DISTRIBUTIONS
    }
    assert kinds == {
        (name, n, how) for name in aa_test.DISTRIBUTIONS for n in seeds[name] for how in ("paired", "independent")
    }
    assert [line["trials"] for line in lines if line["scores"].startswith("real")] == ["20", "20"]
    assert aa_test.format_verdict(lines).startswith("reproduced")
    stopped = [line for line in lines if line["scores"].endswith("until decided")]
    assert len(stopped) == len(aa_test.DISTRIBUTIONS) * len(aa_test.STOPPING_KINDS)
    assert all(int(line["trials"]) >= aa_test.TRIALS for line in stopped)
    assert max(aa_test.called_share(line) for line in stopped if "pair" in line["samples"]) < 0.065
    assert len([line for line in lines if line["samples"] in aa_test.CLAIM_KINDS]) == 48 + len(aa_test.DISTRIBUTIONS)
    shares = [aa_test.called_share(line) for line in lines if line["scores"] in aa_test.ANSWERS]
    assert max(shares) < 0.07, "of coarse scores no more than of normal ones"


def test_a_difference_is_called_where_there_is_one():
    a = np.array([1.0, 1.1, 0.9])
    assert aa_test.is_called(a, a - 1, paired=False) == (True, True)
    assert aa_test.is_called(a, a[::-1], paired=False) == (False, False)


def test_ties_are_called_without_a_step_and_not_with_it():
    a, b = np.array([161.0, 160.0]) / 178, np.array([159.0, 158.0]) / 178
    assert aa_test.is_called(a, b, paired=True) == (True, True)
    assert aa_test.is_called(a, b, paired=True, step=1 / 178) == (False, False)


def test_a_study_of_alike_settings_is_judged():
    lines = list(aa_test.simulate_studies(10))
    assert len(lines) == 48
    assert sum(line["called"] for line in lines) <= 24
    assert all(line["interval"] == "" and aa_test.format_row(line).endswith("–") for line in lines)
    lines[0] |= {"called": 10}
    assert aa_test.format_verdict([*lines, {**lines[1], "scores": "normal", "called": 1, "trials": 20}]).startswith(
        "not "
    )


def test_a_study_that_stops_when_it_is_decided_is_judged_at_its_last_look():
    lines = list(aa_test.simulate_stopping(3))
    assert [line["seeds"] for line in lines] == [12] * len(aa_test.DISTRIBUTIONS) * len(aa_test.STOPPING_KINDS)
    assert sum(line["called"] for line in lines if "pair" in line["samples"]) <= 6
    apart = iter([0.1, 0.9] * 10)  # of two sides, drawn one after the other

    def draw(random: np.random.Generator, size: int) -> np.ndarray:
        return next(apart) + random.normal(0, 0.01, size)

    assert aa_test.has_false_alarm(np.random.default_rng(0), draw, aa_test.LOOKS, 0.5, "ten pairs")


def test_simulated_trials_are_counted():
    lines = list(aa_test.simulate_samples(20))
    assert len(lines) == 42
    assert all(0 <= line["called"] <= line["trials"] == 20 for line in lines)
    assert all(name in aa_test.format_row(line) for line in lines for name in [line["scores"]])


def test_real_pairs_are_trained_and_found_again(tmp_path: Path):
    first = list(aa_test.train_real_pairs(2, tmp_path / "run"))
    assert [line["trials"] for line in first] == [2, 2]
    assert list(aa_test.train_real_pairs(2, tmp_path / "run")) == first


@pytest.mark.parametrize(("trials", "real"), [(5, 1), (5, 20), (aa_test.TRIALS, 1)])
def test_fewer_trials_are_no_record(trials: int, real: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "aa.csv"
    path.write_bytes(aa_test.RECORD_PATH.read_bytes())
    monkeypatch.setattr(aa_test, "RECORD_PATH", path)
    monkeypatch.setattr(
        aa_test,
        "simulate_samples",
        lambda trials: iter([aa_test.result_row("normal", 3, "paired", trials, trials, trials)]),
    )
    monkeypatch.setattr(
        aa_test,
        "simulate_studies",
        lambda trials: iter([aa_test.result_row("178 answers", 3, aa_test.CLAIM_KINDS[0], 0, None, trials)]),
    )
    monkeypatch.setattr(aa_test, "simulate_stopping", lambda trials: iter(()))
    monkeypatch.setattr(aa_test, "recorded_correlations", lambda: [0.1, -0.1])
    monkeypatch.setattr(
        aa_test, "train_real_pairs", lambda pairs, _: iter([aa_test.result_row("real", 3, "independent", 0, 0, pairs)])
    )
    args = SimpleNamespace(trials=trials, real=real, workdir=str(tmp_path), table=False)
    monkeypatch.setattr(aa_test, "flags", SimpleNamespace(FLAGS=args))
    aa_test.main()
    assert path.read_bytes() == aa_test.RECORD_PATH.read_bytes()
    args.trials, args.real = aa_test.TRIALS, aa_test.PAIRS
    with pytest.raises(
        ValueError, match=r"aa\.csv holds more than what would take its place: scores=normal, seeds=3, "
    ):
        aa_test.main()  # of other distributions there is nothing
    assert path.read_bytes() == aa_test.RECORD_PATH.read_bytes()
