"""An encoder-decoder that has learned to translate."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from models.decoding import beam_search
from models.ops.similarity import SIMILARITIES, similarity_initializers
from models.seq2seq import (
    CrossAttention,
    make_decode_step,
)
from tasks.synthetic.translation import FIRST_WORD, word_alignment
from tests.models.test_seq2seq import TARGET, TASK, call, decode, make, rows, weights, whole


@pytest.fixture(scope="module")
def trained() -> tuple[nn.Module, Any]:
    """Additive attention between GRUs after 300 steps."""
    network = make("gru", "additive", width=16, vocabulary=TASK.vocabulary, heads=1, halves=True)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-2))

    def objective(params: Any, key: Any) -> Any:
        batch = TASK.sample(key, 16, TASK.max_length, TASK.max_length)
        y, _ = network.apply({"params": params}, batch.inputs, positions=batch.positions, segments=batch.segments)
        return TASK.loss(y, batch)

    def step(carry: Any, key: Any) -> Any:
        params, state = carry
        direction, state = optimizer.update(jax.grad(objective)(params, key), state, params)
        return (optax.apply_updates(params, direction), state), None

    @jax.jit
    def fit(params: Any) -> Any:
        keys = jax.random.split(jax.random.key(1), 300)
        return jax.lax.scan(step, (params, optimizer.init(params)), keys)[0][0]

    return network, fit(weights(network)["params"])


@pytest.fixture(scope="module")
def unseen() -> Any:
    return jax.jit(lambda: TASK.sample(jax.random.key(2), 64, TASK.max_length, TASK.max_length))()


def test_a_foreign_state_is_refused():
    """One of a plain network, of no network, or the memory of another bridge."""
    network: Any = make("gru", "vector")
    inputs, segments = rows([3, 2, 4])
    _, state = whole(network, inputs, segments)
    for wrong in (state["mixers"], {"mixers": state["mixers"]}, 3):
        with pytest.raises(ValueError, match="this state is none of an encoder–decoder"):
            whole(network, inputs, segments, state=wrong)
    with pytest.raises(ValueError, match="a dict can't be gone on from here"):
        call(network, "decode", state["memory"], TARGET, state=state, positions=TARGET, segments=TARGET)
    other: Any = make("gru", "additive")
    with pytest.raises(ValueError, match="this memory of a source is none of a decoder with encoder_decoder=additive"):
        decode(other, state["memory"], TARGET)


def test_it_learns_to_translate_and_whence(trained: Any, unseen: Any):
    """Above chance and a dictionary without grammar; the word it came from has more than an even share of weight."""
    network, params = trained
    apply = jax.jit(partial(network.apply, mutable="intermediates"))
    (y, _), kept = apply({"params": params}, unseen.inputs, positions=unseen.positions, segments=unseen.segments)
    score = float(TASK.score(y, unseen))
    weights = kept["intermediates"]["bridges_0"]["weights"][0][:, 0, : TASK.max_items]
    source = unseen.inputs[:, : TASK.max_items] - FIRST_WORD
    aligned = jax.vmap(partial(word_alignment, n=TASK.max_items))(source)
    share = float(jnp.take_along_axis(weights, aligned[..., None], axis=2).mean())
    assert score > 0.8 > TASK.baseline[1] > TASK.chance
    assert share > 1.3 / TASK.max_items


def test_decoding_says_what_a_teacher_forced_pass_says(trained: Any, unseen: Any):
    """The log probabilities of a beam are those of the sequences that it wrote, most of which are right."""
    network, params = trained
    n, width, steps = TASK.max_items, 3, TASK.max_items + 2
    source = unseen.inputs[:8, :n]

    @jax.jit
    def write(params: Any) -> Any:
        memory = network.apply({"params": params}, source, method="encode")
        one = partial(beam_search, first_token=TASK.separator, beam_width=width, end_token=TASK.end, steps=steps)
        beams = jax.vmap(lambda memory: one(make_decode_step(network, params, memory)))(memory)

        tokens = beams.tokens.reshape(8 * width, steps)
        memory = jax.tree.map(lambda leaf: jnp.repeat(leaf, width, axis=0), memory)
        target = jnp.pad(tokens[:, :-1], [(0, 0), (1, 0)], constant_values=TASK.separator)
        logits, _ = network.apply({"params": params}, memory, target, method="decode")
        gains = jnp.take_along_axis(jax.nn.log_softmax(logits), tokens[..., None], axis=2)[..., 0]
        return beams, (gains.reshape(8, width, steps) * (jnp.arange(steps) < beams.length[..., None])).sum(axis=2)

    beams, forced = write(params)
    np.testing.assert_allclose(beams.log_probability, forced, atol=1e-4)
    assert (np.asarray(beams.tokens[:, 0, : n + 1]) == np.asarray(unseen.targets[:8, n:])).mean() > 0.7


@pytest.mark.parametrize("name", SIMILARITIES)
def test_a_bridge_of_bfloat16_has_weights_of_float32(name: str):
    """As exact as the same queries and keys in float32 allow, op by op: a compiler may leave roundings out."""
    module, draws = CrossAttention(24, 1, name, dtype=jnp.bfloat16), np.random.default_rng(0)
    x, source = (jnp.asarray(2 * draws.normal(size=(1, steps, 24)), jnp.bfloat16) for steps in (5, 40))
    ones = jnp.ones((1, 40), jnp.int32)

    def ask(module: CrossAttention, x: Any, source: Any) -> Any:
        key, value = module.project_keys_values(source)
        return module._split_heads(module.query(x)), key, module(x, key, value, ones)

    params: Any = module.init(jax.random.key(0), x, source, method=ask)["params"]
    with jax.disable_jit():
        (query, key, _), seen = module.apply({"params": params}, x, source, method=ask, mutable="intermediates")
    own = {what: params[what][0] for what in similarity_initializers(name, 1, 24)}
    query, key = (a[0, 0].astype(jnp.float32) for a in (query, key))
    expected = jax.nn.softmax(SIMILARITIES[name](query, key, own))
    weights: Any = seen["intermediates"]["weights"]
    np.testing.assert_allclose(weights[0][0, 0], expected, atol=1e-5)
