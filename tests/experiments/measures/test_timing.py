import pytest

from experiments.measures import timing
from experiments.measures.timing import time_streamed_tokens, time_training_steps


@pytest.fixture(autouse=True)
def briefly(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(timing, "_MIN_SECONDS", 0.0)


def test_training_steps_are_timed_for_each_mixer_and_length():
    by_length = list(time_training_steps(["rnn"], [8, 16], width=8, batch=2))
    by_mixer = list(time_training_steps(["rnn", "attention"], [8], width=8, batch=2))
    assert [(t.mixer, t.length) for t in by_length] == [("rnn", 8), ("rnn", 16)]
    assert [(t.mixer, t.length) for t in by_mixer] == [("rnn", 8), ("attention", 8)]
    assert all(0 < t.low <= t.seconds <= t.high for t in by_length + by_mixer)
    assert len({t.parameters for t in by_length}) == 1  # a recurrence has no window


@pytest.mark.parametrize("mixer", ["attention", "lstm", "dense"])
def test_a_streamed_token_is_timed_with_a_legal_state(mixer):
    """Attention's cache would refuse a token past its end, and dense one past its window."""
    (found,) = time_streamed_tokens([mixer], 16, width=8)
    assert found.length == 16
    assert 0 < found.low <= found.seconds <= found.high
