"""The keys and values that streaming attention goes on from: all so far, or those of a sliding window.

`new`, and what a state holds of them, are arrays with an entry for each token: "key" and "value" [B, G, T, K],
"positions" and "segments" [B, T].
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
from jaxtyping import Array

from models.ops.blockwise_attention import token_axis
from models.ops.scan import resume_state

CacheUpdate = tuple[dict[str, Array], Array | int, dict[str, Array]]  # what to attend to, its offset, the next state


def update_cache(state: Any, new: dict[str, Array], max_length: int) -> CacheUpdate:
    """The keys and values to attend to, the place of the first query among them, and the next state.

    A cache that starts here holds `max_length` tokens, or the new ones if there are more. Raises ValueError for a
    foreign `state`, and where the new tokens are known not to fit.
    """
    steps = new["segments"].shape[1]
    if state is None:
        capacity = max(max_length, steps)
        padded = jax.tree.map(lambda a: _pad_axis(a, capacity, token_axis(a)), new)
        return new, 0, {**padded, "count": jnp.asarray(steps, jnp.int32)}
    has_capacity = isinstance(state, Mapping) and "segments" in state
    capacity = state["segments"].shape[-1] if has_capacity else max_length
    empty = jax.tree.map(lambda a: jax.ShapeDtypeStruct(_with_token_count(a, capacity), a.dtype), new)
    state = resume_state(state, {**empty, "count": jax.ShapeDtypeStruct((), jnp.int32)})
    keys = _write_cache(state, new)
    return keys, state["count"], {**keys, "count": jnp.asarray(state["count"] + steps, jnp.int32)}


def slide_window(state: Any, new: dict[str, Array], window: int) -> CacheUpdate:
    """`update_cache` for a window: the last `window` − 1 tokens and the new ones."""
    places = window - 1
    past = resume_state(state, jax.tree.map(lambda a: jnp.zeros(_with_token_count(a, places), a.dtype), new))
    both = jax.tree.map(lambda a, b: jnp.concatenate([a, b], axis=token_axis(b)), past, new)
    state_after = jax.vmap(partial(_last_tokens, count=places))(both)
    return (new, 0, state_after) if state is None else (both, places, state_after)


def _write_cache(state: Any, new: dict[str, Array]) -> dict[str, Array]:
    """The cache with the new tokens written behind the `count` tokens that it holds."""
    capacity, count, steps = state["segments"].shape[1], state["count"], new["segments"].shape[1]
    if not isinstance(count, jax.core.Tracer) and int(count) + steps > capacity:
        raise ValueError(
            f"attention's cache holds {capacity} tokens, of which {int(count)} are used: {steps} more don't fit; "
            f"raise model.max_length"
        )
    return {
        name: jax.lax.dynamic_update_slice_in_dim(state[name], a.astype(state[name].dtype), count, token_axis(a))
        for name, a in new.items()
    }


def _last_tokens(tokens: dict[str, Array], count: int) -> dict[str, Array]:
    """The last `count` tokens of one sequence without padding, in order, after zeros if there are fewer."""
    real = tokens["segments"] != 0
    order = jnp.argsort(real, stable=True)[len(real) - count :]

    def pick(a: Array) -> Array:
        is_token = real[order][:, None] if a.ndim == 3 else real[order]
        return jnp.where(is_token, jnp.take(a, order, axis=token_axis(a), mode="clip"), 0)

    return jax.tree.map(pick, tokens)


def _with_token_count(array: Array, tokens: int) -> tuple[Any, ...]:
    """The shape of `array` with `tokens` tokens; some of its sizes may be symbols."""
    return tuple(tokens if axis == token_axis(array) else n for axis, n in enumerate(array.shape))


def _pad_axis(array: Array, size: int, axis: int) -> Array:
    """`array` padded with zeros at the end of `axis`, up to `size`."""
    return jnp.pad(array, [(0, size - n if i == axis else 0) for i, n in enumerate(array.shape)])
