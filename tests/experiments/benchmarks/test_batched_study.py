from pathlib import Path
from types import SimpleNamespace

import pytest

from experiments.benchmarks import batched_study
from training import files


def test_a_sample_does_not_take_the_place_of_all_cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Said before anything is run."""
    path = tmp_path / "together.csv"
    path.write_bytes(batched_study.RECORD.read_bytes())
    assert {row["scale"]: row["sample"] for row in files.read_csv(path)} == {"smoke": "all", "quick": "2"}
    monkeypatch.setattr(batched_study, "RECORD", path)
    started = []
    monkeypatch.setattr(batched_study, "time_study", lambda *words: started.append(words) or (1.0, 1.0))
    monkeypatch.setattr(batched_study, "time_separate_runs", lambda *_: (1.0, 0.5))
    monkeypatch.setattr(batched_study, "print", lambda *_, **__: None, raising=False)
    args = SimpleNamespace(scale="smoke", sample=2)
    monkeypatch.setattr(batched_study, "flags", SimpleNamespace(FLAGS=args))
    with pytest.raises(ValueError, match=r"together\.csv holds more than what would take its place: scale=smoke; "):
        batched_study.main()
    assert not started
    args.scale, args.sample = "quick", 3
    monkeypatch.setattr(batched_study, "time_study", lambda *_: (2.0, 1.0))
    monkeypatch.setattr(batched_study, "time_separate_runs", lambda *_: (3.0, 1.5))
    batched_study.main()
    assert [row["sample"] for row in files.read_csv(path)] == ["all", "3"]
