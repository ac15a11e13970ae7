"""Diagonal state spaces: every feature drives a small linear system of its own.

    h_t = exp(Δ·A) ⊙ h_{t−1} + B̄·u_t,   y_t = C·h_t + D·u_t

S4D (Gu et al. 2022, arXiv 2206.11893) has a complex A, the same Δ, A, B and C at every step, and reads 2·Re(C·h_t),
since each state also stands for its conjugate. S6 (Gu and Dao 2023, Mamba, arXiv 2312.00752) has a real A and computes
Δ, B and C from the input at each step; it comes after a short convolution and next to a gate.
"""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Complex, Float, PRNGKeyArray

from models.mixers.base import Mixer, MixerOptions, Steps
from models.mixers.convolution import MAX_KERNEL_SIZE
from models.mixers.surroundings import convolve_shortly, empty_past, silu_gate
from models.ops.diagonal_state import (
    IMPLEMENTATIONS,
    scan_invariant_chunks,
    scan_invariant_steps,
    scan_selective_chunks,
    scan_selective_steps,
)
from models.ops.projection import Projection

MAX_STATE_SIZE = 2**12


def s4d_coefficients(
    log_step: Float[Array, "N"], log_rates: Float[Array, "N S"], turning_rates: Float[Array, "N S"]
) -> tuple[Complex[Array, "N S"], Complex[Array, "N S"]]:
    """exp(Δ·A), and B̄ = (exp(Δ·A) − 1)/A for B = 1 (zero-order hold; Gu et al., eq. 6).

    B̄ is Δ·(exp(z) − 1)/z with z = Δ·A; it is Δ where A is 0. Δ and the rates are kept below e²⁰, so that float32 can
    hold |z|².
    """
    step = jnp.exp(jnp.minimum(log_step, 20))[:, None]
    fading, turning = -step * jnp.exp(jnp.minimum(log_rates, 20)), step * turning_rates
    return jnp.exp(jax.lax.complex(fading, turning)), step * zero_order_hold(fading, turning)


def zero_order_hold(x: Float[Array, "*S"], y: Float[Array, "*S"]) -> Complex[Array, "*S"]:
    """(exp(z) − 1)/z for z = x + iy with x ≤ 0, accurate to float32's last digits for any z; 1 at 0.

    exp(z) − 1 = expm1(x) − 2·exp(x)·sin²(y/2) + i·exp(x)·sin(y), in which nothing cancels. Below |z| = ½ a power series
    is used, since the quotient's derivative would lose digits there.
    """
    near = x * x + y * y < 0.25
    z, series = jax.lax.complex(jnp.where(near, x, 0), jnp.where(near, y, 0)), jnp.ones((), jnp.complex64)
    for n in range(9, 1, -1):
        series = 1 + z * series / n  # Σ zⁿ/(n + 1)! by Horner's rule
    x, y = jnp.where(near, -1, x), jnp.where(near, 0, y)
    real, imaginary = jnp.expm1(x) - 2 * jnp.exp(x) * jnp.sin(y / 2) ** 2, jnp.exp(x) * jnp.sin(y)
    size = x * x + y * y
    quotient = jax.lax.complex((real * x + imaginary * y) / size, (imaginary * x - real * y) / size)
    return jnp.where(near, series, quotient)


def s6_rates(log_rates: Float[Array, "*N"]) -> Float[Array, "*N"]:
    """−A = exp(log_rates), kept below e²⁰, which erases a state even at Δ = 1e-7."""
    return jnp.exp(jnp.minimum(log_rates, 20))


def _log_uniform_init(low: float, high: float) -> Any:
    def initial(key: PRNGKeyArray, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
        return jax.random.uniform(key, shape, dtype, math.log(low), math.log(high))

    return initial


def init_step_bias(key: PRNGKeyArray, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
    """Biases whose softplus is log-uniform between 0.001 and 0.1, as in Mamba's code."""
    return jnp.log(jnp.expm1(jnp.exp(_log_uniform_init(1e-3, 1e-1)(key, shape, dtype))))


class S4D(Mixer):
    """Diagonal state space: width → `hidden_size` features, each driving `state_size` complex states, a gelu, → width
    through a gated linear unit.

    It starts as S4D-Lin (A = −½ + iπn, Δ log-uniform between 0.001 and 0.1). Unlike in the authors' code, the gelu is
    the tanh approximation. `kernel` puts a short convolution before the state spaces, and `output_gate` a gate behind
    the gelu.
    """

    state_size: int = 8
    kernel: int = 0
    output_gate: bool = False
    implementation: str = "chunks"

    VERSION = 2

    @classmethod
    def validate(cls, options: MixerOptions) -> None:
        options.check_range("state_size", 1, MAX_STATE_SIZE)
        options.check_range("kernel", 0, MAX_KERNEL_SIZE)
        options.check_choice("implementation", IMPLEMENTATIONS)

    def empty_state(self, batch_size: int) -> dict[str, Array]:
        past = empty_past(self.kernel, batch_size, self.hidden_size, self.dtype)
        return {"h": jnp.zeros((batch_size, self.hidden_size, self.state_size), jnp.complex64), **past}

    def product_matrices(self) -> dict[str, int]:
        return {"input/kernel": 1, "output_gate/kernel": 1, "output/kernel": 2}  # out to values and their gates

    @nn.compact
    def mix(
        self, x: Float[Array, "B T D"], state: dict[str, Any], steps: Steps
    ) -> tuple[Float[Array, "B T D"], dict[str, Any]]:
        n, s = self.hidden_size, self.state_size
        u = Projection(n, dtype=self.dtype, name="input")(x)
        u, after = convolve_shortly(self, self.kernel, u, state, steps)
        u = u.astype(jnp.float32)

        def init_turning_rates(key: PRNGKeyArray, shape: tuple[int, ...]) -> Array:
            return jnp.broadcast_to(jnp.pi * jnp.arange(s), shape)

        a, b = s4d_coefficients(
            self.param("log_step", _log_uniform_init(1e-3, 1e-1), (n,)),
            self.param("log_rates", nn.initializers.constant(math.log(0.5)), (n, s)),
            self.param("turning_rates", init_turning_rates, (n, s)),
        )
        read = jax.lax.complex(*(self.param(f"read_{part}", nn.initializers.normal(0.5**0.5), (n, s)) for part in "ri"))
        self.sow_recurrence(decay=jnp.broadcast_to(a, (*u.shape, s)))
        scan = scan_invariant_steps if self.implementation == "steps" or u.shape[1] == 1 else scan_invariant_chunks
        h, y = scan(state["h"], u, a, b, read, steps.start, steps.valid)
        y = nn.gelu(y + self.param("skip", nn.initializers.normal(1.0), (n,))[None, None] * u)
        if self.output_gate:
            y = y * silu_gate(self, x).astype(jnp.float32)
        y, gate = jnp.split(Projection(2 * self.width, dtype=self.dtype, name="output")(y), 2, axis=-1)
        return y * nn.sigmoid(gate), {"h": h, **after}


class S6(Mixer):
    """Mamba's block: two branches width → `hidden_size`, one through a short convolution, a silu and the selective
    state space with `state_size` states per feature, the other through a silu; their product → width.

    A, D and Δ's bias start as in the authors' code (−1, −2, …; 1; Δ log-uniform between 0.001 and 0.1). Unlike there,
    Δ's weights start normal and √3 times as large, and the convolution's bias at 0. `kernel` and `output_gate` can
    leave out the convolution, whose silu stays, and the other branch.
    """

    state_size: int = 8
    kernel: int = 4
    output_gate: bool = True
    implementation: str = "chunks"

    VERSION = 2

    @classmethod
    def validate(cls, options: MixerOptions) -> None:
        options.check_range("state_size", 1, MAX_STATE_SIZE)
        options.check_range("kernel", 0, MAX_KERNEL_SIZE)
        options.check_choice("implementation", IMPLEMENTATIONS)

    def empty_state(self, batch_size: int) -> dict[str, Array]:
        past = empty_past(self.kernel, batch_size, self.hidden_size, self.dtype)
        return {"h": jnp.zeros((batch_size, self.hidden_size, self.state_size)), **past}

    def product_matrices(self) -> dict[str, int]:
        # What selects are matrices of three widths, which are taken as one.
        return {"input/kernel": 1 + self.output_gate, "select/kernel": 1, "step/kernel": 1, "output/kernel": 1}

    @nn.compact
    def mix(
        self, x: Float[Array, "B T D"], state: dict[str, Any], steps: Steps
    ) -> tuple[Float[Array, "B T D"], dict[str, Any]]:
        n, s = self.hidden_size, self.state_size
        branches = (1 + self.output_gate) * n
        u, gate = jnp.split(Projection(branches, use_bias=False, dtype=self.dtype, name="input")(x), [n], axis=-1)
        u, after = convolve_shortly(self, self.kernel, u, state, steps, use_bias=True)
        u = nn.silu(u)

        rank = -(-self.width // 16)
        selected = Projection(rank + 2 * s, use_bias=False, dtype=self.dtype, name="select")(u)
        low_rank, b, c = jnp.split(selected, [rank, rank + s], axis=-1)
        step = Projection(n, dtype=self.dtype, bias_init=init_step_bias, name="step")(low_rank)
        step = nn.softplus(step.astype(jnp.float32))

        def init_log_rates(key: PRNGKeyArray, shape: tuple[int, ...]) -> Array:
            return jnp.broadcast_to(jnp.log(1.0 + jnp.arange(s)), shape)

        log_rates = self.param("log_rates", init_log_rates, (n, s))
        u = u.astype(jnp.float32)
        self.sow_recurrence(decay=jnp.exp(-step[..., None] * s6_rates(log_rates)[None, None]))
        scan = scan_selective_steps if self.implementation == "steps" else scan_selective_chunks
        b, c = b.astype(jnp.float32), c.astype(jnp.float32)
        h, y = scan(state["h"], step, step * u, b, c, s6_rates(log_rates), steps.start, steps.valid)
        y = y + self.param("skip", nn.initializers.ones, (n,))[None, None] * u
        y = y.astype(self.dtype) * nn.silu(gate) if self.output_gate else y.astype(self.dtype)
        y = Projection(self.width, use_bias=False, dtype=self.dtype, name="output")(y)
        return y, {"h": h, **after}
