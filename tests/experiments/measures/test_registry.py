from experiments.measures.registry import evaluate_measures
from tests.experiments.measures import params, run


def test_take_gives_every_member_every_measure():
    of = run("gru")
    taken = evaluate_measures(of, ["permuted", "reach"], [(params(of, seed), seed) for seed in (0, 1)])
    assert [set(one) for one in taken] == [{"permuted", *(f"reach@{d}" for d in (0, 1, 2, 4, 8))}] * 2
    assert taken[0] != taken[1]
