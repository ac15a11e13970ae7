from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from experiments import aa
from experiments.record_files import read_record


def test_the_record_holds_what_is_claimed():
    lines = list(read_record(aa.RECORD))
    kinds = {
        (line["scores"], int(line["seeds"]), line["samples"]) for line in lines if line["trials"] == str(aa.TRIALS)
    }
    seeds = {name: aa.FEW if name in aa.ANSWERS else aa.SEEDS for name in aa.SCORES}
    assert kinds == {(name, n, how) for name in aa.SCORES for n in seeds[name] for how in ("paired", "independent")}
    assert [line["trials"] for line in lines if line["scores"].startswith("real")] == ["20", "20"]
    assert aa.verdict(lines).startswith("reproduced")
    assert len([line for line in lines if line["samples"] in aa.KINDS]) == 48
    shares = [aa.share(line) for line in lines if line["scores"] in aa.ANSWERS]
    assert max(shares) < 0.07, "of coarse scores no more than of normal ones"


def test_a_difference_is_called_where_there_is_one():
    a = np.array([1.0, 1.1, 0.9])
    assert aa.called(a, a - 1, paired=False) == (True, True)
    assert aa.called(a, a[::-1], paired=False) == (False, False)


def test_ties_are_called_without_a_step_and_not_with_it():
    a, b = np.array([161.0, 160.0]) / 178, np.array([159.0, 158.0]) / 178
    assert aa.called(a, b, paired=True) == (True, True)
    assert aa.called(a, b, paired=True, step=1 / 178) == (False, False)


def test_a_study_of_alike_settings_is_judged():
    lines = list(aa.studies(10))
    assert len(lines) == 48
    assert sum(line["called"] for line in lines) <= 24
    assert all(line["interval"] == "" and aa.told(line).endswith("–") for line in lines)
    lines[0] |= {"called": 10}
    assert aa.verdict([*lines, {**lines[1], "scores": "normal", "called": 1, "trials": 20}]).startswith("not ")


def test_simulated_trials_are_counted():
    lines = list(aa.simulated(20))
    assert len(lines) == 34
    assert all(0 <= line["called"] <= line["trials"] == 20 for line in lines)
    assert all(name in aa.told(line) for line in lines for name in [line["scores"]])


def test_real_pairs_are_trained_and_found_again(tmp_path: Path):
    first = list(aa.real(2, tmp_path / "run"))
    assert [line["trials"] for line in first] == [2, 2]
    assert list(aa.real(2, tmp_path / "run")) == first


@pytest.mark.parametrize(("trials", "real"), [(5, 1), (5, 20), (aa.TRIALS, 1)])
def test_fewer_trials_are_no_record(trials: int, real: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "aa.csv"
    path.write_bytes(aa.RECORD.read_bytes())
    monkeypatch.setattr(aa, "RECORD", path)
    monkeypatch.setattr(aa, "simulated", lambda trials: iter([aa.line("normal", 3, "paired", trials, trials, trials)]))
    monkeypatch.setattr(aa, "studies", lambda trials: iter([aa.line("178 answers", 3, aa.KINDS[0], 0, None, trials)]))
    monkeypatch.setattr(aa, "real", lambda pairs, _: iter([aa.line("real", 3, "independent", 0, 0, pairs)]))
    args = SimpleNamespace(trials=trials, real=real, workdir=str(tmp_path), table=False)
    monkeypatch.setattr(aa, "flags", SimpleNamespace(FLAGS=args))
    aa.main()
    assert path.read_bytes() == aa.RECORD.read_bytes()
    args.trials, args.real = aa.TRIALS, aa.PAIRS
    with pytest.raises(
        ValueError, match=r"aa\.csv holds more than what would take its place: scores=normal, seeds=3, "
    ):
        aa.main()  # of other distributions there is nothing
    assert path.read_bytes() == aa.RECORD.read_bytes()
