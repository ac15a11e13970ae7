from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import models
from models.mixers.attention import Attention
from models.mixers.dense_window import DenseWindow
from models.mixers.recurrent import Recurrence
from models.skeleton import Skeleton, apply_dropout, fold_rng, pool_sequence

D, STEPS = 4, 6


class Twice(nn.Module):
    """A mixer whose answer is known: 2x, and as state the sum of all that it was given."""

    width: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Any, *, state: Any, positions: Any, segments: Any, rng: Any = None):
        return 2 * x, x.sum() + (0 if state is None else state)


PLAIN: dict[str, Any] = {
    "mixers": (Twice,),
    "depth": 1,
    "width": D,
    "vocabulary": 0,
    "channels": D,
    "outputs": D,
    "max_length": STEPS,
    "hidden": 0,
    "norm": "none",
    "final_norm": False,
}


def make(**fields: Any) -> Skeleton:
    """That, but for these fields."""
    return Skeleton(**{**PLAIN, **fields})


X = jnp.asarray(np.random.default_rng(0).normal(size=(4, STEPS, D)), jnp.float32)
TOKENS = jnp.asarray(np.random.default_rng(0).integers(0, 5, (2, STEPS)), jnp.int32)


def drawn(network: Skeleton, inputs: Any = X) -> Any:
    """Parameters drawn so that no bias is zero and the outputs stay near 1."""
    random = np.random.default_rng(1)
    shapes = jax.eval_shape(network.init, jax.random.key(0), inputs)
    return jax.tree.map(lambda p: jnp.asarray(random.normal(0, 0.4, p.shape), p.dtype), shapes)


def transparent(network: Skeleton, **also: Any) -> Any:
    """Parameters with which embedding and head pass on what they get, and a feed-forward layer gives 3x."""
    identity = {"kernel": jnp.eye(D), "bias": jnp.zeros(D)}
    params = {"embed": identity, "head": identity} | also
    for block in range(network.depth if network.hidden else 0):
        params[f"feedforward_{block}"] = {"up": identity, "down": {"kernel": 3 * jnp.eye(D), "bias": jnp.zeros(D)}}
    wanted = jax.eval_shape(network.init, jax.random.key(0), X)["params"]
    params |= {name: {"scale": jnp.ones(D), "bias": jnp.zeros(D)} for name in wanted if "norm" in name}
    return {"params": params}


def run(network: Skeleton, params: Any, inputs: Any = X, **more: Any) -> np.ndarray:
    return np.asarray(jax.jit(network.apply)(params, inputs, **more)[0])


def normed(x: np.ndarray) -> np.ndarray:
    return (x - x.mean(axis=-1, keepdims=True)) / np.sqrt(x.var(axis=-1, keepdims=True) + 1e-6)


@pytest.mark.parametrize("final_norm", [True, False])
@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("norm", ["pre", "post", "none"])
def test_norm_and_residual_stand_where_they_say(norm: str, residual: bool, final_norm: bool):
    """A case worked out by hand: the mixer gives 2x, the feed-forward layer 3x."""
    network = make(hidden=D, activation="identity", norm=norm, residual=residual, final_norm=final_norm)
    x = np.asarray(X, np.float64)
    for factor in (2, 3):
        y = factor * (normed(x) if norm == "pre" else x) + residual * x
        x = normed(y) if norm == "post" else y
    expected = normed(x) if final_norm else x
    np.testing.assert_allclose(run(network, transparent(network)), expected, atol=1e-4)


@pytest.mark.parametrize("depth", [1, 2, 4])
@pytest.mark.parametrize("activation", ["identity", "gelu"])
def test_straight_lines_stay_a_straight_line(depth: int, activation: str):
    """Without activation any depth is affine, f(ax + by) = a·f(x) + b·f(y) + (1 − a − b)·f(0); with one it is not."""
    mixer = partial(DenseWindow, hidden_size=D, max_length=STEPS)
    network = make(mixers=(mixer,), depth=depth, hidden=8, activation=activation, residual=False)
    a, b, (x, y) = 0.7, -1.6, X[:2]
    params = drawn(network)
    fx, fy, both, zero = run(network, params, jnp.stack([x, y, a * x + b * y, jnp.zeros_like(x)]))
    error = np.abs(both - (a * fx + b * fy + (1 - a - b) * zero)).max() / np.abs(both - zero).max()
    assert np.abs(both - zero).max() > 1e-3
    assert error < 1e-4 if activation == "identity" else error > 0.02


def test_tokens_are_embedded_and_a_tied_head_reads_by_the_same_table():
    """With a mixer of 2x and a residual, logits are 3·E[token]·Eᵀ."""
    network = make(vocabulary=5, outputs=5, tie_embeddings=True)
    params = drawn(network, TOKENS)
    assert set(params["params"]) == {"embed"}
    table = np.asarray(params["params"]["embed"]["embedding"])
    np.testing.assert_allclose(run(network, params, TOKENS), 3 * table[TOKENS] @ table.T, atol=1e-5)

    untied = make(vocabulary=5, outputs=7)
    params = drawn(untied, TOKENS)
    table, head = np.asarray(params["params"]["embed"]["embedding"]), params["params"]["head"]
    expected = 3 * table[TOKENS] @ head["kernel"] + head["bias"]
    np.testing.assert_allclose(run(untied, params, TOKENS), expected, atol=1e-5)


@pytest.mark.parametrize("norm", ["pre", "post", "none"])
def test_what_else_is_known_comes_as_context_or_through_bridges(norm: str):
    """By hand: context joins the input, and a bridge, here 5x, stands between mixer (2x) and feed-forward (3x)."""
    network = make(hidden=D, activation="identity", norm=norm)
    params = transparent(network)
    params["params"] |= {"bridge_norm_0": {"scale": jnp.ones(D), "bias": jnp.zeros(D)}}
    context = X[:, :1]
    y = run(network, params, context=context)
    np.testing.assert_allclose(y, run(network, params, X + context), atol=1e-5)

    bridged = jax.jit(lambda params: network.apply(params, X, bridges=[lambda x: 5 * x])[0])(params)
    x = np.asarray(X, np.float64)
    for factor in (2, 5, 3):
        x = factor * (normed(x) if norm == "pre" else x) + x
        x = normed(x) if norm == "post" else x
    np.testing.assert_allclose(bridged, x, rtol=1e-4, atol=1e-4)


def test_without_outputs_there_is_no_head():
    network = make(outputs=0)
    params = transparent(network)
    assert "head" not in jax.eval_shape(network.init, jax.random.key(0), X)["params"]
    np.testing.assert_allclose(run(network, params), 3 * X, rtol=1e-6)


SEGMENTS = jnp.array([[1] * STEPS, [1, 1, 1, 0, 0, 0], [0, 0, 1, 1, 0, 0], [0, 1, 0, 0, 1, 0]])


def test_without_blocks_it_is_a_bag_of_words():
    """Each token for itself: the mean over them is the same in any order, and changes with any token."""
    fields = PLAIN | {"depth": 0, "vocabulary": 7, "per": "sequence", "pool": "mean", "final_norm": True}
    network = Skeleton(**fields)
    tokens = jnp.array([[1, 2, 3, 4, 5, 6]])
    params = network.init(jax.random.key(0), tokens)
    y, state = network.apply(params, tokens)
    assert state == ()
    np.testing.assert_allclose(network.apply(params, tokens[:, ::-1])[0], y, atol=1e-6)
    assert jnp.abs(network.apply(params, tokens.at[0, 0].set(6))[0] - y).max() > 1e-3


@pytest.mark.parametrize("pool", ["last", "mean"])
def test_one_answer_a_sequence(pool: str):
    """From the last step that is no padding, or from the mean over such steps."""
    network = make(per="sequence", pool=pool)
    places = jnp.broadcast_to(jnp.arange(STEPS), SEGMENTS.shape)
    y = run(network, transparent(network), positions=places, segments=SEGMENTS)
    x = np.asarray(X)
    if pool == "last":
        expected = 3 * np.stack([x[0, 5], x[1, 2], x[2, 3], x[3, 4]])
    else:
        expected = 3 * np.stack([x[0].mean(0), x[1, :3].mean(0), x[2, 2:4].mean(0), (x[3, 1] + x[3, 4]) / 2])
    np.testing.assert_allclose(y, expected, atol=1e-5)
    assert np.isfinite(pool_sequence(X, jnp.zeros_like(SEGMENTS), pool)).all()


def test_dropout_needs_an_rng_and_keeps_the_mean():
    ones, key = jnp.ones((500, 200)), jax.random.key(0)
    assert apply_dropout(ones, 0.3, None) is ones
    assert apply_dropout(ones, 0.0, key) is ones
    dropped = np.asarray(apply_dropout(ones, 0.3, key))
    assert np.unique(dropped).tolist() == [0, np.float32(1 / 0.7)]
    assert (dropped == 0).mean() == pytest.approx(0.3, abs=0.01)
    assert dropped.mean() == pytest.approx(1, abs=0.01)
    assert fold_rng(None, 3) is None


def test_dropout_in_a_network():
    """Off without an rng, on with one and by it alone; no two places drop the same features."""
    network = make(dropout=0.5, depth=2, hidden=D, activation="identity")
    params, ones = transparent(network), jnp.ones_like(X)
    np.testing.assert_allclose(run(network, params, ones), 3.0**2 * 4**2, rtol=1e-6)
    one, same, other = (run(network, params, ones, rng=jax.random.key(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert (one != other).mean() > 0.3
    # x starts as 0 or 2; four times it is multiplied by 1 (dropped) or 1 + 2f (kept), each place drawn by itself.
    values = {2 * a * b * c * d for a in (1, 5) for b in (1, 7) for c in (1, 5) for d in (1, 7)} | {0}
    assert set(np.unique(np.round(one)).tolist()) <= values
    assert {2 * 5, 2 * 7, 2 * 5 * 7} & set(np.unique(np.round(one)).tolist())
    assert len(np.unique(np.round(one))) > 5


MIXERS = {
    "sinusoidal": partial(Recurrence, cell="rnn", hidden_size=3),
    "learned": partial(Attention, hidden_size=D, max_length=STEPS, heads=2),
}


@pytest.mark.parametrize("positions", MIXERS)
def test_it_streams(positions: str):
    """Whole = in chunks, told the positions and segments, of rows that are packed and padded."""
    network = make(mixers=(MIXERS[positions],), depth=2, hidden=6, norm="pre", final_norm=True, positions=positions)
    segments = jnp.array([[1, 1, 2, 2, 2, 2], [1, 0, 1, 1, 0, 0]])
    places = jnp.array([[0, 1, 0, 1, 2, 3], [0, 0, 1, 2, 0, 0]])
    params, call = drawn(network), jax.jit(network.apply)
    whole, last = call(params, X[:2], positions=places, segments=segments)
    assert len(last) == network.depth
    ys, state = [], None
    for at in (slice(0, 3), slice(3, 4), slice(4, 6)):
        y, state = call(params, X[:2, at], positions=places[:, at], segments=segments[:, at], state=state)
        ys.append(y)
    real = np.asarray(segments) != 0
    np.testing.assert_allclose(np.concatenate(ys, axis=1)[real], np.asarray(whole)[real], atol=1e-5)
    for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(last), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    default, _ = call(params, X[:2])
    moved, _ = call(params, X[:2], positions=jnp.arange(STEPS)[None, ::-1].repeat(2, 0), segments=jnp.ones((2, 6), int))
    assert np.abs(default - moved).max() > 0.01, "positions are read"


@pytest.mark.parametrize("given", [(), ("positions",), ("segments",)])
def test_going_on_needs_positions_and_segments(given: tuple[str, ...]):
    """Only a first call may take them for granted, and then both: one alone would be dropped in silence."""
    network = make()
    params, more = transparent(network), {name: jnp.ones((4, STEPS), jnp.int32) for name in given}
    _, state = jax.eval_shape(network.apply, params, X)
    with pytest.raises(ValueError, match="positions and segments"):
        jax.eval_shape(partial(network.apply, params), X, state=state, **more)
    if given:
        with pytest.raises(ValueError, match="positions and segments"):
            jax.eval_shape(partial(network.apply, params), X, **more)


def test_a_mean_over_the_sequence_can_not_be_streamed():
    network = make(per="sequence", pool="mean")
    params, ones = transparent(network), jnp.ones((4, STEPS), jnp.int32)
    _, state = jax.eval_shape(network.apply, params, X)
    with pytest.raises(ValueError, match=r"model\.pool=mean needs the whole sequence: use pool=last to stream"):
        jax.eval_shape(partial(network.apply, params, positions=ones, segments=ones), X, state=state)


def test_a_label_is_not_streamed_from_padding():
    """A row that ended in an earlier call has its answer from there; a later one, of padding, knows it no more."""
    network = make(per="sequence")
    params, ones, none = transparent(network), jnp.ones((4, 3), int), jnp.zeros((1, 3), int)
    call = jax.jit(network.apply)
    _, state = call(params, X[:, :3], positions=ones, segments=ones)
    y, _ = call(params, X[:, 3:], state=state, positions=ones, segments=jnp.concatenate([none, ones[1:]]))
    assert np.isnan(y[0]).all()
    np.testing.assert_allclose(y[1:], 3 * X[1:, 5], rtol=1e-6)


def test_what_can_not_be_gone_on_from_is_refused():
    """A state of another depth, of no network, or of one that looks both ways."""
    network = make(mixers=(partial(Attention, hidden_size=D, max_length=STEPS, heads=2),), depth=2)
    both = make(mixers=(partial(Attention, hidden_size=D, max_length=STEPS, heads=2, causal=False),), depth=2)
    params, ones = drawn(network), jnp.ones((4, STEPS), jnp.int32)
    call = partial(network.apply, params, X, positions=ones, segments=ones)
    state = jax.eval_shape(call)[1]
    assert len(jax.eval_shape(lambda state: call(state=state), state)[1]) == 2
    for wrong, message in (
        (state[:1], "1 states can't be gone on from here; this network of depth 2 has as many"),
        (state * 2, "4 states can't be gone on from here"),
        ({"memory": state}, "a dict can't be gone on from here"),
        (({}, {}), "this mixer and batch have"),
    ):
        with pytest.raises(ValueError, match=message):
            jax.eval_shape(partial(call, state=wrong))
    _, state = jax.eval_shape(partial(both.apply, params), X)
    assert state == (None, None)
    with pytest.raises(ValueError, match="sees the whole sequence at once and can't be streamed"):
        jax.eval_shape(partial(both.apply, params, positions=ones, segments=ones), X, state=state)


@pytest.mark.parametrize("positions", ["learned", "randomised"])
def test_padding_past_the_table_of_positions_changes_nothing(positions: str):
    """There a token has nan for a position, which attention would let through at weight 0."""
    mixer = partial(Attention, hidden_size=D, max_length=4, heads=2)
    network = make(mixers=(mixer,), depth=2, positions=positions, max_length=4)
    params, places = drawn(network, X[:, :4]), jnp.broadcast_to(jnp.arange(STEPS), (4, STEPS))
    y = run(network, params, positions=places, segments=(places < 4).astype(int))
    np.testing.assert_allclose(y[:, :4], run(network, params, X[:, :4]), atol=1e-6)


def test_outputs_are_float32_whatever_the_type_inside():
    network = make(dtype=jnp.bfloat16)
    y, state = jax.eval_shape(network.apply, transparent(network), X)
    assert (y.dtype, state[0].dtype) == (jnp.float32, jnp.bfloat16)


BOTH_WAYS = [name for name in models.MIXERS if name != "attention"]


def label(name: str, depth: int = 1, **fields: Any) -> tuple[Skeleton, Any]:
    """A network that gives one label a sequence and reads it both ways, and its parameters."""
    own = {"heads": 1} if "heads" in models.mixer_options(name) else {}
    mixer = partial(models.causal_or_bidirectional(name, causal=False, **own), hidden_size=8, max_length=STEPS)
    network = make(mixers=(mixer,), depth=depth, outputs=1, per="sequence", hidden=4, norm="pre", **fields)
    return network, drawn(network)


@partial(jax.jit, static_argnums=0)
def label_gradient(network: Skeleton, params: Any, x: Any, segments: Any) -> Any:
    """The gradient of the sum of the rows' labels by each step."""
    places = jnp.broadcast_to(jnp.arange(STEPS), segments.shape)
    return jax.grad(lambda x: network.apply(params, x, positions=places, segments=segments)[0].sum())(x)


@pytest.mark.parametrize("name", BOTH_WAYS)
def test_each_direction_reads_all_of_a_sequence_for_its_label(name: str):
    """By one direction alone, the other's output being 0 and no residual around it: every step, and no padding and no
    other sequence, moves the label; that of a packed row is of the last sequence."""
    network, params = label(name, residual=False)
    mixer = params["params"]["mixer_0"]
    if name == "tcn":  # so that no relu hides the way
        mixer = jax.tree.map_with_path(lambda at, p: p + 4 * at[-1].key.startswith("bias_"), mixer)
    segments = jnp.array([[1] * 6, [1] * 4 + [0] * 2, [0, 0, 1, 1, 0, 1], [1, 1, 2, 2, 2, 0]], jnp.int32)
    expected = [[1] * 6, [1] * 4 + [0] * 2, [0, 0, 1, 1, 0, 1], [0, 0, 1, 1, 1, 0]]
    for other in ("backward", "forward"):
        one_direction = {**mixer, other: jax.tree.map(jnp.zeros_like, mixer[other])}
        network_params = {"params": {**params["params"], "mixer_0": one_direction}}
        gradient = np.asarray(label_gradient(network, network_params, X, segments))
        np.testing.assert_array_equal(np.any(gradient, axis=-1), expected, err_msg=f"without the {other} direction")


@pytest.mark.parametrize("depth", [1, 2])
def test_a_label_is_that_of_the_sequence_alone(depth: int):
    """Padding anywhere, and other sequences before it in its row, leave the label of four steps as it was."""
    network, params = label("gru", depth)
    places = jnp.array([[0, 1, 2, 3, 0, 0], [0, 0, 0, 1, 2, 3], [0, 1, 0, 1, 2, 3], [0, 0, 1, 0, 2, 3]], jnp.int32)
    segments = jnp.array([[1] * 4 + [0] * 2, [0] * 2 + [1] * 4, [1] * 2 + [2] * 4, [0, 1, 1, 0, 1, 1]], jnp.int32)
    where = np.array([[0, 1, 2, 3], [2, 3, 4, 5], [2, 3, 4, 5], [1, 2, 4, 5]])
    four = X[:1, :4]
    rows = X.at[jnp.arange(4)[:, None], where].set(four)
    alone = run(network, params, four)
    padded = run(network, params, rows, positions=places, segments=segments)
    np.testing.assert_allclose(padded, np.broadcast_to(alone, padded.shape), atol=1e-5)
    assert np.abs(run(network, params, X[:, :4])[1:] - alone).min() > 1e-3


def test_what_is_read_at_every_step_or_one_way_is_as_it_was():
    """Only the label from the last step is read at two ends: not outputs per token, nor a mean."""
    for per, pool in (("token", "last"), ("sequence", "mean")):
        network, params = label("gru")
        network = network.clone(per=per, pool=pool)
        mixer = network.mixers[0](width=D)
        own = {"params": params["params"]["mixer_0"]}
        places, ones = jnp.broadcast_to(jnp.arange(STEPS), X.shape[:2]), jnp.ones(X.shape[:2], jnp.int32)
        one_block = partial(mixer.apply, own, X, positions=places, segments=ones)
        y, _ = network.clone(hidden=0, norm="none", residual=False, outputs=0).apply(transparent_mixer(params), X)
        expected = one_block()[0] if per == "token" else one_block()[0].mean(axis=1)
        np.testing.assert_allclose(y, expected, atol=1e-5)


def transparent_mixer(params: Any) -> Any:
    return {"params": {**params["params"], "embed": {"kernel": jnp.eye(D), "bias": jnp.zeros(D)}}}
