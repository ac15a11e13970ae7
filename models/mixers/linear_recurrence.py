"""Recurrences that are linear in their state, so that all steps can be computed in one parallel scan:

    h_t = a_t ⊙ h_{t−1} + b_t

minGRU and minLSTM (Feng et al. 2024, arXiv 2410.01201) have gates that depend on the input alone; the LRU (Orvieto et
al. 2023, arXiv 2303.06349) has a complex a that is the same at every step; the RG-LRU (De et al. 2024, Griffin, arXiv
2402.19427) has an a that depends on the input. Each is a function from one sequence to its coefficients a and b, which
`ops.scan.linear_scan` runs.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Complex, Float, PRNGKeyArray

from models.mixers.base import Mixer, MixerOptions, Steps
from models.mixers.convolution import MAX_KERNEL_SIZE
from models.mixers.surroundings import convolve_shortly, empty_past, silu_gate
from models.ops.projection import Projection
from models.ops.scan import linear_scan


def mingru_coefficients(x_proj: Float[Array, "T M"]) -> tuple[Float[Array, "T N"], Float[Array, "T N"]]:
    """minGRU: h = (1 − z)·h + z·c with z = σ(x_z), c = x_c, the two parts of `x_proj`   (Feng et al., §3.1).

    The paper's log-space scan passes the candidate through g(c) = c + ½, or σ(c) below 0, to keep it positive. Here c
    is used as it is; in the minLSTM too.
    """
    z, candidate = jnp.split(x_proj, 2, axis=-1)
    return nn.sigmoid(-z), nn.sigmoid(z) * candidate


def minlstm_coefficients(x_proj: Float[Array, "T M"]) -> tuple[Float[Array, "T N"], Float[Array, "T N"]]:
    """minLSTM: h = f′·h + i′·c with f′ = f/(f + i), i′ = i/(f + i), f = σ(x_f), i = σ(x_i)   (Feng et al., §3.2).

    f′ = (1 + e^−x_i)/(2 + e^−x_f + e^−x_i). Numerator and denominator are divided by their largest term, so that
    nothing overflows; this avoids log σ, which XLA computes slowly on a CPU.
    """
    f, i, candidate = jnp.split(x_proj, 3, axis=-1)
    largest = jax.lax.stop_gradient(jnp.maximum(0, jnp.maximum(-f, -i)))
    one, f, i = jnp.exp(-largest), jnp.exp(-f - largest), jnp.exp(-i - largest)
    total = 2 * one + f + i
    return (one + i) / total, (one + f) / total * candidate


_MINIMAL_CELLS = {"mingru": (mingru_coefficients, 2), "minlstm": (minlstm_coefficients, 3)}  # and parts of x_proj


def lru_coefficients(
    x_proj: Complex[Array, "T N"], decay: Float[Array, "N"], phase: Float[Array, "N"]
) -> tuple[Complex[Array, "N"], Complex[Array, "T N"]]:
    """LRU: a = exp(−e^decay + i·e^phase), inside the unit circle; b = √(1 − |a|²)·x_proj   (Orvieto et al., §3.3–3.4).

    The paper trains the root as a parameter of its own, which only starts at this value; here it follows a.
    """
    # Beyond these bounds |a| is 0, the root is 0 and float32 has lost the angle's fraction; gradients are zero there.
    rate, angle = jnp.exp(jnp.clip(decay, -80, 10)), jnp.exp(jnp.minimum(phase, 16))
    a = jnp.exp(jax.lax.complex(-rate, angle))
    return a, jnp.sqrt(-jnp.expm1(-2 * rate))[None] * x_proj


def rglru_coefficients(
    x: Float[Array, "T N"],
    r: Float[Array, "T N"],
    i: Float[Array, "T N"],
    decay: Float[Array, "N"],
    unscaled: Bool[Array, "T"] | None = None,
) -> tuple[Float[Array, "T N"], Float[Array, "T N"]]:
    """RG-LRU: a = exp(−8·softplus(decay)·σ(r)), b = √(1 − a²)·σ(i)·x   (De et al., eq. 1–4, c = 8).

    At steps where `unscaled`, b is σ(i)·x without the root.
    """
    log_a = -8 * nn.softplus(decay)[None] * nn.sigmoid(r)
    squared = jnp.maximum(-jnp.expm1(2 * log_a), 1e-12)  # the root has no derivative at 0, where a shut gate leads
    if unscaled is not None:
        squared = jnp.where(unscaled[:, None], 1, squared)
    return jnp.exp(log_a), jnp.sqrt(squared) * nn.sigmoid(i) * x


class MinimalRNN(Mixer, kw_only=True):
    """minGRU or minLSTM: width → gates and candidate → a state of `hidden_size` units → width.

    `kernel` puts a short convolution before the gates and the candidate, as in the paper's language model (4 taps).
    """

    cell: str
    kernel: int = 0
    output_gate: bool = False

    VERSION = 1

    @classmethod
    def validate(cls, options: MixerOptions) -> None:
        options.check_range("kernel", 0, MAX_KERNEL_SIZE)

    def empty_state(self, batch_size: int) -> dict[str, Array]:
        past = empty_past(self.kernel, batch_size, self.width, self.dtype)
        return {"h": jnp.zeros((batch_size, self.hidden_size)), **past}

    def product_matrices(self) -> dict[str, int]:
        return {"input/kernel": _MINIMAL_CELLS[self.cell][1], "output_gate/kernel": 1, "output/kernel": 1}

    @nn.compact
    def mix(
        self, x: Float[Array, "B T D"], state: dict[str, Any], steps: Steps
    ) -> tuple[Float[Array, "B T D"], dict[str, Any]]:
        coefficients, parts = _MINIMAL_CELLS[self.cell]
        u, after = convolve_shortly(self, self.kernel, x, state, steps)
        x_proj = Projection(parts * self.hidden_size, dtype=self.dtype, name="input")(u).astype(jnp.float32)
        a, b = jax.vmap(coefficients)(x_proj)
        self.sow_recurrence(decay=a)
        h = jax.vmap(linear_scan)(a, b, state["h"], steps.start, steps.valid)
        y = h * silu_gate(self, x).astype(jnp.float32) if self.output_gate else h
        return Projection(self.width, dtype=self.dtype, name="output")(y), {"h": h[:, -1], **after}


class LRU(Mixer):
    """Linear recurrent unit: width → `hidden_size` complex units, each with its own rate of decay and rotation → width.

    The eigenvalues start uniformly in the ring `min_radius` ≤ |a| ≤ `max_radius`, at angles up to `max_phase`. The
    paper starts from any radius below 1 and any angle unless a task needs less; and here the input's weights start √2
    times as large. `kernel` puts a short convolution before the units; `output_gate` multiplies them by a real gate.
    """

    min_radius: float = 0.5
    max_radius: float = 0.99
    max_phase: float = 3.1416
    kernel: int = 0
    output_gate: bool = False

    VERSION = 1

    @classmethod
    def validate(cls, options: MixerOptions) -> None:
        options.check_range("kernel", 0, MAX_KERNEL_SIZE)
        if not 0 <= options["min_radius"] < options["max_radius"] < 1:
            raise ValueError(
                f"model.{options.name}.min_radius={options['min_radius']}, max_radius={options['max_radius']}: must be "
                f"two radii from 0 to below 1, the smaller first"
            )
        if not 0 < options["max_phase"] <= 6.2832:
            raise options.error("max_phase", "must be an angle above 0, up to 2π = 6.2832")

    def empty_state(self, batch_size: int) -> dict[str, Array]:
        past = empty_past(self.kernel, batch_size, self.width, self.dtype)
        return {"h": jnp.zeros((batch_size, self.hidden_size), jnp.complex64), **past}

    def product_matrices(self) -> dict[str, int]:
        return {"input/kernel": 2, "output_gate/kernel": 1, "output/kernel": 1}  # into real and imaginary parts

    @nn.compact
    def mix(
        self, x: Float[Array, "B T D"], state: dict[str, Any], steps: Steps
    ) -> tuple[Float[Array, "B T D"], dict[str, Any]]:
        n = self.hidden_size

        def init_decay(key: PRNGKeyArray, shape: tuple[int, ...]) -> Array:  # |a|² uniform over the ring
            u = _uniform_nonzero(key, shape)
            return jnp.log(-0.5 * jnp.log(u * (self.max_radius**2 - self.min_radius**2) + self.min_radius**2))

        def init_phase(key: PRNGKeyArray, shape: tuple[int, ...]) -> Array:
            return jnp.log(self.max_phase * _uniform_nonzero(key, shape))

        decay = self.param("decay", init_decay, (n,))
        phase = self.param("phase", init_phase, (n,))
        u, after = convolve_shortly(self, self.kernel, x, state, steps)
        parts = Projection(2 * n, use_bias=False, dtype=self.dtype, name="input")(u).astype(jnp.float32)
        x_proj = jax.lax.complex(*jnp.split(parts, 2, axis=-1))
        a, b = jax.vmap(lru_coefficients, (0, None, None), (None, 0))(x_proj, decay, phase)
        a = jnp.broadcast_to(a, b.shape)
        self.sow_recurrence(decay=a)
        h = jax.vmap(linear_scan)(a, b, state["h"], steps.start, steps.valid)
        read = h * silu_gate(self, x).astype(jnp.float32) if self.output_gate else h
        parts = jnp.concatenate([read.real, read.imag], axis=-1)
        y = Projection(self.width, dtype=self.dtype, name="output")(parts)  # Re(C·h), C complex
        skip = self.param("skip", nn.initializers.normal(1.0), (self.width,))
        return y + skip.astype(self.dtype)[None, None] * x.astype(self.dtype), {"h": h[:, -1], **after}


class RGLRU(Mixer):
    """Griffin's recurrent block: two branches width → `hidden_size`, one through a short convolution and the RG-LRU,
    the other through a gelu; their product → width.

    `scale_first` applies the root √(1 − a²) to a segment's first token like to every other, as in the paper's equation;
    without it the first token is taken whole, as in Google's and Hugging Face's code. a⁸ starts uniformly between 0.9
    and 0.999, as in the paper; in Google's code a itself starts there, uniformly in a². Unlike in that code, the gates
    see all features and not a block of them, and the convolution has no bias. `output_gate` can leave out the branch
    with the gelu.
    """

    kernel: int = 4
    output_gate: bool = True
    scale_first: bool = True

    VERSION = 1

    @classmethod
    def validate(cls, options: MixerOptions) -> None:
        options.check_range("kernel", 0, MAX_KERNEL_SIZE)

    def empty_state(self, batch_size: int) -> dict[str, Array]:
        past = empty_past(self.kernel, batch_size, self.hidden_size, self.dtype)
        return {"h": jnp.zeros((batch_size, self.hidden_size)), **past}

    def product_matrices(self) -> dict[str, int]:
        return {"gate/kernel": 1, "input/kernel": 1, "gates/kernel": 2, "output/kernel": 1}

    @nn.compact
    def mix(
        self, x: Float[Array, "B T D"], state: dict[str, Any], steps: Steps
    ) -> tuple[Float[Array, "B T D"], dict[str, Any]]:
        n = self.hidden_size
        u = Projection(n, dtype=self.dtype, name="input")(x)
        u, after = convolve_shortly(self, self.kernel, u, state, steps)
        r, i = jnp.split(Projection(2 * n, dtype=self.dtype, name="gates")(u).astype(jnp.float32), 2, axis=-1)

        def init_decay(key: PRNGKeyArray, shape: tuple[int, ...]) -> Array:  # §2.4 of the paper
            a = jax.random.uniform(key, shape, minval=0.9, maxval=0.999)
            return jnp.log(jnp.expm1(-jnp.log(a) / 8))

        decay = self.param("decay", init_decay, (n,))
        unscaled = None if self.scale_first else steps.start
        a, b = jax.vmap(rglru_coefficients, (0, 0, 0, None, 0))(u.astype(jnp.float32), r, i, decay, unscaled)
        self.sow_recurrence(decay=a)
        h = jax.vmap(linear_scan)(a, b, state["h"], steps.start, steps.valid)
        y = h.astype(self.dtype)
        if self.output_gate:
            y = y * nn.gelu(Projection(n, dtype=self.dtype, name="gate")(x))
        return Projection(self.width, dtype=self.dtype, name="output")(y), {"h": h[:, -1], **after}


def _uniform_nonzero(key: PRNGKeyArray, shape: tuple[int, ...]) -> Array:
    """Uniform between 0 and 1, and never 0, which has no logarithm."""
    return jnp.maximum(jax.random.uniform(key, shape), 2**-24)
