"""Probes of states that hold what is known, and of states of models."""

import jax.numpy as jnp
import numpy as np
import pytest

from experiments.inspection import probes
from tests.experiments.inspection import params, run


def test_a_probe_names_what_a_state_holds_and_guesses_the_rest():
    """A delay line of three tokens, and noise in place of the fourth."""
    random = np.random.default_rng(0)
    tokens = random.integers(0, 5, (40, 60))
    held = [np.eye(5)[np.roll(tokens, distance, axis=1)] for distance in (0, 1, 2)]
    states = np.concatenate([*held, random.normal(size=(40, 60, 5))], axis=-1) @ random.normal(size=(20, 24))
    found = probes.probe_state(states, tokens, (0, 1, 2, 3, 8, 100))
    assert list(found.accuracy) == [0, 1, 2, 3, 8]
    assert min(found.accuracy[distance] for distance in (0, 1, 2)) > 0.99
    assert abs(found.accuracy[3] - 0.2) < 0.06
    assert abs(found.baseline - 0.2) < 0.06
    assert found.sequences == 40


def test_what_is_scored_was_not_fitted():
    """States that say nothing: a probe that saw its own test would name them all."""
    random = np.random.default_rng(1)
    tokens = random.integers(0, 4, (4, 20))
    states = random.normal(size=(4, 20, 400))
    assert probes.probe_state(states, tokens, (0,)).accuracy[0] < 0.6


@pytest.mark.parametrize("mixer", ["lstm", "delta", "lru"])
def test_states_are_those_of_reading_the_whole_sequence(mixer: str):
    of = run(mixer, model__depth=1)
    own = params(of)
    inputs = jnp.asarray(np.random.default_rng(2).integers(0, 9, (3, 7)), jnp.int32)
    (states,) = probes.stream_states(of, own, inputs)
    assert states is not None
    _, (last,) = of.model.apply({"params": own}, inputs)
    whole = probes._flatten_memory(last)
    np.testing.assert_allclose(states[:, -1], np.asarray(whole), atol=1e-4)
    assert states.shape[:2] == (3, 7)


def test_a_cache_is_no_memory():
    of = run("attention", model__depth=1)
    assert probes.stream_states(of, params(of), jnp.zeros((2, 3), jnp.int32)) == [None]


def test_what_can_not_be_probed():
    both = run("gru", model__causal=False)
    with pytest.raises(ValueError, match="looks both ways"):
        probes.stream_states(both, params(both), jnp.zeros((2, 3), jnp.int32))
    with pytest.raises(ValueError, match="two or more"):
        probes.probe_state(np.zeros((1, 3, 2)), np.zeros((1, 3), int))
