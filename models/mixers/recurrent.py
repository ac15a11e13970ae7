"""Recurrent networks: Elman's, the IRNN, the LSTM and the GRU.

Each is a `step` over one sequence, with its input product already formed for all steps at once, and one module that
holds the parameters. Gate order and formulas are those of `flax.linen`'s cells, so that weights can be copied over.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from models.ops.parallel_newton import newton_scan
from models.ops.projection import Projection
from models.ops.scan import masked_scan, resume_state, segment_boundaries, unrolled_scan

SOLVERS = ("sequential", "autodiff", "newton", "quasi")


def recurrent_matvec(h: Float[Array, "N"], kernel: Float[Array, "N M"]) -> Float[Array, "M"]:
    """h·U in the kernel's type, returned as float32 or finer: what is carried must not get coarser with every step."""
    return (h.astype(kernel.dtype) @ kernel).astype(jnp.promote_types(kernel.dtype, jnp.float32))


@jax.custom_jvp
def diagonal_matvec(h: Float[Array, "N"], kernel: Float[Array, "N M"]) -> Float[Array, "M"]:
    """h·U, but each unit's derivative is that of its own gates alone: what a quasi-Newton solver goes by.

    Nothing else in a step mixes units, so that with this product a step's Jacobian costs no more than the step.
    """
    return recurrent_matvec(h, kernel)


@diagonal_matvec.defjvp
def _diagonal_matvec_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Any]) -> tuple[Array, Array]:
    (h, kernel), (change, _) = primals, tangents
    own = jnp.diagonal(kernel.reshape(len(h), -1, len(h)), axis1=0, axis2=2)  # [gates, N]: what a unit gives its own
    value = recurrent_matvec(h, kernel)
    return value, (own * change).reshape(-1).astype(value.dtype)


def _rnn_step(
    weights: dict[str, Array],
    carry: dict[str, Float[Array, "N"]],
    drive: Float[Array, "N"],
    times: Callable = recurrent_matvec,
):
    """h' = tanh(drive + h·U)   (Elman 1990)."""
    h = jnp.tanh(drive + times(carry["h"], weights["recurrent"]))
    return {"h": h}, h


def _irnn_step(
    weights: dict[str, Array],
    carry: dict[str, Float[Array, "N"]],
    drive: Float[Array, "N"],
    times: Callable = recurrent_matvec,
):
    """h' = relu(drive + h·U), with U = 1 to begin with   (Le, Jaitly and Hinton 2015).

    Unlike there, where the other weights start at a standard deviation of 0.001, they start as every mixer's do.
    """
    h = nn.relu(drive + times(carry["h"], weights["recurrent"]))
    return {"h": h}, h


def _lstm_step(
    weights: dict[str, Array],
    carry: dict[str, Float[Array, "N"]],
    drive: Float[Array, "M"],
    times: Callable = recurrent_matvec,
    disabled_gates: str = "",
):
    """c' = σ(f)·c + σ(i)·tanh(g), h' = σ(o)·tanh(c')   (Hochreiter and Schmidhuber 1997; Gers et al. 2000).

    The gates named in `disabled_gates`, of "i", "f" and "o", are held at 1 (Greff et al. 2017: NIG, NFG, NOG). They
    have no weights; the others and the candidate g follow each other in `drive`, in the order i, f, g, o.
    """
    names = _lstm_gate_names(disabled_gates)
    driven = jnp.split(drive + times(carry["h"], weights["recurrent"]), len(names))
    gates = {name: jnp.tanh(x) if name == "g" else nn.sigmoid(x) for name, x in zip(names, driven, strict=True)}
    i, f, o = (gates.get(name, 1.0) for name in "ifo")
    c = f * carry["c"] + i * gates["g"]
    h = o * jnp.tanh(c)
    return {"c": c, "h": h}, h


def _lstm_gate_names(disabled_gates: str) -> str:
    """What an LSTM has weights for."""
    return "".join(name for name in "ifgo" if name not in disabled_gates)


def _gru_step(
    weights: dict[str, Array],
    carry: dict[str, Float[Array, "N"]],
    drive: Float[Array, "3*N"],
    times: Callable = recurrent_matvec,
):
    """n = tanh(drive_n + σ(r)·(h·U_n + b)), h' = (1 − σ(z))·n + σ(z)·h   (Cho et al. 2014, reset after the product)."""
    h = carry["h"]
    r, z, n = jnp.split(drive, 3)
    r_h, z_h, n_h = jnp.split(times(h, weights["recurrent"]), 3)
    update = nn.sigmoid(z + z_h)
    new = jnp.tanh(n + nn.sigmoid(r + r_h) * (n_h + weights["candidate_bias"]))
    h = (1 - update) * new + update * h
    return {"h": h}, h


class RecurrentCell(NamedTuple):
    """A step, the number of gates that its input product feeds, and the names of its carried vectors."""

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
    """`sequential` over a batch: carry [B, N], drive [B, T, M], start and valid [B, T] → last carry, y [B, T, N]."""
    return jax.vmap(partial(masked_scan, partial(step, weights)))(*arrays)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _scan_batch_custom_vjp(step: Callable, weights: dict[str, Array], *arrays: Any) -> tuple[dict[str, Array], Array]:
    """`_scan_batch`, with a backward pass of its own: on the way back through time each step gives no more than what
    reaches its products, and the weights' gradient is one product over all steps and sequences."""
    return _scan_batch(step, weights, *arrays)


def _scan_forward(step: Callable, weights: dict[str, Array], carry: Any, drive: Array, start: Array, valid: Array):
    rest = {name: w for name, w in weights.items() if name != "recurrent"}

    def one(carry: Any, drive: Array, start: Array, valid: Array) -> tuple[Any, Any]:
        def cell(carry: Any, produced: Array, drive: Array, rest: Any) -> tuple[Any, Array]:
            return step({**weights, **rest}, carry, drive, times=lambda h, kernel: produced)

        before = jax.tree.map(lambda c: jnp.where(start, 0, c), carry)
        produced = recurrent_matvec(before["h"], weights["recurrent"])
        (after, y), pull = jax.vjp(cell, before, produced, drive, rest)
        return jax.tree.map(lambda new, old: jnp.where(valid, new, old), after, before), (y, before["h"], pull)

    xs = jax.tree.map(lambda a: a.swapaxes(0, 1), (drive, start, valid))
    carry, (y, h, pull) = unrolled_scan(lambda carry, x: jax.vmap(one)(carry, *x), carry, xs)
    return (carry, y.swapaxes(0, 1)), (weights, h, pull, *xs[1:])


def _scan_backward(step: Callable, kept: Any, cotangents: Any):
    (weights, h, pulls, start, valid), (d_carry, d_y) = kept, cotangents
    kernel = weights["recurrent"]

    def one(d_carry: Any, pull: Callable, start: Array, valid: Array, d_y: Array) -> tuple[Any, Any]:
        d_after = jax.tree.map(lambda d: jnp.where(valid, d, 0), d_carry)
        d_before, d_produced, d_drive, d_rest = pull((d_after, d_y))
        d_h = (d_produced.astype(kernel.dtype) @ kernel.T).astype(d_produced.dtype)
        d_before = {**d_before, "h": d_before["h"] + d_h}
        d_before = jax.tree.map(lambda d, held: jnp.where(valid, d, held), d_before, d_carry)
        return jax.tree.map(lambda d: jnp.where(start, 0, d), d_before), (d_produced, d_drive, d_rest)

    def back(carried: Any, inputs: Any) -> tuple[Any, Any]:
        d_carry, d_rest = carried
        d_carry, (d_produced, d_drive, more) = jax.vmap(one)(d_carry, *inputs)
        return (d_carry, jax.tree.map(lambda d, m: d + m.sum(axis=0), d_rest, more)), (d_produced, d_drive)

    nothing = {name: jnp.zeros_like(w) for name, w in weights.items() if name != "recurrent"}
    inputs = (pulls, start, valid, d_y.swapaxes(0, 1))
    (d_carry, d_rest), (d_produced, d_drive) = unrolled_scan(back, (d_carry, nothing), inputs, reverse=True)
    rows = (a.reshape(-1, a.shape[-1]).astype(kernel.dtype) for a in (h, d_produced))  # all at once: see projection
    d_kernel = jnp.einsum("rn,rm->nm", *rows)
    return {**d_rest, "recurrent": d_kernel}, d_carry, d_drive.swapaxes(0, 1), None, None


_scan_batch_custom_vjp.defvjp(_scan_forward, _scan_backward)


class Recurrence(nn.Module):
    """`width` → gates → a state of `hidden_size` units → `width`; causal, and streaming at a cost that never grows.

    `solver` runs the steps one by one ("sequential"; "autodiff" is the same without a backward pass of its own, and can
    be differentiated forwards too), or solves for all at once: "newton" with whole Jacobians, "quasi" with each
    unit's own part of them. How that went is sown as "newton" among the "intermediates", one `Report` a row. Products
    in bfloat16 are too coarse for either to converge: then the steps are run one by one after all.
    """

    cell: str
    width: int
    hidden_size: int
    max_length: int = 0  # a recurrence has no window; taken so that every mixer is built alike
    forget_bias: float = 1.0
    disabled_gates: str = ""
    solver: str = "sequential"
    dtype: Any = jnp.float32

    VERSION = 1
    ONLY: ClassVar = {"forget_bias": ("lstm",), "disabled_gates": ("lstm",)}
    causal = True

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "B T D"],
        *,
        state: Any = None,
        positions: Int[Array, "B T"],
        segments: Int[Array, "B T"],
        rng: PRNGKeyArray | None = None,
    ) -> tuple[Float[Array, "B T D"], Any]:
        """The state is `{"carry": {name: [B, N]}, "segment": [B]}`."""
        cell = RECURRENT_CELLS[self.cell]
        driven = self.hidden_size * (
            len(_lstm_gate_names(self.disabled_gates)) if self.cell == "lstm" else cell.num_gates
        )
        drive = Projection(driven, dtype=self.dtype, bias_init=self._init_bias, name="input")(x).astype(jnp.float32)
        initial = _init_identity if self.cell == "irnn" else init_orthogonal
        weights = {"recurrent": self.param("recurrent", initial, (self.hidden_size, driven))}
        if self.cell == "gru":
            weights["candidate_bias"] = self.param("candidate_bias", nn.initializers.zeros, (self.hidden_size,))
        weights["recurrent"] = weights["recurrent"].astype(self.dtype)
        carry = {name: jnp.zeros((len(x), self.hidden_size)) for name in cell.carry_names}
        state = resume_state(state, {"carry": carry, "segment": jnp.zeros(len(x), jnp.int32)})

        start, valid, last = jax.vmap(segment_boundaries)(segments, state["segment"])
        step = partial(cell.step, disabled_gates=self.disabled_gates) if self.cell == "lstm" else cell.step
        arrays = state["carry"], drive, start, valid
        if self.solver in ("sequential", "autodiff") or x.shape[1] == 1:
            run: Any = _scan_batch_custom_vjp if self.solver == "sequential" else _scan_batch
            carry, y = run(step, weights, *arrays)
        else:
            quasi = (
                {"how": "quasi", "near": partial(step, weights, times=diagonal_matvec)}
                if self.solver == "quasi"
                else {}
            )
            carry, y, report = jax.vmap(partial(newton_scan, partial(step, weights), **quasi))(*arrays)
            self.sow("intermediates", "newton", report)
        y = Projection(self.width, dtype=self.dtype, name="output")(y)
        return y, {"carry": carry, "segment": last}

    def _init_bias(self, key: PRNGKeyArray, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
        """Zeros, and `forget_bias` for the LSTM's forget gate (Gers et al. 2000; Jozefowicz et al. 2015)."""
        zeros = jnp.zeros(shape, dtype)
        if self.cell != "lstm" or "f" in self.disabled_gates:
            return zeros
        at = self.hidden_size * _lstm_gate_names(self.disabled_gates).index("f")
        return zeros.at[at : at + self.hidden_size].set(self.forget_bias)


def _init_identity(key: PRNGKeyArray, shape: tuple[int, int], dtype: Any = jnp.float32) -> Array:
    return jnp.eye(*shape, dtype=dtype)


def init_orthogonal(key: PRNGKeyArray, shape: tuple[int, int], dtype: Any = jnp.float32) -> Array:
    """One orthogonal [N, N] matrix a gate, side by side."""
    n, columns = shape
    keys = jax.random.split(key, columns // n)
    return jnp.concatenate([nn.initializers.orthogonal()(k, (n, n), dtype) for k in keys], axis=1)
