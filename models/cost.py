"""The cost of a model, computed from the model itself: parameters, state size, operations, critical path."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.extend.core
import jax.numpy as jnp


def count_params(tree: Any) -> int:
    """The number of trained numbers."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def count_mixer_params(params: dict) -> int:
    """The parameters of the mixers alone."""
    stacks = [params[name] for name in ("encoder", "decoder") if name in params] or [params]
    mixers = [part for s in stacks for name, part in s.items() if name.startswith("mixer_") and "norm" not in name]
    return sum(map(count_params, mixers))


def count_state_floats(state: Any) -> int:
    """How many real numbers a model carries from one token to the next. A complex number counts as two; integers, which
    only keep count, don't count."""
    sizes = {jnp.floating: 1, jnp.complexfloating: 2}
    return sum(
        math.prod(leaf.shape) * size
        for leaf in jax.tree.leaves(state)
        for kind, size in sizes.items()
        if jnp.issubdtype(leaf.dtype, kind)
    )


# Operations that only move numbers. Every other operation with a floating-point result counts as arithmetic.
_DATA_MOVEMENT = {
    *("broadcast_in_dim", "reshape", "transpose", "squeeze", "slice", "concatenate", "pad", "rev", "split", "copy"),
    *("gather", "scatter", "dynamic_slice", "dynamic_update_slice", "convert_element_type", "select_n", "iota"),
    *("real", "imag", "complex", "stop_gradient", "optimization_barrier"),
}


def count_flops(function: Callable, *args: Any) -> int:
    """Floating-point operations in `function(*args)`; args may be ShapeDtypeStructs.

    They are counted in the jaxpr, where the body of a scan counts as often as it runs, unlike in XLA's own count.

    - A matrix product or a convolution (with the zeros at its edges) counts 2 for each term; for complex numbers, 8.
    - Scatter-adds and reductions over windows count 1 for each number that is added.
    - Any other arithmetic (exp as well as +) counts 1 for each number that it reads or writes, whichever are more; for
      complex numbers 2, and 6 for a product.
    - A while loop, whose length is unknown, counts once. Of the branches of a condition the most expensive counts, and
      of implementations for several platforms the last, which is the one for accelerators where it matters.
    """
    return sum(op_counts(function, *args))


def op_counts(function: Callable, *args: Any) -> tuple[int, int]:
    """The operations of matrix products, and those of everything else, counted as in `count_flops`."""
    return _count_ops(jax.make_jaxpr(function)(*args).jaxpr)[:2]


def bytes_moved(function: Callable, *args: Any, include_arguments: bool = True) -> int:
    """A lower bound on the bytes that `function(*args)` moves: operands and results of each matrix product as often as
    it runs, and with `include_arguments` the arguments and results of the whole. Leave those out where results are
    written over arguments that mostly stay the same.

    Operations between products are taken to be fused into them. Of a condition's branches with the most products, the
    one that moves least counts.
    """
    jaxpr = jax.make_jaxpr(function)(*args).jaxpr
    return _count_ops(jaxpr)[2] + include_arguments * sum(map(_byte_size, (*jaxpr.invars, *jaxpr.outvars)))


def _byte_size(variable: Any) -> int:
    return math.prod(variable.aval.shape) * variable.aval.dtype.itemsize


def critical_path(function: Callable, *args: Any) -> int:
    """The critical path: the longest chain of operations that each depend on the one before, on any number of cores.

    A product or a sum over any number of terms is one operation, and moving numbers is none. The body of a scan is
    followed through its carry, as often as it runs.
    """
    jaxpr = jax.make_jaxpr(function)(*args).jaxpr
    return max(_output_depths(jaxpr, [0] * len(jaxpr.invars)), default=0)


def _count_ops(jaxpr: Any) -> tuple[int, int, int]:
    """The operations of products, those of everything else, and the bytes that products read and write."""
    products = others = moved = 0
    for equation in jaxpr.eqns:
        name, hidden_size = equation.primitive.name, [_count_ops(j) for j in inner_jaxprs(equation)]
        if name.startswith(("scatter", "reduce_window")) or name == "reduce":  # the inner jaxpr is for a single number
            others += _reduction_ops(equation)
        elif hidden_size:
            times = equation.params["length"] if name == "scan" else 1
            if equation.params.get("branches_platforms"):
                hidden_size = hidden_size[-1:]
            elif name == "cond":
                most = max(one[0] for one in hidden_size)
                costs_most = max(hidden_size, key=lambda one: one[0] + one[1])
                hidden_size = [(*costs_most[:2], min(one[2] for one in hidden_size if one[0] == most))]
            products += times * sum(one[0] for one in hidden_size)
            others += times * sum(one[1] for one in hidden_size)
            moved += times * sum(one[2] for one in hidden_size)
        elif name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            left = equation.invars[0].aval.shape
            terms = math.prod(left[axis] for axis in contracted)
            products += 2 * terms * math.prod(equation.outvars[0].aval.shape) * _real_ops(equation, 4)
            moved += sum(map(_byte_size, (*equation.invars, *equation.outvars)))
        elif name == "conv_general_dilated":
            kernel = equation.invars[1].aval.shape  # each output sums over all axes but that of the outputs
            terms = math.prod(kernel) // kernel[equation.params["dimension_numbers"].rhs_spec[0]]
            products += 2 * terms * math.prod(equation.outvars[0].aval.shape) * _real_ops(equation, 4)
            moved += sum(map(_byte_size, (*equation.invars, *equation.outvars)))
        elif name == "triangular_solve":
            products += math.prod(equation.outvars[0].aval.shape) * equation.invars[0].aval.shape[-1]
        elif _is_arithmetic(equation):
            sizes = [math.prod(v.aval.shape) for v in (*equation.outvars, *equation.invars)]
            others += max(sizes) * _real_ops(equation, 6 if name == "mul" else 2)
    return products, others, moved


def _reduction_ops(equation: Any) -> int:
    """The operations of a scatter or a reduction, by whatever function it combines two numbers."""
    if not _is_arithmetic(equation):
        return 0
    name, size = equation.primitive.name, sum(math.prod(v.aval.shape) for v in equation.outvars)
    if name.startswith("scatter"):
        times = math.prod(equation.invars[2].aval.shape)
    elif name == "reduce":
        times = math.prod(equation.invars[0].aval.shape) * len(equation.outvars)
    else:
        times = size * math.prod(equation.params["window_dimensions"])
    return times * _real_ops(equation, 2)


def _output_depths(jaxpr: Any, given: list[int]) -> list[int]:
    """The length of the chain behind each output, if those behind the inputs are `given`."""
    at: dict[Any, int] = dict(zip(jaxpr.invars, given, strict=True))
    for equation in jaxpr.eqns:
        name, hidden_size = equation.primitive.name, inner_jaxprs(equation)
        before = [0 if isinstance(v, jax.extend.core.Literal) else at.get(v, 0) for v in equation.invars]
        if name == "scan":
            after = _scan_depths(equation, hidden_size[0], before)
        elif name == "cond":
            hidden_size = hidden_size[-1:] if equation.params.get("branches_platforms") else hidden_size
            after = [max(column) for column in zip(*(_output_depths(j, before[1:]) for j in hidden_size), strict=True)]
            after = [max(one, before[0]) for one in after]
        elif name == "while":
            after = _output_depths(equation.params["body_jaxpr"].jaxpr, before[equation.params["cond_nconsts"] :])
        elif hidden_size and len(hidden_size[0].invars) == len(before):
            after = _output_depths(hidden_size[0], before)
        else:
            after = [max(before, default=0) + _equation_depth(equation)] * len(equation.outvars)
        at.update(zip(equation.outvars, after, strict=True))
    return [0 if isinstance(v, jax.extend.core.Literal) else at.get(v, 0) for v in jaxpr.outvars]


def _equation_depth(equation: Any) -> int:
    """The length of the chain of dependent operations within one equation."""
    if not _is_arithmetic(equation):
        return 0
    shape: tuple[int, ...] = equation.invars[0].aval.shape if equation.invars else (1,)
    if equation.primitive.name == "triangular_solve":
        return shape[-1]
    if equation.primitive.name.startswith("cum"):  # a cumulative sum, in a tree
        return math.ceil(math.log2(max(2, shape[equation.params["axis"]])))
    return 1


def _scan_depths(equation: Any, body: Any, before: list[int]) -> list[int]:
    # Told apart by their number of axes, since jax 0.12 names them differently: scanned arrays have one more outside.
    along = sum(a.aval.ndim != b.aval.ndim for a, b in zip(equation.invars, body.invars, strict=True))
    carried = sum(a.aval.ndim == b.aval.ndim for a, b in zip(equation.outvars, body.outvars, strict=True))
    constants = len(body.invars) - carried - along
    fixed, carry, xs = before[:constants], before[constants : constants + carried], before[constants + carried :]
    ys: list[int] = [0] * (len(body.outvars) - carried)
    for _ in range(equation.params["length"]):
        after = _output_depths(body, [*fixed, *carry, *xs])
        carry, ys = after[:carried], [max(pair) for pair in zip(ys, after[carried:], strict=True)]
    return [*carry, *ys]


def _is_arithmetic(equation: Any) -> bool:
    floating = any(jnp.issubdtype(v.aval.dtype, jnp.inexact) for v in equation.outvars if hasattr(v.aval, "dtype"))
    return floating and equation.primitive.name not in _DATA_MOVEMENT


def _real_ops(equation: Any, of_complex: int) -> int:
    """How many real operations one of these is: `of_complex` if its result is complex, else 1."""
    return of_complex if any(jnp.issubdtype(v.aval.dtype, jnp.complexfloating) for v in equation.outvars) else 1


def inner_jaxprs(equation: Any) -> list[Any]:
    """The jaxprs that an equation contains."""
    return [j for value in equation.params.values() for j in _jaxprs_in(value)]


def _jaxprs_in(value: Any) -> list[Any]:
    """The jaxprs in a parameter of an equation: a jaxpr, a closed jaxpr, or a sequence of them."""
    if isinstance(value, (tuple, list)):
        return [j for item in value for j in _jaxprs_in(item)]
    value = getattr(value, "jaxpr", value)
    return [value] if hasattr(value, "eqns") else []


def search_monotone(count: Callable[[int], int], target: int, upper_bound: int = 4096) -> int:
    """The n in 1 … `upper_bound` whose `count(n)`, which grows with n, is nearest to `target`, by bisection."""
    low, high = 1, upper_bound
    while low < high:
        middle = (low + high) // 2
        if count(middle) < target:
            low = middle + 1
        else:
            high = middle
    return min((n for n in (low - 1, low) if n >= 1), key=lambda n: abs(count(n) - target))
