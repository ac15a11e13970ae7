"""Diagonal state spaces: every feature drives a small linear system of its own.

    h_t = exp(Δ·A) ⊙ h_{t−1} + B̄·u_t,   y_t = C·h_t + D·u_t

S4D (Gu et al. 2022, arXiv 2206.11893): A complex, Δ, A, B, C the same at every step, and 2·Re(C·h_t) in place of C·h_t:
each state stands for its conjugate too. S6 (Gu and Dao 2023, Mamba, arXiv 2312.00752): A real, Δ, B and C from the
input at each step, behind a short convolution and beside a gate.
"""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Complex, Float, Int, PRNGKeyArray

from models.mixers.convolution import convolve_batch
from models.mixers.linear_recurrence import scan_states, zero_state
from models.ops.projection import Projection
from models.ops.scan import resume_state


def s4d_coefficients(
    log_step: Float[Array, "N"], log_rates: Float[Array, "N S"], turning_rates: Float[Array, "N S"]
) -> tuple[Complex[Array, "N S"], Complex[Array, "N S"]]:
    """exp(Δ·A), and B̄ = (exp(Δ·A) − 1)/A for B = 1 (zero-order hold; Gu et al., eq. 6).

    B̄ is Δ·(exp(z) − 1)/z with z = Δ·A, which is Δ where nothing fades or turns. Δ and rates stay below e²⁰, so that
    float32 holds |z|².
    """
    step = jnp.exp(jnp.minimum(log_step, 20))[:, None]
    fading, turning = -step * jnp.exp(jnp.minimum(log_rates, 20)), step * turning_rates
    return jnp.exp(jax.lax.complex(fading, turning)), step * zero_order_hold(fading, turning)


def zero_order_hold(x: Float[Array, "*S"], y: Float[Array, "*S"]) -> Complex[Array, "*S"]:
    """(exp(z) − 1)/z of z = x + iy with x ≤ 0, to the last digits of float32 for any z; 1 at 0.

    exp(z) − 1 = expm1(x) − 2·exp(x)·sin²(y/2) + i·exp(x)·sin(y), where nothing cancels; and a power series where |z| is
    below ½, since the derivative of the quotient would lose there what the quotient keeps.
    """
    near = x * x + y * y < 0.25
    z, series = jax.lax.complex(jnp.where(near, x, 0), jnp.where(near, y, 0)), jnp.ones((), jnp.complex64)
    for n in range(9, 1, -1):
        series = 1 + z * series / n  # in the end Σ zⁿ/(n + 1)!
    x, y = jnp.where(near, -1, x), jnp.where(near, 0, y)
    real, imaginary = jnp.expm1(x) - 2 * jnp.exp(x) * jnp.sin(y / 2) ** 2, jnp.exp(x) * jnp.sin(y)
    size = x * x + y * y
    quotient = jax.lax.complex((real * x + imaginary * y) / size, (imaginary * x - real * y) / size)
    return jnp.where(near, series, quotient)


def s6_coefficients(
    u: Float[Array, "T N"], step: Float[Array, "T N"], b: Float[Array, "T S"], log_rates: Float[Array, "N S"]
) -> tuple[Float[Array, "T N S"], Float[Array, "T N S"]]:
    """exp(Δ_t·A) and Δ_t·B_t·u_t with A = −exp(log_rates)   (Gu and Dao, eq. 4, B̄ as in their code).

    −A stays below e²⁰, which leaves nothing of a state even at Δ = 1e-7.
    """
    rates = jnp.exp(jnp.minimum(log_rates, 20))
    return jnp.exp(-step[..., None] * rates[None]), (step * u)[..., None] * b[:, None, :]


def _log_uniform_init(low: float, high: float) -> Any:
    def initial(key: PRNGKeyArray, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
        return jax.random.uniform(key, shape, dtype, math.log(low), math.log(high))

    return initial


class S4D(nn.Module):
    """width → `hidden_size` features, each through `state_size` complex states, a gelu, → width gated by itself (GLU).

    It starts as S4D-Lin does (A = −½ + iπn, Δ evenly in log between 0.001 and 0.1). Unlike in the authors' code, the
    gelu is the approximation by tanh.
    """

    width: int
    hidden_size: int
    max_length: int = 0
    dtype: Any = jnp.float32
    state_size: int = 8

    VERSION = 2
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
        """The state is `{"h": complex [B, N, S], "segment": [B]}`: 2·N·S floats."""
        n, s = self.hidden_size, self.state_size
        u = Projection(n, dtype=self.dtype, name="input")(x).astype(jnp.float32)
        state = resume_state(state, zero_state(len(x), (n, s), jnp.complex64))
        a, b = s4d_coefficients(
            self.param("log_step", _log_uniform_init(1e-3, 1e-1), (n,)),
            self.param("log_rates", nn.initializers.constant(math.log(0.5)), (n, s)),
            self.param("turning_rates", lambda _, shape: jnp.broadcast_to(jnp.pi * jnp.arange(s), shape), (n, s)),
        )
        drive = u[..., None] * b[None, None]
        h, state = scan_states(jnp.broadcast_to(a, drive.shape), drive, state, segments)
        read = jax.lax.complex(*(self.param(f"read_{part}", nn.initializers.normal(0.5**0.5), (n, s)) for part in "ri"))
        skip = self.param("skip", nn.initializers.normal(1.0), (n,))
        y = 2 * (h * read[None, None]).real.sum(axis=-1) + skip[None, None] * u
        y, gate = jnp.split(Projection(2 * self.width, dtype=self.dtype, name="output")(nn.gelu(y)), 2, axis=-1)
        return y * nn.sigmoid(gate), state


class S6(nn.Module):
    """Mamba's block: width → `hidden_size` features, twice; one through a short convolution, a silu and the selective
    state space with `state_size` states a feature, the other through a silu; their product → width.

    A, D and Δ's bias start as in the authors' code (−1, −2, …; 1; Δ evenly in log between 0.001 and 0.1). Unlike there,
    Δ's weights start normal and √3 times as large, and the convolution's bias at 0.
    """

    width: int
    hidden_size: int
    max_length: int = 0
    dtype: Any = jnp.float32
    state_size: int = 8
    kernel: int = 4

    VERSION = 2
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
        """The state is `{"h": [B, N, S], "past": [B, K−1, N], "segment": [B]}`."""
        n, s = self.hidden_size, self.state_size
        fresh = zero_state(len(x), (n, s)) | {"past": jnp.zeros((len(x), self.kernel - 1, n), self.dtype)}
        state = resume_state(state, fresh)
        u, gate = jnp.split(Projection(2 * n, use_bias=False, dtype=self.dtype, name="input")(x), 2, axis=-1)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (self.kernel, n)).astype(self.dtype)
        u, past = convolve_batch(u, kernel, state["past"], segments, state["segment"])
        u = nn.silu(u + self.param("kernel_bias", nn.initializers.zeros, (n,)).astype(self.dtype)[None, None])

        rank = -(-self.width // 16)
        low, b, c = jnp.split(
            Projection(rank + 2 * s, use_bias=False, dtype=self.dtype, name="select")(u), [rank, rank + s], axis=-1
        )
        steps = _log_uniform_init(1e-3, 1e-1)

        def inverse_softplus(key: PRNGKeyArray, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
            return jnp.log(jnp.expm1(jnp.exp(steps(key, shape, dtype))))

        step = nn.softplus(
            Projection(n, dtype=self.dtype, bias_init=inverse_softplus, name="step")(low).astype(jnp.float32)
        )
        rates = self.param("log_rates", lambda _, shape: jnp.broadcast_to(jnp.log(1.0 + jnp.arange(s)), shape), (n, s))
        u = u.astype(jnp.float32)
        a, drive = jax.vmap(s6_coefficients, in_axes=(0, 0, 0, None))(u, step, b.astype(jnp.float32), rates)
        h, after = scan_states(a, drive, {name: state[name] for name in ("h", "segment")}, segments)
        skip = self.param("skip", nn.initializers.ones, (n,))
        y = jnp.einsum("btns,bts->btn", h, c.astype(jnp.float32)) + skip[None, None] * u
        y = Projection(self.width, use_bias=False, dtype=self.dtype, name="output")(
            y.astype(self.dtype) * nn.silu(gate)
        )
        return y, after | {"past": past}
