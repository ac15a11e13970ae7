"""Recurrences that are linear in their state, so that all steps can be taken at once:

    h_t = a_t ⊙ h_{t−1} + b_t

minGRU and minLSTM (Feng et al. 2024, arXiv 2410.01201), whose gates see the input alone; the LRU (Orvieto et al. 2023,
arXiv 2303.06349), whose a is complex and the same at every step; the RG-LRU (De et al. 2024, Griffin, arXiv
2402.19427), whose a the input moves. Each is a function of one sequence to a and b; `scan.linear_scan` does the rest.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Complex, Float, Int, PRNGKeyArray

from models.mixers.convolution import convolve_batch
from models.ops.projection import Projection
from models.ops.scan import linear_scan, resume_state, segment_boundaries


def mingru_coefficients(drive: Float[Array, "T M"]) -> tuple[Float[Array, "T N"], Float[Array, "T N"]]:
    """h = (1 − z)·h + z·c with z = σ(drive_z), c = drive_c   (Feng et al., §3.1).

    Unlike the paper's scan in logarithms, which puts the candidate through g(c) = c + ½ or, below 0, σ(c) to keep it
    positive, c is taken as it is; in the minLSTM too.
    """
    z, candidate = jnp.split(drive, 2, axis=-1)
    return nn.sigmoid(-z), nn.sigmoid(z) * candidate


def minlstm_coefficients(drive: Float[Array, "T M"]) -> tuple[Float[Array, "T N"], Float[Array, "T N"]]:
    """h = f′·h + i′·c with f′ = f/(f + i), i′ = i/(f + i), f = σ(drive_f), i = σ(drive_i)   (Feng et al., §3.2).

    That is f′ = (1 + e^−drive_i)/(2 + e^−drive_f + e^−drive_i), here over the largest of these terms, which then never
    overflow; without the logarithms of σ that XLA computes slowly on a CPU.
    """
    f, i, candidate = jnp.split(drive, 3, axis=-1)
    most = jax.lax.stop_gradient(jnp.maximum(0, jnp.maximum(-f, -i)))
    one, f, i = jnp.exp(-most), jnp.exp(-f - most), jnp.exp(-i - most)
    whole = 2 * one + f + i
    return (one + i) / whole, (one + f) / whole * candidate


_MINIMAL_CELLS = {
    "mingru": (mingru_coefficients, 2),
    "minlstm": (minlstm_coefficients, 3),
}  # the function, and how many vectors drive it


def lru_coefficients(
    drive: Complex[Array, "T N"], decay: Float[Array, "N"], phase: Float[Array, "N"]
) -> tuple[Complex[Array, "N"], Complex[Array, "T N"]]:
    """a = exp(−e^decay + i·e^phase), inside the unit circle; b = √(1 − |a|²)·drive   (Orvieto et al., §3.3, §3.4).

    In the paper the root is what a factor of its own starts from and is trained; here it goes with a.
    """
    # Past these bounds |a| is 0, the root is 0 and the angle has lost its fraction in float32; gradients are none.
    rate, angle = jnp.exp(jnp.clip(decay, -80, 10)), jnp.exp(jnp.minimum(phase, 16))
    a = jnp.exp(jax.lax.complex(-rate, angle))
    return a, jnp.sqrt(-jnp.expm1(-2 * rate))[None] * drive


def rglru_coefficients(
    x: Float[Array, "T N"],
    r: Float[Array, "T N"],
    i: Float[Array, "T N"],
    decay: Float[Array, "N"],
    unscaled: Bool[Array, "T"] | None = None,
) -> tuple[Float[Array, "T N"], Float[Array, "T N"]]:
    """a = exp(−8·softplus(decay)·σ(r)), b = √(1 − a²)·σ(i)·x   (De et al., eq. 1–4, c = 8).

    Where `unscaled`, b is σ(i)·x without the root.
    """
    log_a = -8 * nn.softplus(decay)[None] * nn.sigmoid(r)
    free = jnp.maximum(-jnp.expm1(2 * log_a), 1e-12)  # of 0, which a shut gate comes to, the root has no derivative
    if unscaled is not None:
        free = jnp.where(unscaled[:, None], 1, free)
    return jnp.exp(log_a), jnp.sqrt(free) * nn.sigmoid(i) * x


class MinimalRNN(nn.Module):
    """minGRU and minLSTM: width → gates and candidate → a state of `hidden_size` units → width."""

    cell: str
    width: int
    hidden_size: int
    max_length: int = 0
    dtype: Any = jnp.float32

    VERSION = 1
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
        """The state is `{"h": [B, N], "segment": [B]}`, in float32."""
        gates, vectors = _MINIMAL_CELLS[self.cell]
        drive = Projection(vectors * self.hidden_size, dtype=self.dtype, name="input")(x).astype(jnp.float32)
        state = resume_state(state, zero_state(len(x), (self.hidden_size,)))
        h, state = scan_states(*jax.vmap(gates)(drive), state, segments)
        return Projection(self.width, dtype=self.dtype, name="output")(h), state


class LRU(nn.Module):
    """width → `hidden_size` complex units, each turning and fading at a rate of its own → width.

    Unlike in the paper, which starts from any radius below 1 and any angle unless a task needs less, the ring that it
    starts on is 0.5 … 0.99 and half a turn, and its input's weights start √2 times as large.
    """

    width: int
    hidden_size: int
    max_length: int = 0
    dtype: Any = jnp.float32
    min_radius: float = 0.5  # |a| starts evenly over the ring between these two radii,
    max_radius: float = 0.99
    max_phase: float = 3.1416  # and its angle between 0 and this

    VERSION = 1
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
        """The state is `{"h": complex [B, N], "segment": [B]}`: 2·N floats."""
        n = self.hidden_size

        def ring(key: PRNGKeyArray, shape: tuple[int, ...]) -> Array:
            u = _uniform_nonzero(key, shape)
            return jnp.log(-0.5 * jnp.log(u * (self.max_radius**2 - self.min_radius**2) + self.min_radius**2))

        decay = self.param("decay", ring, (n,))
        phase = self.param("phase", lambda key, shape: jnp.log(self.max_phase * _uniform_nonzero(key, shape)), (n,))
        parts = Projection(2 * n, use_bias=False, dtype=self.dtype, name="input")(x).astype(jnp.float32)
        drive = jax.lax.complex(*jnp.split(parts, 2, axis=-1))
        state = resume_state(state, zero_state(len(x), (n,), jnp.complex64))
        a, b = jax.vmap(lambda d: lru_coefficients(d, decay, phase), out_axes=(None, 0))(drive)
        h, state = scan_states(jnp.broadcast_to(a, b.shape), b, state, segments)
        seen = jnp.concatenate([h.real, h.imag], axis=-1)
        y = Projection(self.width, dtype=self.dtype, name="output")(seen)  # Re(C·h), C complex
        skip = self.param("skip", nn.initializers.normal(1.0), (self.width,))
        return y + skip.astype(self.dtype)[None, None] * x.astype(self.dtype), state


class RGLRU(nn.Module):
    """Griffin's recurrent block: width → `hidden_size`, twice; one through a short convolution and the RG-LRU, the
    other through a gelu; their product → width.

    With `scale_first` the root √(1 − a²) scales a segment's first token like every other, as in the paper's equation;
    without, the first token is taken whole, as in Google's and Hugging Face's code. a⁸ starts evenly between 0.9 and
    0.999, as in the paper; unlike in Google's code, where a itself starts there, evenly in a². And unlike there, the
    gates see all features and not a block of them, and the convolution has no bias.
    """

    width: int
    hidden_size: int
    max_length: int = 0
    dtype: Any = jnp.float32
    kernel: int = 4
    scale_first: bool = True

    VERSION = 1
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
        """The state is `{"h": [B, N], "past": [B, K−1, N], "segment": [B]}`."""
        n = self.hidden_size
        fresh = zero_state(len(x), (n,)) | {"past": jnp.zeros((len(x), self.kernel - 1, n), self.dtype)}
        state = resume_state(state, fresh)
        gate = nn.gelu(Projection(n, dtype=self.dtype, name="gate")(x))
        u = Projection(n, dtype=self.dtype, name="input")(x)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (self.kernel, n)).astype(self.dtype)
        u, past = convolve_batch(u, kernel, state["past"], segments, state["segment"])
        r, i = jnp.split(Projection(2 * n, dtype=self.dtype, name="gates")(u).astype(jnp.float32), 2, axis=-1)

        def slow(key: PRNGKeyArray, shape: tuple[int, ...]) -> Array:  # a^8 starts evenly in 0.9 … 0.999 (§2.4)
            a = jax.random.uniform(key, shape, minval=0.9, maxval=0.999)
            return jnp.log(jnp.expm1(-jnp.log(a) / 8))

        first = None if self.scale_first else jax.vmap(segment_boundaries)(segments, state["segment"])[0]
        decay = self.param("decay", slow, (n,))
        a, b = jax.vmap(rglru_coefficients, (0, 0, 0, None, 0))(u.astype(jnp.float32), r, i, decay, first)
        h, after = scan_states(a, b, {name: state[name] for name in ("h", "segment")}, segments)
        y = Projection(self.width, dtype=self.dtype, name="output")(h.astype(self.dtype) * gate)
        return y, after | {"past": past}


def _uniform_nonzero(key: PRNGKeyArray, shape: tuple[int, ...]) -> Array:
    """Evenly between 0 and 1, and never 0, of which there is no logarithm."""
    return jnp.maximum(jax.random.uniform(key, shape), 2**-24)


def zero_state(batch: int, shape: tuple[int, ...], dtype: Any = jnp.float32) -> dict[str, Array]:
    return {"h": jnp.zeros((batch, *shape), dtype), "segment": jnp.zeros(batch, jnp.int32)}


def scan_states(
    a: Array, b: Array, state: dict[str, Array], segments: Int[Array, "B T"]
) -> tuple[Array, dict[str, Array]]:
    """`scan.linear_scan` over a batch: all states [B, T, …], and the last to go on from."""
    start, valid, last = jax.vmap(segment_boundaries)(segments, state["segment"])
    h = jax.vmap(linear_scan)(a, b, state["h"], start, valid)
    return h, {"h": h[:, -1], "segment": last}
