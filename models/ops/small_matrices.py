"""Products and inverses of many small matrices at once, as they are fast on a CPU."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

_SMALLEST_HALF = 16  # rows of blocks that are inverted by themselves


@jax.custom_vjp
def multiply_small(a: Float[Array, "*B M N"], b: Float[Array, "*B N O"]) -> Float[Array, "*B M O"]:
    """a·b for every pair, with a gradient whose transposed left operand is laid out anew."""
    return a @ b


def _product_backward(kept: tuple[Array, Array], slope: Array) -> tuple[Array, Array]:
    a, b = kept
    return slope @ jnp.swapaxes(b, -1, -2), transpose_small(a) @ slope


multiply_small.defvjp(lambda a, b: (a @ b, (a, b)), _product_backward)


@jax.custom_vjp
def multiply_pairs(a: Float[Array, "*B M N"], b: Float[Array, "*B O N"]) -> Float[Array, "*B M O"]:
    """a·bᵀ for every pair, as `multiply_small`."""
    return a @ jnp.swapaxes(b, -1, -2)


def _pairs_backward(kept: tuple[Array, Array], slope: Array) -> tuple[Array, Array]:
    a, b = kept
    return slope @ b, transpose_small(slope) @ a


multiply_pairs.defvjp(lambda a, b: (multiply_pairs(a, b), (a, b)), _pairs_backward)


def transpose_small(a: Float[Array, "*B M N"]) -> Float[Array, "*B N M"]:
    """The transposed matrices, laid out anew: XLA's products of small ones take twice as long on a CPU where they
    transpose the left one themselves."""
    return jax.lax.optimization_barrier(jnp.swapaxes(a, -1, -2))


def add_axes(a: Any, like: Array) -> Array:
    """`a` with axes of 1 in front, up to the number that `like` has."""
    return jnp.asarray(a).reshape((1,) * (like.ndim - np.ndim(a)) + np.shape(a))


def second_half(steps: int, half: int) -> np.ndarray:
    """The steps in the second half of their block of 2·`half`, [C 1]."""
    return (np.arange(steps) // half % 2 == 1)[:, None]


def corner_pairs(steps: int, half: int) -> np.ndarray:
    """Which [t, s] are of the second and the first half of one block of 2·`half`, [C C]."""
    block, second = np.arange(steps) // (2 * half), second_half(steps, half)
    return second & ~second.T & (block[:, None] == block)


@jax.custom_vjp
def solve_unit_lower(
    lower: Float[Array, "*B C C"], inverse: Float[Array, "*B C C"], right: Float[Array, "*B C V"]
) -> Float[Array, "*B C V"]:
    """x of (1 + lower)·x = right, given `unit_lower_inverse(lower)`, which is taken as a constant in gradients."""
    return jnp.matmul(inverse, right, precision="highest")


def _solve_forward(lower: Array, inverse: Array, right: Array) -> tuple[Array, tuple[Array, Array]]:
    solved = jnp.matmul(inverse, right, precision="highest")
    return solved, (inverse, solved)


def _solve_backward(kept: tuple[Array, Array], slope: Array) -> tuple[Array, None, Array]:
    inverse, solved = kept
    slope = jnp.matmul(transpose_small(inverse), slope, precision="highest")
    return -multiply_pairs(slope, solved), None, slope


solve_unit_lower.defvjp(_solve_forward, _solve_backward)


def unit_lower_inverse(lower: Float[Array, "*B C C"], *, by_halves: bool = True) -> Float[Array, "*B C C"]:
    """(1 + lower)⁻¹ for strictly lower triangular matrices, by joining inverses of halves, from single rows upwards.

    As accurate as forward substitution, in 2·log₂C products. XLA's own triangular solve calls LAPACK on a CPU, and two
    devices that call it at the same time can deadlock (jaxlib 0.10.2).

    Matrices of 32 rows or more are first cut in halves, which costs less. `by_halves=False` leaves that out, and has to
    within two `vmap`s: XLA's CPU compiler aborts on products with three batch axes in some orders (jaxlib 0.10.2).
    """
    if not by_halves:
        return _join_rows(lower)
    return _join_halves(lower.reshape(-1, *lower.shape[-2:])).reshape(lower.shape)


def _join_halves(lower: Float[Array, "B C C"]) -> Float[Array, "B C C"]:
    half, odd = divmod(lower.shape[-1], 2)
    if half < _SMALLEST_HALF or odd:
        return _join_rows(lower)
    halves = jnp.concatenate([lower[:, :half, :half], lower[:, half:, half:]])
    before, after = jnp.split(_join_halves(halves), 2)
    corner = jnp.matmul(lower[:, half:, :half], before, precision="highest")
    corner = -jnp.matmul(after, corner, precision="highest")
    upper = jnp.concatenate([before, jnp.zeros_like(corner)], axis=2)
    return jnp.concatenate([upper, jnp.concatenate([corner, after], axis=2)], axis=1)


def _join_rows(lower: Float[Array, "*B C C"]) -> Float[Array, "*B C C"]:
    """`unit_lower_inverse` with all blocks of a size in one product, of which the corners are taken."""
    steps = lower.shape[-1]
    levels = [1 << level for level in range((steps - 1).bit_length())]
    inverse = jnp.broadcast_to(jnp.eye(steps, dtype=lower.dtype), lower.shape)
    for half in levels:
        corner = lower
        if half > 1:
            corner = jnp.matmul(jnp.matmul(inverse, lower, precision="highest"), inverse, precision="highest")
        inverse -= jnp.where(add_axes(corner_pairs(steps, half), lower), corner, 0)
    return inverse
