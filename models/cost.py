"""What a model costs, read off the model itself: parameters, floats of state, floating-point operations."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def parameters(tree: Any) -> int:
    """How many numbers are trained."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def mixer_parameters(params: dict) -> int:
    """Those of the mixers alone."""
    return sum(parameters(part) for name, part in params.items() if name.startswith("mixer_") and "norm" not in name)


def state_floats(state: Any) -> int:
    """How many real numbers a model carries from one token to the next; integers that only keep count don't."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(state) if jnp.issubdtype(leaf.dtype, jnp.floating))


def flops(function: Callable, *args: Any) -> int:
    """Floating-point operations of the matrix products in `function(*args)`; args may be ShapeDtypeStructs.

    Counted in the jaxpr, with a scan's body as often as it runs, which XLA's own counter does not do. A while loop,
    whose length is not known, counts once; of a condition's branches the first in the program counts that costs most.
    """
    return _flops(jax.make_jaxpr(function)(*args).jaxpr)


def _flops(jaxpr: Any) -> int:
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            left = equation.invars[0].aval.shape
            depth = math.prod(left[axis] for axis in contracted)
            total += 2 * depth * math.prod(equation.outvars[0].aval.shape)
            continue
        inner = [_flops(j) for value in equation.params.values() for j in _jaxprs(value)]
        if equation.primitive.name == "cond":
            total += max(inner, default=0)
        else:
            total += sum(inner) * (equation.params["length"] if equation.primitive.name == "scan" else 1)
    return total


def _jaxprs(value: Any) -> list[Any]:
    """The jaxprs in a parameter of an equation, which may be one, a closed one, or a sequence of them."""
    if isinstance(value, (tuple, list)):
        return [j for item in value for j in _jaxprs(item)]
    value = getattr(value, "jaxpr", value)
    return [value] if hasattr(value, "eqns") else []


def closest(count: Callable[[int], int], target: int, largest: int = 4096) -> int:
    """The n in 1 … `largest` whose `count(n)`, which grows with n, is nearest to `target`."""
    low, high = 1, largest
    while low < high:
        middle = (low + high) // 2
        if count(middle) < target:
            low = middle + 1
        else:
            high = middle
    return min((n for n in (low - 1, low) if n >= 1), key=lambda n: abs(count(n) - target))
