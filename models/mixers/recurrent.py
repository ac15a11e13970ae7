"""Recurrent networks: Elman's, the IRNN, the LSTM and the GRU.

Each is a `step` function over one sequence, whose input projection `x_proj` is computed for all steps beforehand, and
one module holds the parameters. Gate order and formulas are those of `flax.linen`'s cells: weights can be copied over.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from models.mixers.base import Mixer, MixerOptions, Steps
from models.ops.parallel_newton import newton_scan
from models.ops.projection import Projection
from models.ops.scan import masked_scan, unrolled_scan

SOLVERS = ("sequential", "autodiff", "newton", "quasi")


def recurrent_matvec(h: Float[Array, "N"], kernel: Float[Array, "N M"]) -> Float[Array, "M"]:
    """h·U in the kernel's dtype, returned in at least float32: the carry must not lose precision at every step."""
    return (h.astype(kernel.dtype) @ kernel).astype(jnp.promote_types(kernel.dtype, jnp.float32))


@jax.custom_jvp
def diagonal_matvec(h: Float[Array, "N"], kernel: Float[Array, "N M"]) -> Float[Array, "M"]:
    """h·U whose derivative keeps only each unit's effect on its own gates, for quasi-Newton solvers.

    Nothing else in a step mixes units, so with this product the Jacobian of a step costs no more than the step.
    """
    return recurrent_matvec(h, kernel)


@diagonal_matvec.defjvp
def _diagonal_matvec_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Any]) -> tuple[Array, Array]:
    (h, kernel), (change, _) = primals, tangents
    diagonals = jnp.diagonal(kernel.reshape(len(h), -1, len(h)), axis1=0, axis2=2)  # [gates, N]
    value = recurrent_matvec(h, kernel)
    return value, (diagonals * change).reshape(-1).astype(value.dtype)


def _rnn_step(
    weights: dict[str, Array],
    carry: dict[str, Float[Array, "N"]],
    x_proj: Float[Array, "N"],
    times: Callable = recurrent_matvec,
):
    """h' = tanh(x_proj + h·U)   (Elman 1990)."""
    h = jnp.tanh(x_proj + times(carry["h"], weights["recurrent"]))
    return {"h": h}, h


def _irnn_step(
    weights: dict[str, Array],
    carry: dict[str, Float[Array, "N"]],
    x_proj: Float[Array, "N"],
    times: Callable = recurrent_matvec,
):
    """h' = relu(x_proj + h·U), with U initialized to 1   (Le, Jaitly and Hinton 2015).

    The paper initializes the other weights with a standard deviation of 0.001; here they start as in every mixer.
    """
    h = nn.relu(x_proj + times(carry["h"], weights["recurrent"]))
    return {"h": h}, h


def _lstm_units(
    pre_activations: Float[Array, "M"], c: Float[Array, "N"], disabled_gates: str
) -> tuple[Float[Array, "N"], Float[Array, "N"]]:
    """c' = σ(f)·c + σ(i)·tanh(g), h' = σ(o)·tanh(c'), from what enters the gates; returns c', h'."""
    i, f, g, o = _lstm_gates(pre_activations, disabled_gates)
    c = f * c + i * g
    return c, o * jnp.tanh(c)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _lstm_units_custom_vjp(
    pre_activations: Float[Array, "M"], c: Float[Array, "N"], disabled_gates: str
) -> tuple[Float[Array, "N"], Float[Array, "N"]]:
    """`_lstm_units` that keeps its gates and c for the backward pass, half of what `jax.vjp` would keep."""
    return _lstm_units(pre_activations, c, disabled_gates)


def _lstm_units_forward(pre_activations: Array, c: Array, disabled_gates: str) -> tuple[Any, Any]:
    gates = _lstm_gates(pre_activations, disabled_gates)
    i, f, g, o = gates
    after = f * c + i * g
    return (after, o * jnp.tanh(after)), (gates, c)


def _lstm_units_backward(disabled_gates: str, residuals: Any, cotangents: Any) -> tuple[Array, Array]:
    ((i, f, g, o), c), (d_after, d_h) = residuals, cotangents
    tanh_c = jnp.tanh(f * c + i * g)
    d_after = d_after + d_h * o * (1 - tanh_c * tanh_c)
    d_gates = {
        "i": lambda: d_after * g * i * (1 - i),
        "f": lambda: d_after * c * f * (1 - f),
        "g": lambda: d_after * i * (1 - g * g),
        "o": lambda: d_h * tanh_c * o * (1 - o),
    }
    return jnp.concatenate([d_gates[name]() for name in _lstm_gate_names(disabled_gates)]), d_after * f


_lstm_units_custom_vjp.defvjp(_lstm_units_forward, _lstm_units_backward)


def _lstm_step(
    weights: dict[str, Array],
    carry: dict[str, Float[Array, "N"]],
    x_proj: Float[Array, "M"],
    times: Callable = recurrent_matvec,
    disabled_gates: str = "",
    units: Callable = _lstm_units,
):
    """One step of the LSTM (Hochreiter and Schmidhuber 1997; Gers et al. 2000); see `_lstm_units`.

    The gates named in `disabled_gates`, of "i", "f" and "o", are held at 1 (Greff et al. 2017: NIG, NFG, NOG). They
    have no weights; the others and the candidate g follow each other in `x_proj`, in the order i, f, g, o.
    """
    c, h = units(x_proj + times(carry["h"], weights["recurrent"]), carry["c"], disabled_gates)
    return {"c": c, "h": h}, h


def _lstm_gates(pre_activations: Float[Array, "M"], disabled_gates: str) -> tuple[Any, Any, Array, Any]:
    """The gates i, f and o and the candidate g, in the order i, f, g, o; a disabled gate is 1."""
    names = _lstm_gate_names(disabled_gates)
    split = dict(zip(names, jnp.split(pre_activations, len(names)), strict=True))
    i, f, o = (nn.sigmoid(split[name]) if name in split else 1.0 for name in "ifo")
    return i, f, jnp.tanh(split["g"]), o


def _lstm_gate_names(disabled_gates: str) -> str:
    """The gates that an LSTM has weights for, in their order."""
    return "".join(name for name in "ifgo" if name not in disabled_gates)


def _gru_step(
    weights: dict[str, Array],
    carry: dict[str, Float[Array, "N"]],
    x_proj: Float[Array, "3*N"],
    times: Callable = recurrent_matvec,
):
    """n = tanh(x_n + σ(r)·(h·U_n + b)), h' = (1 − σ(z))·n + σ(z)·h   (Cho et al. 2014, reset after the product)."""
    h = carry["h"]
    _, update, new = _gru_gates(weights, times(h, weights["recurrent"]), x_proj)
    h = (1 - update) * new + update * h
    return {"h": h}, h


def _gru_gates(weights: dict[str, Array], product: Float[Array, "M"], x_proj: Float[Array, "M"]) -> Any:
    """The gates r and z and the candidate n, from h·U and the projected input."""
    (r, z, n), (r_h, z_h, n_h) = jnp.split(x_proj, 3), jnp.split(product, 3)
    update = nn.sigmoid(z + z_h)
    reset = nn.sigmoid(r + r_h)
    return reset, update, jnp.tanh(n + reset * (n_h + weights["candidate_bias"]))


class RecurrentCell(NamedTuple):
    """A step function, the number of gates that its input projection feeds, and the names of its carried vectors."""

    step: Callable
    num_gates: int
    carry_names: tuple[str, ...]


RECURRENT_CELLS = {
    "rnn": RecurrentCell(_rnn_step, 1, ("h",)),
    "irnn": RecurrentCell(_irnn_step, 1, ("h",)),
    "lstm": RecurrentCell(_lstm_step, 4, ("c", "h")),
    "gru": RecurrentCell(_gru_step, 3, ("h",)),
}


def _scan_batch(step: Callable, weights: dict[str, Array], *arrays: Any) -> tuple[dict[str, Array], Array]:
    """`masked_scan` over a batch: carry [B, N], x_proj [T, B, M], start and valid [T, B] → last carry, y [T, B, N]."""
    return jax.vmap(partial(masked_scan, partial(step, weights)), (0, 1, 1, 1), (0, 1))(*arrays)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _scan_batch_custom_vjp(step: Callable, weights: dict[str, Array], *arrays: Any) -> tuple[dict[str, Array], Array]:
    """`_scan_batch` with a custom VJP: the backward scan only stores the cotangents of the recurrent product's output.

    The gradient of its weights is then one [N, T·B]·[T·B, M] product instead of a sum inside the scan.
    """
    return _scan_batch(step, weights, *arrays)


def _scan_forward(step: Callable, weights: dict[str, Array], carry: Any, x_proj: Array, start: Array, valid: Array):
    rest = {name: w for name, w in weights.items() if name != "recurrent"}

    def run_step(carry: Any, x_proj: Array, start: Array, valid: Array) -> tuple[Any, Any]:
        def cell(carry: Any, product: Array, x_proj: Array, rest: Any) -> tuple[Any, Array]:
            return step({**weights, **rest}, carry, x_proj, times=lambda h, kernel: product)

        before = jax.tree.map(lambda c: jnp.where(start, 0, c), carry)
        product = recurrent_matvec(before["h"], weights["recurrent"])
        (after, y), pull = jax.vjp(cell, before, product, x_proj, rest)
        return jax.tree.map(lambda new, old: jnp.where(valid, new, old), after, before), (y, before["h"], pull)

    xs = x_proj, start, valid
    carry, (y, h, pull) = unrolled_scan(lambda carry, x: jax.vmap(run_step)(carry, *x), carry, xs)
    return (carry, y), (weights, h, pull, start, valid)


def _scan_backward(step: Callable, residuals: Any, cotangents: Any):
    (weights, h, pulls, start, valid), (d_carry, d_y) = residuals, cotangents
    kernel = weights["recurrent"]
    transposed = jax.lax.optimization_barrier(kernel.T)  # laid out once, and not at every step

    def pull_back_step(d_carry: Any, pull: Callable, start: Array, valid: Array, d_y: Array) -> tuple[Any, Any]:
        d_after = jax.tree.map(lambda d: jnp.where(valid, d, 0), d_carry)
        d_before, d_product, d_x_proj, d_rest = pull((d_after, d_y))
        d_h = (d_product.astype(kernel.dtype) @ transposed).astype(d_product.dtype)
        d_before = {**d_before, "h": d_before["h"] + d_h}
        d_before = jax.tree.map(lambda d, unchanged: jnp.where(valid, d, unchanged), d_before, d_carry)
        # Where a step adds its input to the product, their cotangents are one array, which is then stored once.
        d_x_proj = None if d_x_proj is d_product else d_x_proj
        return jax.tree.map(lambda d: jnp.where(start, 0, d), d_before), (d_product, d_x_proj, d_rest)

    def run_backward(carried: Any, inputs: Any) -> tuple[Any, Any]:
        d_carry, d_rest = carried
        d_carry, (d_product, d_x_proj, more) = jax.vmap(pull_back_step)(d_carry, *inputs)
        return (d_carry, jax.tree.map(lambda d, m: d + m.sum(axis=0), d_rest, more)), (d_product, d_x_proj)

    no_gradient = {name: jnp.zeros_like(w) for name, w in weights.items() if name != "recurrent"}
    inputs = (pulls, start, valid, d_y)
    (d_carry, d_rest), (d_product, d_x_proj) = unrolled_scan(run_backward, (d_carry, no_gradient), inputs, reverse=True)
    rows = (a.reshape(-1, a.shape[-1]).astype(kernel.dtype) for a in (h, d_product))  # flattened: see ops.projection
    d_kernel = jnp.einsum("rn,rm->nm", *rows)
    d_x_proj = d_product if d_x_proj is None else d_x_proj
    return {**d_rest, "recurrent": d_kernel}, d_carry, d_x_proj, None, None


_scan_batch_custom_vjp.defvjp(_scan_forward, _scan_backward)


class Recurrence(Mixer, kw_only=True):
    """A recurrent network: width → gates → a state of `hidden_size` units → width. Streaming costs the same forever.

    `solver` says how the steps are run. "sequential" is a scan with a custom backward pass; "autodiff" is the scan
    alone, which also allows forward-mode differentiation. "newton" and "quasi" solve for all steps at once by Newton's
    method, with full Jacobians or with each unit's own part of them; a `NewtonReport` for each row is then sown as
    "newton" among the "intermediates". Neither converges with products in bfloat16; the steps are then scanned.
    """

    cell: str
    forget_bias: float = 1.0
    disabled_gates: str = ""
    solver: str = "sequential"

    VERSION = 1

    @classmethod
    def validate(cls, options: MixerOptions) -> None:
        options.check_choice("solver", SOLVERS)
        if options["solver"] in ("newton", "quasi") and options.model["dtype"] != "float32":
            raise options.error(
                "solver",
                f"does not converge with products in {options.model['dtype']}; use sequential, or model.dtype=float32",
            )
        if unknown := sorted(set(options["disabled_gates"]) - set("ifo")):
            raise options.error("disabled_gates", f"{unknown[0]} is none of the gates i, f and o")
        if not math.isfinite(options["forget_bias"]):
            raise options.error("forget_bias", "must be a number")
        if "f" in options["disabled_gates"]:
            options.refuse_idle("forget_bias", f"without f in model.{options.name}.disabled_gates")

    def empty_state(self, batch_size: int) -> dict[str, Any]:
        names = RECURRENT_CELLS[self.cell].carry_names
        return {"carry": {name: jnp.zeros((batch_size, self.hidden_size)) for name in names}}

    def _count_gates(self) -> int:
        if self.cell == "lstm":
            return len(_lstm_gate_names(self.disabled_gates))
        return RECURRENT_CELLS[self.cell].num_gates

    def product_matrices(self) -> dict[str, int]:
        gates = self._count_gates()
        return {"input/kernel": gates, "recurrent": gates, "output/kernel": 1}

    @nn.compact
    def mix(
        self, x: Float[Array, "B T D"], state: dict[str, Any], steps: Steps
    ) -> tuple[Float[Array, "B T D"], dict[str, Any]]:
        cell, is_lstm = RECURRENT_CELLS[self.cell], self.cell == "lstm"
        size = self._count_gates() * self.hidden_size
        x = x.swapaxes(0, 1)  # time first, so that a step's rows lie side by side
        x_proj = Projection(size, dtype=self.dtype, bias_init=self._init_bias, name="input")(x).astype(jnp.float32)
        init_recurrent = _init_identity if self.cell == "irnn" else init_orthogonal
        weights = {"recurrent": self.param("recurrent", init_recurrent, (self.hidden_size, size)).astype(self.dtype)}
        if self.cell == "gru":
            weights["candidate_bias"] = self.param("candidate_bias", nn.initializers.zeros, (self.hidden_size,))

        step = partial(cell.step, disabled_gates=self.disabled_gates) if is_lstm else cell.step
        arrays = state["carry"], x_proj, steps.start.T, steps.valid.T
        if self.solver == "sequential":
            step = partial(step, units=_lstm_units_custom_vjp) if is_lstm else step
            results: Any = _scan_batch_custom_vjp(step, weights, *arrays)
            carry, y = results
        elif self.solver == "autodiff" or len(x) == 1:
            carry, y = _scan_batch(step, weights, *arrays)
        else:
            method: dict[str, Any] = {}
            if self.solver == "quasi":
                method = {"method": "quasi", "diagonal_step": partial(step, weights, times=diagonal_matvec)}
            solve = jax.vmap(partial(newton_scan, partial(step, weights), **method), (0, 1, 1, 1), (0, 1, 0))
            carry, y, report = solve(*arrays)
            self.sow("intermediates", "newton", report)
        if self.is_mutable_collection("intermediates") and self.cell in ("lstm", "gru"):
            self.sow_recurrence(gates=self._gate_values(weights, state["carry"]["h"], x_proj, y))
        y = Projection(self.width, dtype=self.dtype, name="output")(y)
        return y.swapaxes(0, 1), {"carry": carry}

    def _gate_values(
        self,
        weights: dict[str, Array],
        first: Float[Array, "B N"],
        x_proj: Float[Array, "T B M"],
        h: Float[Array, "T B N"],
    ) -> dict[str, Float[Array, "B T N"]]:
        """The gates of the LSTM or the GRU by name, from the states `h`; rows must have one sequence from its start."""
        before = jnp.concatenate([first[None], h[:-1]])
        product = jax.vmap(jax.vmap(recurrent_matvec, (0, None)), (0, None))(before, weights["recurrent"])
        if self.cell == "gru":
            values = jax.vmap(jax.vmap(partial(_gru_gates, weights)))(product, x_proj)
            names = ("reset", "update")
        else:
            gates = partial(_lstm_gates, disabled_gates=self.disabled_gates)
            i, f, _, o = jax.vmap(jax.vmap(gates))(x_proj + product)
            values, names = (i, f, o), ("input", "forget", "output")
        return {name: value.swapaxes(0, 1) for name, value in zip(names, values, strict=False) if jnp.ndim(value) > 2}

    def _init_bias(self, key: PRNGKeyArray, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
        """Zeros, and `forget_bias` for the LSTM's forget gate (Gers et al. 2000; Jozefowicz et al. 2015)."""
        zeros = jnp.zeros(shape, dtype)
        if self.cell != "lstm" or "f" in self.disabled_gates:
            return zeros
        begin = self.hidden_size * _lstm_gate_names(self.disabled_gates).index("f")
        return zeros.at[begin : begin + self.hidden_size].set(self.forget_bias)


def _init_identity(key: PRNGKeyArray, shape: tuple[int, int], dtype: Any = jnp.float32) -> Array:
    return jnp.eye(*shape, dtype=dtype)


def init_orthogonal(key: PRNGKeyArray, shape: tuple[int, int], dtype: Any = jnp.float32) -> Array:
    """An orthogonal [N, N] matrix for each gate, side by side."""
    n, columns = shape
    keys = jax.random.split(key, columns // n)
    return jnp.concatenate([nn.initializers.orthogonal()(k, (n, n), dtype) for k in keys], axis=1)
