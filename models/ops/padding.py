"""Padding moved behind the tokens of its row and back, for what goes over tokens as if there were no padding."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap
from jaxtyping import Array, Bool, Shaped


@custom_vmap
def _all_of_all_members(condition: Bool[Array, "*S"]) -> Bool[Array, ""]:
    """Whether all are true, of all members of an ensemble: a batched condition would make XLA run both branches."""
    return jnp.all(condition)


@_all_of_all_members.def_vmap
def _(size: int, batched: list[bool], condition: Array) -> tuple[Array, bool]:
    return _all_of_all_members(condition), False


def move_padding_behind(arrays: Any, valid: Bool[Array, "B T"]) -> tuple[Any, Bool[Array, ""]]:
    """The arrays, leaves [B, T, ...], with each row's padding behind its tokens; and whether all was there before.

    If it was, nothing is moved: sorting costs more than most of what follows.
    """
    behind = _all_of_all_members(valid[:, :-1] | ~valid[:, 1:])

    def sort(arrays: Any) -> Any:
        order = jnp.argsort(~valid, axis=1, stable=True)

        def take(leaf: Array) -> Array:
            return jnp.take_along_axis(leaf, order.reshape(*order.shape, *(1,) * (leaf.ndim - 2)), axis=1)

        return jax.tree.map(take, arrays)

    return jax.lax.cond(behind, lambda arrays: arrays, sort, arrays), behind


def move_padding_back(y: Shaped[Array, "B T N"], behind: Bool[Array, ""], valid: Bool[Array, "B T"]) -> Array:
    """Outputs at the places of their tokens; at padding that had to be moved, those of the token before."""

    def spread(y: Array) -> Array:
        place = jnp.maximum(jnp.cumsum(valid, axis=1) - 1, 0)
        return jnp.take_along_axis(y, place[:, :, None], axis=1)

    return jax.lax.cond(behind, lambda y: y, spread, y)
