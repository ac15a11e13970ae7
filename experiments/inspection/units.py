"""The units of a recurrence, one by one: what each holds behind every token, how the state moves itself, what counts.

States come from reading token by token, as in streaming. The transition of a nonlinear recurrence at a token is its
Jacobian there, J_t = ∂state_t / ∂state_{t−1}: of an LSTM's c and h side by side, of a GRU's or an RNN's h.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, Int, Shaped

from models.mixers.recurrent import Recurrence
from training import builder

MAX_STATE = 256  # numbers in a state whose Jacobian is taken: the time for its eigenvalues grows with their cube
LINE_BREAK = "\n"
_NO_MEMORY = {"segment", "past", "window", "m", "tokens", "key", "value"}  # what is copied from inputs, or counted


def can_stream(run: builder.Run) -> bool:
    """Whether the model reads token by token: in one direction, and without a mean over all tokens at its end."""
    model = run.config["model"]
    return bool(model["causal"]) and not (run.task.target_level == "sequence" and model["pool"] == "mean")


def stream_states(run: builder.Run, params: Any, inputs: Int[Array, "B T"]) -> list[dict[str, Shaped[Array, "B T *N"]]]:
    """Each block's memory behind every token, by the names of its leaves, as "carry.c"; {} for a cache of inputs.

    Raises ValueError for a model that can't stream.
    """
    if not can_stream(run):
        raise ValueError("model.causal=False, or model.pool=mean: a state is read token by token, in one direction")

    def read_token(state: Any, token_and_place: tuple[Array, Array]) -> tuple[Any, Any]:
        token, place = token_and_place
        rows = jnp.ones((len(token), 1), jnp.int32)
        where: dict[str, Any] = {"positions": place * rows, "segments": rows}
        _, state = run.model.apply({"params": params}, token[:, None], state=state, **where)
        return state, [_computed_leaves(one) for one in state]

    first, begin = jax.jit(lambda token: read_token(None, (token, jnp.int32(0))))(inputs[:, 0])
    places = jnp.arange(1, inputs.shape[1])
    _, after = jax.jit(partial(jax.lax.scan, read_token))(first, (inputs[:, 1:].T, places))
    return jax.tree.map(lambda x, rest: jnp.concatenate([x[:, None], rest.swapaxes(0, 1)], axis=1), begin, after)


def _computed_leaves(state: Any) -> dict[str, Array]:
    """The leaves of a mixer's state that it computed, and that are not copies of inputs or counts."""
    leaves = {
        tuple(str(getattr(key, "key", key)) for key in path): leaf for path, leaf in jax.tree.leaves_with_path(state)
    }
    return {
        ".".join(path): leaf
        for path, leaf in leaves.items()
        if not _NO_MEMORY & set(path) and jnp.issubdtype(leaf.dtype, jnp.inexact)
    }


def unit_states(
    state: Mapping[str, Shaped[Array, "B T *N"]], size: int | None = None
) -> dict[str, Float[np.ndarray, "B T N"]]:
    """The vectors of real numbers in a block's streamed state, by name: an LSTM's c and h, the h of others.

    With a `size` only those of so many units. A matrix memory, a complex state and an sLSTM's, which makes sense only
    as a quotient, have none.
    """
    vectors = {}
    for name, leaf in state.items():
        if name not in ("carry.c", "carry.h", "h") or "carry.n" in state or jnp.iscomplexobj(leaf):
            continue
        vector = np.asarray(leaf, np.float32).reshape(*leaf.shape[:2], -1)
        if size in (None, vector.shape[-1]):
            vectors[name[-1]] = vector
    return vectors


# ---- eigenvalues of a nonlinear recurrence --------------------------------------------------------------------------


def mixer_of_block(run: builder.Run, block: int) -> Any:
    """The mixer module of a block, apart from the network."""
    model = run.model
    return model.mixers[block % len(model.mixers)](width=model.width, dtype=model.dtype)


def state_jacobians(
    mixer: Recurrence, params: Any, inputs: Float[np.ndarray, "T D"], states: Mapping[str, Float[np.ndarray, "T N"]]
) -> Float[np.ndarray, "T M M"]:
    """∂state_t / ∂state_{t−1} at every token of one sequence, the vectors of the state side by side in their order.

    `inputs` are what the mixer reads, `states` its vectors behind each token. The first state before is 0.
    """
    names = list(states)
    size = states[names[0]].shape[-1]
    single = mixer.clone(solver="autodiff")  # whose steps can be differentiated forwards

    def next_state(before: Float[Array, "M"], x: Float[Array, "D"]) -> Float[Array, "M"]:
        carry = {name: before[None, i * size : (i + 1) * size] for i, name in enumerate(names)}
        one = jnp.ones((1, 1), jnp.int32)
        state = {"carry": carry, "segment": one[0]}
        after: Any = single.apply({"params": params}, x[None, None], state=state, positions=one, segments=one)[1]
        return jnp.concatenate([after["carry"][name][0] for name in names])

    behind = np.concatenate([states[name] for name in names], axis=-1)
    before = np.concatenate([np.zeros_like(behind[:1]), behind[:-1]])
    return np.asarray(jax.jit(jax.vmap(jax.jacfwd(next_state)))(before, jnp.asarray(inputs)))


def largest_first(values: Complex[np.ndarray, "T M"]) -> Complex[np.ndarray, "T M"]:
    """Every token's eigenvalues by their size, the largest first."""
    return np.take_along_axis(values, np.argsort(-np.abs(values), axis=1, kind="stable"), axis=1)


def jacobian_eigenvalues(
    run: builder.Run, params: Any, block: int, inputs: Float[np.ndarray, "T D"], states: Mapping[str, np.ndarray]
) -> tuple[Complex[np.ndarray, "T M"] | None, str]:
    """The eigenvalues of a block's Jacobians; or None, and why there are none."""
    mixer = mixer_of_block(run, block)
    if not isinstance(mixer, Recurrence):
        return None, ""
    size = sum(vector.shape[-1] for vector in states.values())
    if size > MAX_STATE:
        return None, f"Eigenvalues are left out: the state has {size} numbers, and they are computed for {MAX_STATE}."
    jacobians = state_jacobians(mixer, params[f"mixer_{block}"], inputs, states)
    return largest_first(np.linalg.eigvals(jacobians)).astype(np.complex64), ""


# ---- units that count -----------------------------------------------------------------------------------------------


def steps_since(tokens: Int[np.ndarray, "*B T"], token: int, *, from_start: bool) -> Float[np.ndarray, "*B T"]:
    """Tokens since the last such `token`, behind each: 0 at the token itself, 1 behind the next …

    Before the first one they are counted from the start of the sequence, or nan without `from_start`.
    """
    places = np.arange(tokens.shape[-1])
    last = np.maximum.accumulate(np.where(tokens == token, places, -1), axis=-1)
    return np.where((last >= 0) | from_start, places - last, np.nan)


def unit_correlations(states: Float[np.ndarray, "*B T N"], counts: Float[np.ndarray, "*B T"]) -> Float[np.ndarray, "N"]:
    """Pearson's r of every unit with `counts`, over all places that have one; 0 of what never changes."""
    known = np.isfinite(counts)
    units, counted = states[known].astype(np.float64), counts[known]
    if len(counted) < 2:
        return np.zeros(states.shape[-1], np.float32)
    units, counted = units - units.mean(axis=0), counted - counted.mean()
    spread = np.sqrt((units**2).sum(axis=0) * (counted**2).sum())
    return np.where(spread > 1e-12, counted @ units / np.maximum(spread, 1e-12), 0).astype(np.float32)


def line_break_token(names: Sequence[str]) -> int | None:
    """The token that is a line break, if there is one."""
    return list(names).index(LINE_BREAK) if LINE_BREAK in names else None
