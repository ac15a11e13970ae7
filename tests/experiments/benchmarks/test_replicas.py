import pytest

from experiments.benchmarks import replicas


@pytest.mark.parametrize("way", ["apart", "map", "vmap"])
def test_every_way_trains_as_many_steps(way: str, monkeypatch: pytest.MonkeyPatch):
    steps = []
    for name, value in {"SEEDS": (0, 1), "RATES": (1e-3,), "STEPS": 4, "CALLED": 2}.items():
        monkeypatch.setattr(replicas, name, value)
    monkeypatch.setattr(replicas.runtime, "configure_runtime", lambda replicas: None)
    jitted = replicas.ensemble.jit_train_steps

    def counted(*args):
        class Lowered:
            def __init__(self, lowered):
                self.lowered = lowered

            def compile(self):
                call = self.lowered.compile()
                return lambda state, task: steps.append(state.step.shape[0]) or call(state, task)

        class Jitted:
            def lower(self, *shapes):
                return Lowered(jitted(*args).lower(*shapes))

        return Jitted()

    monkeypatch.setattr(replicas.ensemble, "jit_train_steps", counted)
    found = replicas.time_training("rnn", way)
    assert 0 < found["warm"] < found["whole"]
    assert steps == ([1] * 4 if way == "apart" else [2] * 2)
