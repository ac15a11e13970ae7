import pytest

from experiments.benchmarks import gpu_utilization, peak_rates


def test_a_small_one_runs_and_learns(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(peak_rates, "CALLS", 1)
    measured = gpu_utilization.measure_utilization(2, "blocks", steps=3, blocks=1, width=24, symbols=50, length=64)
    assert measured["losses"][-1] < measured["losses"][0]
    assert measured["parameters"] == 50 * 24 + 64 * 24 + (4 * 24**2 + 4 * 24) + (8 * 24**2 + 5 * 24) + 3 * 2 * 24
    assert 0 < measured["share"] < 1
    # Dividing by a measured time and multiplying by it again need not give the same float.
    assert measured["tokens_a_second"] * measured["seconds"] == pytest.approx(2 * 64)
