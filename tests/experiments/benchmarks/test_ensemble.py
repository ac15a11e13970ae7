import pytest

from experiments.benchmarks import ensemble


@pytest.mark.parametrize("mode", ["apart", "vmap"])
def test_every_mode_trains_as_many_steps(mode: str, monkeypatch: pytest.MonkeyPatch):
    steps = []
    for name, value in {"SEEDS": (0, 1), "RATES": (1e-3,), "STEPS": 4, "STEPS_PER_CALL": 2}.items():
        monkeypatch.setattr(ensemble, name, value)
    monkeypatch.setattr(ensemble.runtime, "configure_runtime", lambda replicas: None)
    jitted = ensemble.ensemble.jit_train_steps

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

    monkeypatch.setattr(ensemble.ensemble, "jit_train_steps", counted)
    found = ensemble.time_training("rnn", mode)
    assert 0 < found["warm"] < found["whole"]
    assert steps == ([1] * 4 if mode == "apart" else [2] * 2)
