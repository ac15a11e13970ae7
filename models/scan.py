"""One recurrence over a sequence whose state starts anew with each segment and stands still over padding."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

Carry = Any  # a pytree of arrays


def boundaries(
    segments: Int[Array, "T"], last: Int[Array, ""]
) -> tuple[Bool[Array, "T"], Bool[Array, "T"], Int[Array, ""]]:
    """Where a segment starts, where a step is no padding, and the segment that the sequence ends in.

    `last` is the segment that the steps before these ended in (0: there were none), so that a sequence can be cut
    into chunks anywhere.
    """
    valid = segments != 0
    running = jax.lax.associative_scan(lambda a, b: jnp.where(b != 0, b, a), jnp.concatenate([last[None], segments]))
    return valid & (segments != running[:-1]), valid, running[-1]


def sequential(
    step: Callable[[Carry, Any], tuple[Carry, Any]],
    carry: Carry,
    xs: Any,
    start: Bool[Array, "T"],
    valid: Bool[Array, "T"],
) -> tuple[Carry, Any]:
    """`carry, y = step(carry, x)` over the leading axis of `xs`: the carry is zeroed at a `start`, held where not
    `valid`. Returns the final carry and the ys, which mean nothing where not `valid`."""

    def masked(carry, inputs):
        x, start, valid = inputs
        before = jax.tree.map(lambda c: jnp.where(start, 0, c), carry)
        after, y = step(before, x)
        return jax.tree.map(lambda new, old: jnp.where(valid, new, old), after, before), y

    return jax.lax.scan(masked, carry, (xs, start, valid))
