"""Probes of states that hold what is known, and of states of models."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from experiments.inspection import probes, units
from tasks.real.text import Text
from tests.experiments.inspection import params, run
from training import builder


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
    (states,) = units.stream_states(of, own, inputs)
    memory = probes.flatten_memory(states)
    assert memory is not None
    _, (last,) = of.model.apply({"params": own}, inputs)
    whole = probes.flatten_memory({name: leaf[:, None] for name, leaf in units._computed_leaves(last).items()})
    assert whole is not None
    np.testing.assert_allclose(memory[:, -1], whole[:, 0], atol=1e-4)
    assert memory.shape[:2] == (3, 7)


def test_a_cache_is_no_memory():
    of = run("attention", model__depth=1)
    (states,) = units.stream_states(of, params(of), jnp.zeros((2, 3), jnp.int32))
    assert states == {}
    assert probes.flatten_memory(states) is None
    assert probes.probe_blocks(of, params(of)) == [None]


def text_run(length: int) -> builder.Run:
    """An LSTM on a test text in which every token says where it stands, of `length` tokens."""
    of = run("lstm", model__depth=1)
    numbers = {split: np.arange(length) for split in ("train", "validation", "test")}
    task: Any = Text(numbers, None, tuple(map(str, range(length))), tokenizer="words", max_length=16)
    return of._replace(task=task)


def test_windows_are_scored_in_another_part_of_the_text_than_they_are_fitted_on():
    sequences = probes.probe_sequences(text_run(200))
    assert sequences is not None
    fitted, scored = np.split(sequences, 2)
    assert sequences.shape == (probes.SEQUENCES, 16)
    assert not np.intersect1d(fitted, scored).size
    assert fitted.min() == 0
    assert fitted.max() < 100 <= scored.min()
    assert (np.diff(sequences, axis=1) == 1).all(), "each is a window of the text"


def test_a_text_too_short_for_two_parts_is_not_probed():
    of = text_run(33)
    assert probes.probe_sequences(of) is None
    assert probes.probe_blocks(of, None) == [None]


def test_what_can_not_be_probed():
    both = run("gru", model__causal=False)
    with pytest.raises(ValueError, match="read token by token, in one direction"):
        units.stream_states(both, params(both), jnp.zeros((2, 3), jnp.int32))
    with pytest.raises(ValueError, match="two or more"):
        probes.probe_state(np.zeros((1, 3, 2)), np.zeros((1, 3), int))
