from pathlib import Path

import numpy as np

from experiments import aa
from experiments.record_files import read_record


def test_the_record_holds_what_is_claimed_of_normal_scores():
    lines = list(read_record(aa.RECORD))
    kinds = {
        (line["scores"], int(line["seeds"]), line["samples"]) for line in lines if line["trials"] == str(aa.TRIALS)
    }
    assert kinds == {(name, n, how) for name in aa.SCORES for n in aa.SEEDS for how in ("paired", "independent")}
    assert [line["trials"] for line in lines if line["scores"].startswith("real")] == ["20", "20"]
    assert aa.verdict(lines) == aa.verdict([line for line in lines if line["scores"] == "normal"])


def test_a_difference_is_called_where_there_is_one():
    a = np.array([1.0, 1.1, 0.9])
    assert aa.called(a, a - 1, paired=False) == (True, True)
    assert aa.called(a, a[::-1], paired=False) == (False, False)


def test_simulated_trials_are_counted():
    lines = list(aa.simulated(20))
    assert len(lines) == 18
    assert all(0 <= line["called"] <= line["trials"] == 20 for line in lines)
    assert all(name in aa.told(line) for line in lines for name in [line["scores"]])


def test_real_pairs_are_trained_and_found_again(tmp_path: Path):
    first = list(aa.real(2, tmp_path / "run"))
    assert [line["trials"] for line in first] == [2, 2]
    assert list(aa.real(2, tmp_path / "run")) == first
