"""What a model costs, read off the model itself: parameters, floats of state, floating-point operations, depth."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.extend.core
import jax.numpy as jnp


def count_params(tree: Any) -> int:
    """How many numbers are trained."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def count_mixer_params(params: dict) -> int:
    """Those of the mixers alone."""
    stacks = [params[name] for name in ("encoder", "decoder") if name in params] or [params]
    mixers = [part for s in stacks for name, part in s.items() if name.startswith("mixer_") and "norm" not in name]
    return sum(map(count_params, mixers))


def count_state_floats(state: Any) -> int:
    """How many real numbers a model carries from one token to the next; integers that only keep count don't, and a
    complex number is two."""
    sizes = {jnp.floating: 1, jnp.complexfloating: 2}
    return sum(
        math.prod(leaf.shape) * size
        for leaf in jax.tree.leaves(state)
        for kind, size in sizes.items()
        if jnp.issubdtype(leaf.dtype, kind)
    )


# What moves numbers and computes none. Beside these, every operation with a floating result is arithmetic.
_DATA_MOVEMENT = {
    *("broadcast_in_dim", "reshape", "transpose", "squeeze", "slice", "concatenate", "pad", "rev", "split", "copy"),
    *("gather", "scatter", "dynamic_slice", "dynamic_update_slice", "convert_element_type", "select_n", "iota"),
    *("real", "imag", "complex", "stop_gradient", "optimization_barrier"),
}


def count_flops(function: Callable, *args: Any) -> int:
    """Floating-point operations in `function(*args)`; args may be ShapeDtypeStructs.

    Counted in the jaxpr, with a scan's body as often as it runs, which XLA's own counter does not do. A product of
    matrices, or a convolution, whose zeros at the edges count too, counts two for each term; sums at places and over
    windows count one for each number that is added; anything else that computes (exp as well as +) one for each number
    it reads or makes, whichever are more. A complex number counts as two, a complex product as six, a term of one as
    eight. A while loop, whose length is not known, counts once; of a condition's branches the one that costs most, and
    of forms for several platforms the last, that of accelerators where it matters.
    """
    return sum(op_counts(function, *args))


def op_counts(function: Callable, *args: Any) -> tuple[int, int]:
    """The `count_flops` of matrix products, and those of everything else."""
    return _count_ops(jax.make_jaxpr(function)(*args).jaxpr)[:2]


def bytes_moved(function: Callable, *args: Any, include_arguments: bool = True) -> int:
    """Bytes that `function(*args)` must move, at the least: each matrix product's operands and result, as often as it
    runs, and with `include_arguments` the arguments and results of the whole; leave these out where results are
    written over arguments, most of which stay as they are. What lies between products is taken to be fused into them;
    of a condition's branches that multiply most, the one that moves least counts."""
    jaxpr = jax.make_jaxpr(function)(*args).jaxpr
    return _count_ops(jaxpr)[2] + include_arguments * sum(map(_byte_size, (*jaxpr.invars, *jaxpr.outvars)))


def _byte_size(variable: Any) -> int:
    return math.prod(variable.aval.shape) * variable.aval.dtype.itemsize


def critical_path(function: Callable, *args: Any) -> int:
    """The longest chain of operations of which each needs the one before: what no number of cores can shorten.

    Counted as `count_flops` are; a product or a sum over any number of terms is one operation of the chain, and what
    moves numbers is none. A scan's body is followed through its carry, as often as it runs.
    """
    jaxpr = jax.make_jaxpr(function)(*args).jaxpr
    return max(_output_depths(jaxpr, [0] * len(jaxpr.invars)), default=0)


def _count_ops(jaxpr: Any) -> tuple[int, int, int]:
    """Operations of products, of all else, and the bytes that products read and write."""
    products = others = moved = 0
    for equation in jaxpr.eqns:
        name, hidden_size = equation.primitive.name, [_count_ops(j) for j in _inner_jaxprs(equation)]
        if name.startswith(("scatter", "reduce_window")) or name == "reduce":  # what is within is for one number
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
            kernel = equation.invars[1].aval.shape  # of which each output sums over all but the outputs' own axis
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
    """Operations of an update at places, or of a reduction, whatever they combine two numbers by."""
    if not _is_arithmetic(equation):
        return 0
    name, made = equation.primitive.name, sum(math.prod(v.aval.shape) for v in equation.outvars)
    if name.startswith("scatter"):
        times = math.prod(equation.invars[2].aval.shape)
    elif name == "reduce":
        times = math.prod(equation.invars[0].aval.shape) * len(equation.outvars)
    else:
        times = made * math.prod(equation.params["window_dimensions"])
    return times * _real_ops(equation, 2)


def _output_depths(jaxpr: Any, given: list[int]) -> list[int]:
    """How long the chain behind each output is, if those behind the inputs are `given`."""
    at: dict[Any, int] = dict(zip(jaxpr.invars, given, strict=True))
    for equation in jaxpr.eqns:
        name, hidden_size = equation.primitive.name, _inner_jaxprs(equation)
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
    """How many operations one after another this one is."""
    if not _is_arithmetic(equation):
        return 0
    shape: tuple[int, ...] = equation.invars[0].aval.shape if equation.invars else (1,)
    if equation.primitive.name == "triangular_solve":
        return shape[-1]
    if equation.primitive.name.startswith("cum"):  # a scan of sums, by halves
        return math.ceil(math.log2(max(2, shape[equation.params["axis"]])))
    return 1


def _scan_depths(equation: Any, body: Any, before: list[int]) -> list[int]:
    # Told apart by shape, since jax 0.12 names them otherwise: what a scan walks along has an axis more outside.
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
    """How many operations on real numbers one of these is: `of_complex` where its result is complex."""
    return of_complex if any(jnp.issubdtype(v.aval.dtype, jnp.complexfloating) for v in equation.outvars) else 1


def _inner_jaxprs(equation: Any) -> list[Any]:
    """The jaxprs that an equation runs."""
    return [j for value in equation.params.values() for j in _jaxprs_in(value)]


def _jaxprs_in(value: Any) -> list[Any]:
    """The jaxprs in a parameter of an equation, which may be one, a closed one, or a sequence of them."""
    if isinstance(value, (tuple, list)):
        return [j for item in value for j in _jaxprs_in(item)]
    value = getattr(value, "jaxpr", value)
    return [value] if hasattr(value, "eqns") else []


def search_monotone(count: Callable[[int], int], target: int, upper_bound: int = 4096) -> int:
    """The n in 1 … `upper_bound` whose `count(n)`, which grows with n, is nearest to `target`."""
    low, high = 1, upper_bound
    while low < high:
        middle = (low + high) // 2
        if count(middle) < target:
            low = middle + 1
        else:
            high = middle
    return min((n for n in (low - 1, low) if n >= 1), key=lambda n: abs(count(n) - target))
