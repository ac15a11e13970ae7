"""Writing a sequence with a model: the likeliest token each time, a drawn one, or a beam of the likeliest beginnings.

All take `step(state, token) → (logits[V], state)` of one sequence, which is called with state None and the `first`
token, then with what it returned. `jax.vmap` makes a batch of any.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

DecodeStep = Callable[[Any, Any], tuple[Array, Any]]


class DecodeOutput(NamedTuple):
    """`tokens` behind its end are the end token again; `length` counts those up to the end, and with it.

    `log_probability` is that of all of them under the model, log Π p(token | those before), and nan where the model
    gave nan, as attention does past its cache.
    """

    tokens: Int[Array, "*K T"]
    length: Int[Array, "*K"]
    log_probability: Float[Array, "*K"]


def greedy_decode(
    step: DecodeStep, first_token: Int[Array, ""] | int, *, steps: int, end_token: int | None = None
) -> DecodeOutput:
    """The likeliest token, and so on, until `end_token` or for `steps` tokens."""
    _check_positive(steps, 1)

    def choose(written: tuple[Array, Array, Array], logits: Float[Array, "V"]):
        """The next token; what has ended goes on with its end, at no cost."""
        length, total, ended = written
        token = jnp.where(ended, jnp.int32(-1 if end_token is None else end_token), logits.argmax().astype(jnp.int32))
        gained = jnp.where(ended, 0.0, _log_softmax(logits)[token])
        return (
            length + ~ended,
            total + gained,
            ended | (token == end_token) if end_token is not None else ended,
        ), token

    def one(carry: Any, _: None):
        state, token, written = carry
        logits, state = step(state, token)
        written, token = choose(written, logits)
        return (state, token, written), token

    logits, state = step(None, jnp.asarray(first_token, jnp.int32))
    written, token = choose((jnp.int32(0), jnp.float32(0), jnp.bool_(False)), logits)
    (_, _, (length, total, _)), tokens = jax.lax.scan(one, (state, token, written), length=steps - 1)
    return DecodeOutput(jnp.concatenate([token[None], tokens]), length, total)


def sample_decode(
    step: DecodeStep,
    first_token: Int[Array, ""] | int,
    key: PRNGKeyArray,
    *,
    steps: int,
    temperature: Float[Array, ""] | float = 1.0,
) -> Int[Array, "{steps}"]:
    """`steps` tokens, each drawn from softmax(logits / `temperature`), which at 0 is the likeliest one."""
    _check_positive(steps, 1)

    def one(carry: Any, key: PRNGKeyArray):
        state, token = carry
        logits, state = step(state, token)
        noise = jax.random.gumbel(key, logits.shape)  # the largest of logits with this noise is such a draw
        token = (logits + temperature * noise).argmax().astype(jnp.int32)
        return (state, token), token

    keys = jax.random.split(key, steps)
    carry, token = one((None, jnp.asarray(first_token, jnp.int32)), keys[0])
    _, tokens = jax.lax.scan(one, carry, keys[1:])
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
    """The `beam_width` best sequences found, best first, by keeping as many beginnings at each step.

    One is as good as log p / ((5 + length) / 6)^`alpha` (Wu et al. 2016, arXiv 1609.08144, eq. 14), which is log p
    itself unless an `alpha` is given. A beginning that has ended stays as it is, among the others for as long as it
    is good enough. Where there are fewer sequences than `beam_width`, the rest have a log probability of −inf.
    """
    _check_positive(steps, beam_width)

    def extend(beams: DecodeOutput, ended: Array, logits: Float[Array, "K V"], at: Any):
        """The best of all continuations by one token: the beams, which of them ended, and whose each one was."""
        gains = _log_softmax(logits)
        if end_token is not None:
            only = jnp.where(jnp.arange(logits.shape[-1]) == end_token, 0.0, -jnp.inf)
            gains = jnp.where(ended[:, None], only, gains)
        total = beams.log_probability[:, None] + gains
        length = beams.length + ~ended
        _, best = jax.lax.top_k((total / _length_penalty(length, alpha)[:, None]).reshape(-1), beam_width)
        parent, token = jnp.divmod(best, logits.shape[-1])
        tokens = beams.tokens[parent].at[:, at].set(token)
        ended = token == end_token if end_token is not None else ended  # what has ended goes on with its end alone
        return DecodeOutput(tokens, length[parent], total.reshape(-1)[best]), ended, parent

    def one(carry: Any, at: Array):
        states, beams, ended = carry
        logits, states = jax.vmap(step)(states, beams.tokens[:, at - 1])
        beams, ended, parent = extend(beams, ended, logits, at)
        return (jax.tree.map(lambda leaf: leaf[parent], states), beams, ended), None

    logits, state = step(None, jnp.asarray(first_token, jnp.int32))
    states, logits = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (beam_width, *jnp.shape(leaf))), (state, logits))
    # All beams are the same beginning, so that only one of them may go on.
    only = jnp.where(jnp.arange(beam_width) == 0, 0.0, -jnp.inf)
    none = DecodeOutput(jnp.zeros((beam_width, steps), jnp.int32), jnp.zeros(beam_width, jnp.int32), only)
    beams, ended, _ = extend(none, jnp.zeros(beam_width, bool), logits, 0)
    (_, beams, _), _ = jax.lax.scan(one, (states, beams, ended), jnp.arange(1, steps))
    return beams


def _length_penalty(length: Int[Array, "*K"], alpha: Float[Array, ""] | float) -> Float[Array, "*K"]:
    """((5 + length) / 6)^α: 1 for one token, and for any number of them where α is 0."""
    return ((5 + length) / 6) ** alpha


def _log_softmax(logits: Float[Array, "*K V"]) -> Float[Array, "*K V"]:
    return jax.nn.log_softmax(logits.astype(jnp.float32), axis=-1)


def _check_positive(steps: int, width: int) -> None:
    for name, value in (("steps", steps), ("width", width)):
        if value < 1:
            raise ValueError(f"{name}={value}: must be 1 or more")
