from pathlib import Path
from types import SimpleNamespace

import pytest

import records
from experiments import together


def test_a_sample_does_not_take_the_place_of_all_cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Said before anything is run."""
    path = tmp_path / "together.csv"
    path.write_bytes(together.RECORD.read_bytes())
    assert {row["scale"]: row["sample"] for row in records.read_csv(path)} == {"smoke": "all", "quick": "2"}
    monkeypatch.setattr(together, "RECORD", path)
    started = []
    monkeypatch.setattr(together, "together", lambda *words: started.append(words) or (1.0, 1.0))
    monkeypatch.setattr(together, "apart", lambda *_: (1.0, 0.5))
    monkeypatch.setattr(together, "print", lambda *_, **__: None, raising=False)
    args = SimpleNamespace(scale="smoke", sample=2)
    monkeypatch.setattr(together, "flags", SimpleNamespace(FLAGS=args))
    with pytest.raises(ValueError, match=r"together\.csv holds more than what would take its place: scale=smoke; "):
        together.main()
    assert not started
    args.scale, args.sample = "quick", 3
    monkeypatch.setattr(together, "together", lambda *_: (2.0, 1.0))
    monkeypatch.setattr(together, "apart", lambda *_: (3.0, 1.5))
    together.main()
    assert [row["sample"] for row in records.read_csv(path)] == ["all", "3"]
