from experiments.benchmarks import gpu_utilization


def test_a_small_one_runs_and_learns():
    found = gpu_utilization.measure_utilization(2, "blocks", steps=3, blocks=1, width=24, symbols=50, length=64)
    assert found["losses"][-1] < found["losses"][0]
    assert found["parameters"] == 50 * 24 + 64 * 24 + (4 * 24**2 + 4 * 24) + (8 * 24**2 + 5 * 24) + 3 * 2 * 24
    assert 0 < found["share"] < 1
    assert found["tokens_a_second"] * found["seconds"] == 2 * 64
