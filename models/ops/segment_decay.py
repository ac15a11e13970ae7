"""What is left, at a later step of the same segment, of what a matrix memory was given at an earlier one."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from models.ops.small_matrices import add_axes, corner_pairs, multiply_pairs, multiply_small, second_half


class Decay(NamedTuple):
    """What is left of what was written at one step, at a later one in the same segment: D[t, s] = Π g over s < r ≤ t.

    `scores(a, b, diagonal)` is a_t·D[t, s]·b_s for all s ≤ t, or s < t; the others say what is left of the memory from
    before the chunk at each step, of each step at the end of the chunk, and of the memory at the end.
    """

    scores: Callable[[Array, Array, bool], Float[Array, "N B H C C"]]
    of_memory: Float[Array, "N B #H C #K"]
    at_end: Float[Array, "N B #H C #K"]
    through: Float[Array, "N B #H #K 1"]


def segment_masks(
    start: Bool[Array, "N B C"], valid: Bool[Array, "N B C"]
) -> tuple[Bool[Array, "N B 1 C C"], Bool[Array, "N B 1 C"]]:
    """A mask [t, s] of the steps s ≤ t that are no padding and in the segment of t, and one of the steps before the
    first `start`."""
    segment = jnp.cumsum(start, axis=-1)[:, :, None]
    same = (segment[..., :, None] == segment[..., None, :]) & valid[:, :, None, None, :]
    return jnp.tril(same), segment == 0


def decay_of_heads(
    log_gate: Float[Array, "N B H C 1"] | None, past: Bool[Array, "N B 1 C C"], before: Bool[Array, "N B 1 C"]
) -> Decay:
    """One gate for all features of a head, or none."""
    if log_gate is None:
        decay, of_memory = past.astype(jnp.float32), before.astype(jnp.float32)
    else:
        whole, rest = (a[..., 0] for a in masked_cumsum(log_gate, past))
        between = (whole[..., :, None] - whole[..., None, :]) + (rest[..., :, None] - rest[..., None, :])
        decay, of_memory = jnp.exp(jnp.where(past, between, -jnp.inf)), jnp.where(before, jnp.exp(whole + rest), 0)

    def scores(a: Array, b: Array, diagonal: bool) -> Array:
        products = multiply_pairs(a, b) * decay
        return products if diagonal else jnp.tril(products, -1)

    return Decay(scores, of_memory[..., None], decay[..., -1, :, None], of_memory[..., -1:, None])


def masked_cumsum(
    x: Float[Array, "N B H C G"], past: Bool[Array, "N B 1 C C"]
) -> tuple[Float[Array, "N B H C G"], Float[Array, "N B H C G"]]:
    """Σ_{s in past(t)} x_s for every t, in two parts that add up to it. Unlike with a difference of cumulative sums, no
    bit comes from other steps.

    The first part sums x rounded to integers, which float32 adds exactly up to 2²⁴; the second sums the remainders.
    Subtract two sums part by part: then one x of −1,000 among small ones costs the difference none of its digits.
    """
    integers = jax.lax.stop_gradient(jnp.round(x))
    mask = jnp.broadcast_to(past, (*x.shape[:-1], x.shape[-2])).astype(x.dtype)
    add = partial(jnp.matmul, mask, precision="highest")
    return add(integers), add(x - integers)


def decay_of_features(
    log_gate: Float[Array, "N B H C K"], past: Bool[Array, "N B 1 C C"], before: Bool[Array, "N B 1 C"]
) -> Decay:
    """A gate for each feature, which makes scores of products that are scaled on both sides of a border.

    C is halved again and again. Steps in the first half of a block decay to the border and those in the second from it,
    so that no exponent is positive (after Yang et al. 2312.06635, §4.3).
    """
    steps = log_gate.shape[-2]
    parts = masked_cumsum(log_gate, past)

    def factor(half: int) -> Array:
        """What is left at the border of halves, or since then."""

        def distance(a: Array) -> Array:
            blocks = a.reshape(*a.shape[:-2], steps // (2 * half), 2, half, a.shape[-1])
            return blocks - blocks[..., :1, -1:, :]

        between: Any = sum(map(distance, parts))
        signs = add_axes((2 * jnp.arange(2.0) - 1)[:, None, None], between)
        between *= signs
        return jnp.exp(jnp.minimum(between, 0)).reshape(log_gate.shape)

    halves = [1 << level for level in range(steps.bit_length() - 1)]
    factors = [factor(half) for half in halves]

    def scores(a: Array, b: Array, diagonal: bool) -> Array:
        second = (add_axes(second_half(steps, half), a) for half in halves)
        scaled = [f * jnp.where(later, a, b) for later, f in zip(second, factors, strict=True)]
        products = _add_pairs(scaled) if halves else 0
        if diagonal:
            products += multiply_pairs(a, b) * add_axes(jnp.eye(steps), a)
        return jnp.where(past, products, 0)

    whole, rest = parts
    of_memory = jnp.where(before[..., None], jnp.exp(whole + rest), 0)
    to_end = jnp.minimum((whole[..., -1:, :] - whole) + (rest[..., -1:, :] - rest), 0)
    at_end = jnp.where(past[..., -1, :, None], jnp.exp(to_end), 0)
    return Decay(scores, of_memory, at_end, jnp.swapaxes(of_memory[..., -1:, :], -1, -2))


@jax.custom_vjp
def _add_pairs(scaled: list[Float[Array, "*B C K"]]) -> Float[Array, "*B C C"]:
    """x_t·x_s of the pairs of each level, from blocks of two steps upwards."""
    products = (multiply_pairs(x, x) for x in scaled)
    return sum(  # pyright: ignore[reportReturnType]
        jnp.where(add_axes(corner_pairs(scaled[0].shape[-2], 1 << level), product), product, 0)
        for level, product in enumerate(products)
    )


def _add_pairs_backward(scaled: list[Array], slope: Array) -> tuple[list[Array]]:
    both = slope + jnp.swapaxes(slope, -1, -2)
    pairs = [corner_pairs(slope.shape[-1], 1 << level) for level in range(len(scaled))]
    masks = (add_axes(p | p.T, both) for p in pairs)
    return ([multiply_small(jnp.where(mask, both, 0), x) for mask, x in zip(masks, scaled, strict=True)],)


_add_pairs.defvjp(lambda scaled: (_add_pairs(scaled), scaled), _add_pairs_backward)
