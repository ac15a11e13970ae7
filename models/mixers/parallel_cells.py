"""ParaGRU and ParaLSTM: a GRU and an LSTM whose recurrent matrices are diagonal, so that no unit affects another.

Danieli et al. 2025 (ParaRNN, arXiv 2510.21450). The Jacobian of a step is one number for each unit of the GRU, and a
2×2 block for each c and h of the LSTM. So an iteration of Newton's method on all steps (`ops.parallel_newton`) costs a
few passes over the sequence. Units see each other only in the layers above.
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
from models.mixers.convolution import MAX_KERNEL_SIZE
from models.mixers.surroundings import convolve_shortly, empty_past, silu_gate
from models.ops.parallel_newton import newton_scan
from models.ops.projection import Projection
from models.ops.scan import masked_scan

PARALLEL_SOLVERS = ("sequential", "newton")
_GATES = 3


def paragru_step(
    weights: dict[str, Float[Array, "_ N"]], carry: dict[str, Float[Array, "N"]], x_proj: Float[Array, "3*N"]
) -> tuple[dict[str, Float[Array, "N"]], Float[Array, "N"]]:
    """z = σ(x_z + a_z⊙h), r = σ(x_r + a_r⊙h), n = tanh(x_n + a_n⊙r⊙h), h' = (1 − z)⊙h + z⊙n   (Danieli et al., §3).

    Unlike in the mixer "gru", z is how much of the candidate is taken, and h is reset before its product.
    """
    h, (a_z, a_r, a_n) = carry["h"], weights["recurrent"]
    z, r, n = jnp.split(x_proj, _GATES)
    z, r = nn.sigmoid(z + a_z * h), nn.sigmoid(r + a_r * h)
    h = (1 - z) * h + z * jnp.tanh(n + a_n * (r * h))
    return {"h": h}, h


def paralstm_step(
    weights: dict[str, Float[Array, "_ N"]], carry: dict[str, Float[Array, "N"]], x_proj: Float[Array, "3*N"]
) -> tuple[dict[str, Float[Array, "N"]], Float[Array, "N"]]:
    """f = σ(x_f + a_f⊙h + p_f⊙c), g = tanh(x_g + a_g⊙h), c' = f⊙c + (1 − f)⊙g, o = σ(x_o + a_o⊙h + p_o⊙c'),
    h' = o⊙tanh(c')   (Danieli et al., §3; peepholes: Gers and Schmidhuber 2000; one gate for both: Greff et al. 2017).
    """
    c, h = carry["c"], carry["h"]
    (a_f, a_g, a_o), (p_f, p_o) = weights["recurrent"], weights["peephole"]
    f, g, o = jnp.split(x_proj, _GATES)
    f = nn.sigmoid(f + a_f * h + p_f * c)
    c = f * c + (1 - f) * jnp.tanh(g + a_g * h)
    h = nn.sigmoid(o + a_o * h + p_o * c) * jnp.tanh(c)
    return {"c": c, "h": h}, h


class ParallelCell(NamedTuple):
    """A step function, the names of its carried vectors, and its weights [rows, N] by the number of their rows."""

    step: Callable
    carry_names: tuple[str, ...]
    weights: dict[str, int]


PARALLEL_CELLS = {
    "gru": ParallelCell(paragru_step, ("h",), {"recurrent": _GATES}),
    "lstm": ParallelCell(paralstm_step, ("c", "h"), {"recurrent": _GATES, "peephole": 2}),
}


class ParallelRecurrence(Mixer, kw_only=True):
    """A recurrence of `hidden_size` units that don't affect each other: width → gates → state → width.

    `solver` says how the steps are run: "sequential" is a scan, and "newton" solves for all steps at once, which sows a
    `NewtonReport` for each row as "newton" among the "intermediates". Only products of inputs are in `dtype`, so that
    Newton's method converges in bfloat16 too.

    It starts as the authors' code does: diagonals and peepholes normal with a deviation of 2/√(5·hidden_size), and the
    biases of the gate z or f from 0 in the first unit to −1 in the last. Unlike there, the input's weights are full
    instead of a block for each of two heads, and start as in every mixer instead of Glorot's way.

    `kernel` puts a short convolution before the recurrence, and `output_gate` the silu of a projection behind it. The
    paper's block has both, and a norm, which is left out here.
    """

    cell: str
    solver: str = "sequential"
    kernel: int = 0
    output_gate: bool = False

    VERSION = 1

    @classmethod
    def validate(cls, options: MixerOptions) -> None:
        options.check_choice("solver", PARALLEL_SOLVERS)
        options.check_range("kernel", 0, MAX_KERNEL_SIZE)

    def empty_state(self, batch_size: int) -> dict[str, Any]:
        names = PARALLEL_CELLS[self.cell].carry_names
        past = empty_past(self.kernel, batch_size, self.width, self.dtype)
        return {"carry": {name: jnp.zeros((batch_size, self.hidden_size)) for name in names}, **past}

    def product_matrices(self) -> dict[str, int]:
        return {"input/kernel": _GATES, "output_gate/kernel": 1, "output/kernel": 1}

    @nn.compact
    def mix(
        self, x: Float[Array, "B T D"], state: dict[str, Any], steps: Steps
    ) -> tuple[Float[Array, "B T D"], dict[str, Any]]:
        cell, n = PARALLEL_CELLS[self.cell], self.hidden_size
        u, after = convolve_shortly(self, self.kernel, x, state, steps)
        x_proj = Projection(_GATES * n, dtype=self.dtype, bias_init=_init_gate_bias, name="input")(u)
        init_weights = nn.initializers.normal(2 / math.sqrt(5 * n))
        weights = {name: self.param(name, init_weights, (rows, n)) for name, rows in cell.weights.items()}
        step = partial(cell.step, weights)
        arrays = state["carry"], x_proj.astype(jnp.float32), steps.start, steps.valid
        if self.solver == "sequential" or x.shape[1] == 1:
            carry, y = jax.vmap(partial(masked_scan, step))(*arrays)
        else:
            carry, y, report = jax.vmap(partial(newton_scan, step, method="diagonal"))(*arrays)
            self.sow("intermediates", "newton", report)
        y = y * silu_gate(self, x).astype(jnp.float32) if self.output_gate else y
        return Projection(self.width, dtype=self.dtype, name="output")(y), {"carry": carry, **after}


def _init_gate_bias(key: PRNGKeyArray, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
    """From 0 to −1 over the units of the first gate, and zeros."""
    units = shape[0] // _GATES
    return jnp.zeros(shape, dtype).at[:units].set(-jnp.linspace(0, 1, units, dtype=dtype))
