"""Parameters spread over devices: along which axis, and whole again where they are computed with.

What is here acts in functions that are traced for a mesh with an automatic axis "params", and nowhere else.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
from jaxtyping import Array

MIN_SPREAD_SIZE = 1024  # numbers; a smaller array takes longer to gather than to keep


def param_axis(shape: Sequence[int], devices: int) -> int | None:
    """The axis along which an array of this shape is split over `devices`, or None if it is not.

    It is the largest axis that they divide, the first of equal ones. Arrays of fewer than `MIN_SPREAD_SIZE` numbers
    are not split.
    """
    sizes = [(size, -axis) for axis, size in enumerate(shape) if size % devices == 0]
    if devices == 1 or not sizes or math.prod(shape) < MIN_SPREAD_SIZE:
        return None
    return -max(sizes)[1]


def param_spec(shape: Sequence[int], devices: int) -> jax.P:
    """`param_axis` as a spec of one member's array."""
    axis = param_axis(shape, devices)
    return jax.P() if axis is None else jax.P(*[None] * axis, "params")


def automatic_axes() -> dict[str, int]:
    """The axes over which the compiler splits the function being traced: none outside of `map_over_ensemble`."""
    mesh = jax.sharding.get_abstract_mesh()
    return {name: size for name, size in dict(mesh.shape).items() if name not in mesh.manual_axes and size > 1}


def is_spread() -> bool:
    """Whether parameters are spread in the function being traced."""
    return "params" in automatic_axes()


def gather_params(params: Any, is_gathered: Callable[[Any], bool] = lambda path: True) -> Any:
    """The parameters of one member, whole on each device; their gradients are split as the parameters were.

    The gradient of a parameter is then summed over the devices and split at once, and none has it whole for longer.
    Parameters for whose path `is_gathered` is False are left as they are.
    """
    devices = automatic_axes().get("params", 1)
    if devices == 1:
        return params
    return jax.tree.map_with_path(
        lambda path, leaf: _gather(param_spec(leaf.shape, devices), leaf) if is_gathered(path) else leaf, params
    )


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _gather(spec: jax.P, leaf: Array) -> Array:
    # The first constraint keeps the compiler from having the array whole from the start: the second one, if it were
    # alone, would count for the array that it is given too.
    return jax.lax.with_sharding_constraint(jax.lax.with_sharding_constraint(leaf, spec), jax.P())


def _gather_forward(spec: jax.P, leaf: Array) -> tuple[Array, None]:
    return _gather(spec, leaf), None


def _gather_backward(spec: jax.P, _: None, gradient: Array) -> tuple[Array]:
    return (jax.lax.with_sharding_constraint(gradient, spec),)


_gather.defvjp(_gather_forward, _gather_backward)
