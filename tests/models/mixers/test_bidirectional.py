from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import models
from models import cost
from models.mixers.bidirectional import Bidirectional, positions_within_segments
from models.mixers.recurrent import Recurrence

WIDTH, STEPS = 4, 7
random = np.random.default_rng(0)
X = jnp.asarray(random.normal(size=(2, STEPS, WIDTH)), jnp.float32)
SEGMENTS = jnp.array([[1, 1, 1, 2, 2, 2, 2], [1, 1, 0, 1, 1, 0, 0]], jnp.int32)
PLACES = jnp.array([[0, 1, 2, 0, 1, 2, 3], [0, 1, 0, 2, 3, 0, 0]], jnp.int32)
GRU = partial(Recurrence, cell="gru")


def test_it_is_the_mixer_there_and_back():
    """Each direction by itself, with half of the inner width, over the row and over the row reversed."""
    module = Bidirectional(mixer=GRU, width=WIDTH, hidden_size=6)
    (y, state), params = module.init_with_output(jax.random.key(0), X, positions=PLACES, segments=SEGMENTS)
    assert state is None
    half, own = GRU(width=WIDTH, hidden_size=3), params["params"]
    call: Any = lambda name, x, s: half.apply({"params": own[name]}, x, positions=s, segments=s)[0]  # noqa: E731
    there, back = call("forward", X, SEGMENTS), call("backward", X[:, ::-1], SEGMENTS[:, ::-1])
    np.testing.assert_allclose(y, there + back[:, ::-1], atol=1e-6)


def test_every_step_sees_its_whole_sequence_and_no_other():
    module = Bidirectional(mixer=GRU, width=WIDTH, hidden_size=6)
    params = jax.jit(module.init)(jax.random.key(0), X, positions=PLACES, segments=SEGMENTS)
    jacobian = jax.jit(jax.jacrev(lambda x: module.apply(params, x, positions=PLACES, segments=SEGMENTS)[0]))(X)
    for row in range(2):
        felt = np.abs(jacobian[row, :, :, row]).max(axis=(1, 3)) > 0
        segments = np.asarray(SEGMENTS[row])
        real = segments != 0
        expected = (segments[:, None] == segments) & real
        np.testing.assert_array_equal(felt[real], expected[real])


def test_positions_are_counted_anew_from_the_other_end():
    np.testing.assert_array_equal(positions_within_segments(jnp.array([0, 2, 2, 0, 2, 1, 1])), [0, 0, 1, 1, 2, 0, 1])


def test_a_config_that_is_not_causal_gets_one():
    """With its inner width matched to attention's parameters, two directions together."""
    made: Any = models.causal_or_bidirectional("lstm", causal=False)(
        width=32, hidden_size=models.match_hidden_size("lstm", 32, 8, False)
    )
    assert isinstance(made, Bidirectional)
    shapes = jax.eval_shape(
        lambda: made.init(jax.random.key(0), jnp.zeros((1, 1, 32)), positions=PLACES[:1, :1], segments=PLACES[:1, :1])
    )
    assert cost.count_params(shapes) == pytest.approx(4 * 32 * 32 + 4 * 32, rel=0.05)


def test_it_can_not_stream():
    module = Bidirectional(mixer=GRU, width=WIDTH, hidden_size=6)
    with pytest.raises(ValueError, match="bidirectional mixer sees the whole sequence at once and can't be streamed"):
        module.init(jax.random.key(0), X, state=(), positions=PLACES, segments=SEGMENTS)
    with pytest.raises(ValueError, match=r"model\.hidden_size=5: two directions share it, so it must be even"):
        module.clone(hidden_size=5).init(jax.random.key(0), X, positions=PLACES, segments=SEGMENTS)
