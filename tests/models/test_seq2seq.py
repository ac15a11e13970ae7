from functools import cache, partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.mixers.attention import Attention
from models.mixers.bidirectional import Bidirectional
from models.mixers.recurrent import Recurrence
from models.seq2seq import (
    CrossAttention,
    Seq2Seq,
    first_and_last_steps,
    make_decode_step,
    restore_row_outputs,
    split_source_target,
)
from models.skeleton import Skeleton
from tasks.synthetic.translation import Translation

V, D, S, T, ROW = 9, 8, 5, 6, 12
SEPARATOR = 1
NETWORKS = [
    ("gru", "vector"),
    ("rnn", "additive"),
    ("attention", "scaled"),
]
random = np.random.default_rng(0)
SOURCE = jnp.asarray(random.integers(2, V, (3, S)), jnp.int32)
TARGET = jnp.asarray(random.integers(2, V, (3, T)), jnp.int32).at[:, 0].set(SEPARATOR)
ONES = jnp.ones((3, S), jnp.int32)


@cache  # so that equal networks are the same, and compiled once
def make(mixer: str, bridge: str, width: int = D, vocabulary: int = V, **fields: Any) -> nn.Module:
    """A recurrent encoder reads both ways; attention in it sees everything."""
    shared: dict[str, Any] = {"width": width, "vocabulary": vocabulary, "channels": 0, "hidden": width}
    shared |= {
        "depth": fields.pop("depth", 2 if mixer == "rnn" else 1),
        "max_length": ROW,
        "dropout": fields.pop("dropout", 0.0),
    }
    if mixer == "attention":
        reader: Any = partial(Attention, hidden_size=width, max_length=ROW, heads=2, causal=False)
        writes: Any = partial(Attention, hidden_size=width, max_length=ROW, heads=2)
        shared["positions"] = "sinusoidal"
    else:
        writes = partial(Recurrence, cell=mixer, hidden_size=width)
        reader = partial(Bidirectional, mixer=partial(Recurrence, cell=mixer), hidden_size=width)
    return Seq2Seq(
        encoder=Skeleton(mixers=(reader,), outputs=0, **shared),
        decoder=Skeleton(mixers=(writes,), outputs=vocabulary, **shared),
        encoder_decoder=bridge,
        separator=SEPARATOR,
        **{"heads": 1 if bridge == "vector" else 2, **fields},
    )


@pytest.fixture(params=NETWORKS, ids="-".join)
def network(request: pytest.FixtureRequest) -> nn.Module:
    return make(*request.param)


@cache
def weights(network: nn.Module) -> Any:
    """Drawn so that no bias is zero and no score so large that all the weight is on one key."""
    random = np.random.default_rng(1)
    shapes = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, ROW), jnp.int32))
    return jax.tree.map(lambda p: jnp.asarray(random.normal(0, 0.4, p.shape), p.dtype), shapes)


@partial(jax.jit, static_argnums=(0, 1))
def compiled(network: nn.Module, method: str, params: Any, given: Any, named: Any) -> Any:
    return network.apply(params, *given, **named, method=method)


def call(network: nn.Module, method: str, *given: Any, **named: Any) -> Any:
    return compiled(network, method, weights(network), given, named)


def encode(network: nn.Module, source: Any, segments: Any) -> Any:
    return call(network, "encode", source, positions=counted(segments), segments=segments)


def decode(network: nn.Module, memory: Any, target: Any) -> Any:
    return call(network, "decode", memory, target)


def whole(network: nn.Module, inputs: Any, segments: Any, **named: Any) -> Any:
    return call(network, "__call__", inputs, positions=counted(segments), segments=segments, **named)


def counted(segments: Any) -> jax.Array:
    return jnp.maximum(jnp.cumsum(segments, axis=1) - 1, 0)


def close(ours: Any, theirs: Any) -> None:
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-5), ours, theirs)


def rows(sources: list[int]) -> tuple[jax.Array, jax.Array]:
    """Rows with sources of these lengths and all of the target, and their segments."""
    inputs, segments = np.zeros((len(sources), ROW), np.int32), np.zeros((len(sources), ROW), np.int32)
    for row, segment, n, source, target in zip(inputs, segments, sources, SOURCE, TARGET, strict=True):
        row[: n + T] = [*source[:n], *target]
        segment[: n + T] = 1
    return jnp.asarray(inputs), jnp.asarray(segments)


def test_the_decoder_streams(network: nn.Module):
    """Teacher-forced at once = in chunks = token by token, in outputs and state."""

    @jax.jit
    def streamed(params: Any, memory: Any) -> Any:
        def go_on(state: Any, now: Any) -> Any:
            place = jnp.broadcast_to(now[1], now[0].shape)
            more = {"state": state, "positions": place, "segments": jnp.ones_like(place), "method": "decode"}
            y, state = network.apply(params, memory, now[0], **more)
            return state, y

        places = jnp.arange(T)
        begun, first = go_on(None, (TARGET[:, :2], places[:2]))
        state, rest = go_on(begun, (TARGET[:, 2:], places[2:]))
        chunked = jnp.concatenate([first, rest], axis=1), state
        state, rest = jax.lax.scan(go_on, begun, (TARGET.T[2:, :, None], places[2:, None, None]))
        return chunked, (jnp.concatenate([first, rest[:, :, 0].swapaxes(0, 1)], axis=1), state)

    memory = encode(network, SOURCE, ONES)
    expected = decode(network, memory, TARGET)
    for found in streamed(weights(network), memory):
        close(found, expected)


def test_a_writer_says_what_the_decoder_says():
    """One sequence token by token, where positions count."""
    network: Any = make("attention", "scaled")
    memory = encode(network, SOURCE, ONES)
    expected, _ = decode(network, memory, TARGET)

    @jax.jit
    def write(params: Any, memory: Any) -> Any:
        step = make_decode_step(network, params, jax.tree.map(lambda leaf: leaf[0], memory))
        logits, state = step(None, TARGET[0, 0])
        said = [logits]
        for token in TARGET[0, 1:]:
            logits, state = step(state, token)
            said.append(logits)
        return jnp.stack(said)

    np.testing.assert_allclose(write(weights(network)["params"], memory), expected[0], atol=1e-5)


@pytest.mark.parametrize(("mixer", "bridge", "halves"), [("gru", "vector", False), ("attention", "scaled", True)])
def test_a_row_is_split_where_its_separator_is(mixer: str, bridge: str, halves: bool):
    """The call that trains it gives what encode and decode give, at the target's places and nothing before them."""
    lengths = [S, 3, 1]
    y, state = whole(make(mixer, bridge, halves=halves), *rows(lengths))
    network = make(mixer, bridge)
    memory = encode(network, SOURCE, (jnp.arange(S) < jnp.array(lengths)[:, None]).astype(int))
    expected, _ = decode(network, memory, TARGET)
    for i, n in enumerate(lengths):
        assert not y[i, :n].any()
        np.testing.assert_allclose(y[i, n : n + T], expected[i], atol=1e-5)
    assert state["sources"].tolist() == lengths
    if bridge == "vector":
        close(state["memory"], memory)


@pytest.mark.parametrize(
    ("mixer", "bridge", "first"),
    [("gru", "vector", S), ("attention", "scaled", S + 3)],
)
def test_a_row_goes_on_after_its_source(mixer: str, bridge: str, first: int):
    """The first call ends with the source, with the separator, or behind it."""
    network, (inputs, segments) = make(mixer, bridge), rows([S, 3, 4])
    expected, _ = whole(network, inputs, segments)

    y, state = whole(network, inputs[:, :first], segments[:, :first])
    place = jnp.broadcast_to(jnp.arange(first, ROW), (3, ROW - first))
    rest, _ = call(network, "__call__", inputs[:, first:], state=state, positions=place, segments=segments[:, first:])
    real = segments != 0
    np.testing.assert_allclose(np.concatenate([y, rest], axis=1)[real], expected[real], atol=1e-5)


def test_source_padding_changes_nothing(network: nn.Module):
    """Whatever stands at padding in front, behind or in between, and however much there is of it."""
    expected, _ = decode(network, encode(network, SOURCE, ONES), TARGET)
    for places in ([0, 1, 2, 3, 4], [4, 5, 6, 7, 8], [0, 2, 3, 6, 8]):
        places = jnp.array(places)
        source, segments = jnp.full((3, 9), 7).at[:, places].set(SOURCE), jnp.zeros((3, 9), int).at[:, places].set(1)
        close(decode(network, encode(network, source, segments), TARGET)[0], expected)


def test_target_padding_changes_nothing():
    """Where it stands within the target: a token's position counts tokens."""
    network = make("attention", "scaled", halves=False)
    inputs, segments = rows([3, 2, 4])
    expected, _ = whole(network, inputs, segments)
    gap = 6
    apart, there = (jnp.insert(a, gap, 0, axis=1)[:, :ROW] for a in (inputs, segments))
    found, _ = whole(network, apart, there)
    close(found[:, :gap], expected[:, :gap])
    real = np.asarray(segments[:, gap:-1]) != 0
    close(found[:, gap + 1 :][real], expected[:, gap:-1][real])


def test_nothing_looks_ahead_and_the_source_knows_nothing_of_the_target(network: nn.Module):
    """Another token at t changes what is said from t on, and not one bit before it or of the memory."""
    inputs, segments = rows([S, S, S])
    before, state = whole(network, inputs, segments)
    for t in (S + 1, S + 4):
        other = inputs.at[:, t].set(jnp.where(inputs[:, t] == 3, 4, 3))
        after, then = whole(network, other, segments)
        np.testing.assert_array_equal(after[:, :t], before[:, :t])
        jax.tree.map(np.testing.assert_array_equal, then["memory"], state["memory"])
        assert (np.abs(after[:, t] - before[:, t]).max(axis=-1) > 1e-4).all()
    other = inputs.at[:, 0].set(jnp.where(inputs[:, 0] == 3, 4, 3))
    after, _ = whole(network, other, segments)
    assert (np.abs(after[:, S : S + T] - before[:, S : S + T]).max(axis=-1) > 1e-5).all(), "the source is read"


def memory_floats(network: nn.Module, steps: int) -> int:
    source = jnp.zeros((1, steps), jnp.int32)
    memory = jax.eval_shape(lambda: network.apply(weights(network), source, method="encode"))
    return sum(leaf.size for leaf in jax.tree.leaves(memory) if leaf.dtype == jnp.float32)


def test_the_vector_is_a_bottleneck_and_attention_is_not():
    """All that passes are D numbers, whatever the source's length; attention keeps keys and values of every token."""
    vector, attention = make("gru", "vector"), make("gru", "scaled")
    assert [memory_floats(vector, n) for n in (3, 9)] == [D, D]
    assert [memory_floats(attention, n) for n in (3, 9)] == [2 * D * n for n in (3, 9)]


@pytest.mark.parametrize("bridge", ["vector", "cosine", "general"])
def test_gradients_are_finite_and_reach_everything(bridge: str):
    """Even where a source is nothing but padding."""
    network = make("rnn", bridge, depth=1)
    inputs, segments = rows([S, 3, 0])
    segments = segments.at[2].set(0)

    def total(params: Any) -> Any:
        y, _ = network.apply(params, inputs, positions=counted(segments), segments=segments)
        return jnp.square(y).sum()

    gradient = jax.jit(jax.grad(total))(weights(network))
    for path, leaf in jax.tree.leaves_with_path(gradient):
        assert np.isfinite(leaf).all(), path
        if "key" not in jax.tree_util.keystr(path[-2:]):  # softmax does not see what all scores have in common
            assert np.abs(leaf).max() > 0, path


def test_a_batch_is_its_rows_one_by_one(network: nn.Module):
    inputs, segments = rows([S, 3, 1])
    together, _ = whole(network, inputs, segments)
    for i in range(3):
        alone, _ = whole(network, inputs[jnp.array([i] * 3)], segments[jnp.array([i] * 3)])
        np.testing.assert_allclose(alone, jnp.broadcast_to(together[i], alone.shape), atol=1e-5)


def test_additive_attention_is_bahdanaus():
    """Equation by equation in numpy: e = v·tanh(W s + U h), α = softmax(e), c = Σ α h."""
    module = CrossAttention(width=4, heads=1, similarity="additive")
    x, h = (jnp.asarray(random.normal(size=(1, n, 4)), jnp.float32) for n in (2, 3))
    segments = jnp.array([[1, 0, 1]])

    def ask(module: CrossAttention, x: Any, h: Any) -> Any:
        return module(x, *module.project_keys_values(h), segments)

    params = jax.eval_shape(partial(module.init, method=ask), jax.random.key(0), x, h)["params"]
    params = jax.tree.map(lambda p: jnp.asarray(random.normal(size=p.shape), jnp.float32), params)
    y, kept = module.apply({"params": params}, x, h, method=ask, mutable="intermediates")
    w, u, values, out = ({k: np.asarray(v) for k, v in params[n].items()} for n in ("query", "key", "value", "output"))
    asked, keys, read = (a @ p["kernel"] + p["bias"] for a, p in ((x[0], w), (h[0, ::2], u), (h[0, ::2], values)))
    scores = np.tanh(asked[:, None] + keys[None]) @ np.asarray(params["direction"][0])
    alpha = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(y[0], alpha @ read @ out["kernel"] + out["bias"], rtol=1e-4, atol=1e-5)
    sown: Any = kept["intermediates"]["weights"][0]
    np.testing.assert_allclose(sown[0, 0][:, ::2], alpha, rtol=1e-4)
    assert not sown[0, 0][:, 1].any()


def test_the_ends_of_a_sequence():
    x = jnp.arange(24.0).reshape(4, 6, 1)
    segments = jnp.array([[1] * 6, [0, 1, 1, 1, 0, 0], [0, 0, 0, 0, 1, 0], [0] * 6])
    np.testing.assert_array_equal(first_and_last_steps(x, segments), [[0, 5], [7, 9], [16, 16], [0, 0]])


def test_split_and_joined_against_their_definition():
    """Random rows, padded anywhere; one half is sometimes too small, which gives nan."""
    steps = 9
    cases = random.integers(0, 4, (60, steps)).astype(np.int32)
    segments = (random.random((60, steps)) < 0.8).astype(np.int32)
    logits = random.normal(size=(60, steps, 2)).astype(np.float32)
    for halves in (False, True):
        sources, targets = (4, 5) if halves else (steps, steps)
        places = np.maximum(segments.cumsum(axis=1) - 1, 0)
        pairs = jax.jit(jax.vmap(partial(split_source_target, separator=SEPARATOR, halves=halves)))(
            cases, places, segments
        )
        outputs = jax.jit(jax.vmap(partial(restore_row_outputs, steps=steps)))(logits[:, :targets], pairs)
        fitted = 0
        for i, (row, segment) in enumerate(zip(cases, segments, strict=True)):
            found = [p for p in range(steps) if row[p] == SEPARATOR and segment[p]]
            start = found[0] if found else steps
            pair = jax.tree.map(lambda leaf, i=i: np.asarray(leaf[i]), pairs)
            fits = not segment[sources:start].any() and not segment[start + targets :].any()
            assert (pair.fits, pair.start) == (fits, start)
            fitted += fits
            if not fits:
                assert np.isnan(outputs[i]).all()
                continue
            n = min(start, sources)
            np.testing.assert_array_equal(pair.source_segments, [*segment[:n], *[0] * (sources - n)])
            np.testing.assert_array_equal(pair.source, [*row[:n], *[0] * (sources - n)])
            rest = min(steps - start, targets)
            np.testing.assert_array_equal(pair.target_segments[:rest], segment[start : start + rest])
            np.testing.assert_array_equal(pair.target[:rest], row[start : start + rest])
            real = segment[start : start + rest] != 0
            np.testing.assert_array_equal(pair.target_positions[:rest][real], np.arange(real.sum()))
            assert not pair.target_segments[rest:].any()
            np.testing.assert_array_equal(outputs[i, :start], np.zeros((start, 2)))
            np.testing.assert_array_equal(outputs[i, start : start + rest], logits[i, :rest])
        assert fitted == 60 if not halves else 5 < fitted < 55


def test_dropout_needs_an_rng():
    inputs, segments = rows([S, 3, 1])
    network = make("rnn", "additive", depth=1, dropout=0.5)
    plain, other, same, more = (
        whole(network, inputs, segments, rng=rng)[0] for rng in (None, *map(jax.random.key, (0, 0, 1)))
    )
    np.testing.assert_array_equal(other, same)
    assert np.abs(other - plain).max() > 0.1
    assert np.abs(other - more).max() > 0.1


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"bridge": "adative"}, r"^model\.encoder_decoder=adative: must be one of vector, dot, .*general"),
        (
            {"bridge": "dot", "heads": 3},
            r"^model\.cross_attention_heads=3: must be 1 or more and divide model\.width=8",
        ),
        ({"bridge": "dot", "heads": 0}, r"^model\.cross_attention_heads=0: must be 1 or more"),
    ],
)
def test_bad_fields(fields: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(make("gru", **fields).init, jax.random.key(0), jnp.zeros((1, ROW), jnp.int32))


def test_going_on_needs_positions_and_segments():
    network = make("gru", "vector")
    inputs = jnp.ones((1, ROW), jnp.int32)
    _, state = jax.eval_shape(network.apply, weights(network), inputs)
    for given in ({"state": state}, {"positions": inputs}, {"segments": inputs}):
        with pytest.raises(ValueError, match="positions and segments"):
            jax.eval_shape(partial(network.apply, weights(network)), inputs, **given)


# ---- trained --------------------------------------------------------------------------------------------------------

TASK = Translation(words=4, max_items=4)
