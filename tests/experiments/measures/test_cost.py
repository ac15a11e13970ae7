import pytest

from experiments.measures import cost
from tests.experiments.measures import run, value_of


def test_costs(monkeypatch: pytest.MonkeyPatch):
    """A recurrence's chain grows with length and attention's does not; a cache grows and a state does not."""
    monkeypatch.setattr(cost, "LENGTHS", (8, 16, 32))
    monkeypatch.setattr(cost, "CONTEXTS", (8, 32))
    chain = value_of("step depth", run("gru"))
    assert chain[32] - chain[16] == 2 * (chain[16] - chain[8]) > 0
    assert len(set(value_of("step depth", run("attention")).values())) == 1
    assert len(set(value_of("state", run("gru")).values())) == 1
    cache = value_of("state", run("attention"))
    assert cache[32] == 4 * cache[8]
    monkeypatch.setattr(cost, "LENGTHS", (8,))
    assert all(seconds > 0 for seconds in value_of("step time", run("rnn")).values())
    monkeypatch.setattr(cost, "LENGTHS", (64, 128))
    window = value_of("parameters", run("dense"))
    assert window[128] / window[64] == pytest.approx(4, rel=0.05)
    assert len(set(value_of("parameters", run("gru")).values())) == 1
