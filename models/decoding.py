"""Decoding a sequence from a model: greedily, by sampling, or by beam search.

All take a function `step(state, token) → (logits[V], state)` for one sequence, which is first called with state None
and the `first_token`, then with the state that it returned. `jax.vmap` maps each over a batch.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

DecodeStep = Callable[[Any, Any], tuple[Array, Any]]


class DecodeOutput(NamedTuple):
    """Decoded sequences. `tokens` after the end token repeat it; `length` counts up to and with the end token.

    `log_probability` is log Π p(token | previous tokens) under the model, and nan where the model gave nan, as
    attention does past its cache.
    """

    tokens: Int[Array, "*K T"]
    length: Int[Array, "*K"]
    log_probability: Float[Array, "*K"]


def greedy_decode(
    step: DecodeStep, first_token: Int[Array, ""] | int, *, steps: int, end_token: int | None = None
) -> DecodeOutput:
    """Decode the most likely token at each step, until `end_token` or for `steps` tokens."""
    _check_positive(steps, 1)

    def choose(progress: tuple[Array, Array, Array], logits: Float[Array, "V"]):
        """The next token; a finished sequence repeats its end token, at no cost."""
        length, total, ended = progress
        token = jnp.where(ended, jnp.int32(-1 if end_token is None else end_token), logits.argmax().astype(jnp.int32))
        gain = jnp.where(ended, 0.0, _log_softmax(logits)[token])
        now_ended = ended | (token == end_token) if end_token is not None else ended
        return (length + ~ended, total + gain, now_ended), token

    def decode_step(carry: Any, _: None):
        state, token, progress = carry
        logits, state = step(state, token)
        progress, token = choose(progress, logits)
        return (state, token, progress), token

    logits, state = step(None, jnp.asarray(first_token, jnp.int32))
    progress, token = choose((jnp.int32(0), jnp.float32(0), jnp.bool_(False)), logits)
    (_, _, (length, total, _)), tokens = jax.lax.scan(decode_step, (state, token, progress), length=steps - 1)
    return DecodeOutput(jnp.concatenate([token[None], tokens]), length, total)


def sample_decode(
    step: DecodeStep,
    first_token: Int[Array, ""] | int,
    key: PRNGKeyArray,
    *,
    steps: int,
    temperature: Float[Array, ""] | float = 1.0,
) -> Int[Array, "{steps}"]:
    """Sample `steps` tokens from softmax(logits / `temperature`); at 0 each is the most likely one."""
    _check_positive(steps, 1)

    def decode_step(carry: Any, key: PRNGKeyArray):
        state, token = carry
        logits, state = step(state, token)
        noise = jax.random.gumbel(key, logits.shape)  # the Gumbel-max trick
        token = (logits + temperature * noise).argmax().astype(jnp.int32)
        return (state, token), token

    keys = jax.random.split(key, steps)
    carry, token = decode_step((None, jnp.asarray(first_token, jnp.int32)), keys[0])
    _, tokens = jax.lax.scan(decode_step, carry, keys[1:])
    return jnp.concatenate([token[None], tokens])


def beam_search(
    step: DecodeStep,
    first_token: Int[Array, ""] | int,
    *,
    beam_width: int,
    steps: int,
    end_token: int | None = None,
    alpha: Float[Array, ""] | float = 0.0,
) -> DecodeOutput:
    """Beam search: the `beam_width` best sequences, best first, keeping as many prefixes at each step.

    A sequence's score is log p / ((5 + length) / 6)^`alpha` (Wu et al. 2016, arXiv 1609.08144, eq. 14), which is log p
    itself for `alpha` 0. A finished prefix stays unchanged among the others for as long as its score is good enough. If
    there are fewer sequences than `beam_width`, the rest have a log probability of −inf.
    """
    _check_positive(steps, beam_width)

    def extend(beams: DecodeOutput, ended: Array, logits: Float[Array, "K V"], at: Any):
        """The best continuations by one token: the beams, which have ended, and the index of each one's prefix."""
        gains = _log_softmax(logits)
        if end_token is not None:
            only = jnp.where(jnp.arange(logits.shape[-1]) == end_token, 0.0, -jnp.inf)
            gains = jnp.where(ended[:, None], only, gains)
        total = beams.log_probability[:, None] + gains
        length = beams.length + ~ended
        _, best = jax.lax.top_k((total / _length_penalty(length, alpha)[:, None]).reshape(-1), beam_width)
        parent, token = jnp.divmod(best, logits.shape[-1])
        tokens = beams.tokens[parent].at[:, at].set(token)
        ended = token == end_token if end_token is not None else ended  # a finished beam can only repeat its end token
        return DecodeOutput(tokens, length[parent], total.reshape(-1)[best]), ended, parent

    def decode_step(carry: Any, at: Array):
        states, beams, ended = carry
        logits, states = jax.vmap(step)(states, beams.tokens[:, at - 1])
        beams, ended, parent = extend(beams, ended, logits, at)
        return (jax.tree.map(lambda leaf: leaf[parent], states), beams, ended), None

    logits, state = step(None, jnp.asarray(first_token, jnp.int32))
    states, logits = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (beam_width, *jnp.shape(leaf))), (state, logits))
    # All beams start from the same prefix, so only the first may be extended.
    only = jnp.where(jnp.arange(beam_width) == 0, 0.0, -jnp.inf)
    empty = DecodeOutput(jnp.zeros((beam_width, steps), jnp.int32), jnp.zeros(beam_width, jnp.int32), only)
    beams, ended, _ = extend(empty, jnp.zeros(beam_width, bool), logits, 0)
    (_, beams, _), _ = jax.lax.scan(decode_step, (states, beams, ended), jnp.arange(1, steps))
    return beams


def _length_penalty(length: Int[Array, "*K"], alpha: Float[Array, ""] | float) -> Float[Array, "*K"]:
    """((5 + length) / 6)^α: 1 for a single token, and for any length if α is 0."""
    return ((5 + length) / 6) ** alpha


def _log_softmax(logits: Float[Array, "*K V"]) -> Float[Array, "*K V"]:
    return jax.nn.log_softmax(logits.astype(jnp.float32), axis=-1)


def _check_positive(steps: int, beam_width: int) -> None:
    for name, value in (("steps", steps), ("beam_width", beam_width)):
        if value < 1:
            raise ValueError(f"{name}={value}: must be 1 or more")
