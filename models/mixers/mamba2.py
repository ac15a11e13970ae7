"""Mamba-2's state space, whose states all fade at one rate in a head (Dao and Gu 2024, arXiv 2405.21060).

    S_t = exp(Δ_t·A)·S_{t−1} + B_t ⊗ Δ_t·x_t,   y_t = S_tᵀ·C_t + D·x_t      A, D and Δ_t one number a head

Δ, B and C are computed from the input. Since A is a number, steps run in parallel as gated linear attention with
queries C, keys B and values Δ·x, which the paper calls state space duality.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from models.mixers.base import MixerOptions, Steps
from models.mixers.matrix_memory import MatrixMemory, decay_log_gate, init_log_rates, join_heads
from models.mixers.state_space import MAX_STATE_SIZE, init_step_bias
from models.mixers.surroundings import convolve_shortly
from models.ops.matrix_state import scan_matrix_state


class Mamba2(MatrixMemory):
    """Mamba-2's block: width → x and a gate of `hidden_size` features, B and C of `state_size` that all heads share,
    and Δ; x, B and C through a short convolution and a silu; the state space; times the gate's silu; RMSNorm over all
    features; → width.

    The defaults are the paper's, except for sizes (heads of 64 features and 128 states there). A (−1 to −16), D (1) and
    Δ's bias (Δ log-uniform between 0.001 and 0.1) start as in the authors' code; unlike there, the convolution's
    weights start normal and its bias at 0. Without a convolution the silu stays.
    """

    state_size: int = 16

    VERSION = 1

    @classmethod
    def validate(cls, options: MixerOptions) -> None:
        super().validate(options)
        options.check_range("state_size", 1, MAX_STATE_SIZE)

    def empty_state(self, batch_size: int) -> dict[str, Array]:
        return self.empty_memory(batch_size, self.state_size, self.hidden_size + 2 * self.state_size)

    def product_matrices(self) -> dict[str, int]:
        return {"input/kernel": 1 + self.output_gate, "select/kernel": 2, "step/kernel": 1, "output/kernel": 1}

    @nn.compact
    def mix(
        self, x: Float[Array, "B T D"], state: dict[str, Any], steps: Steps
    ) -> tuple[Float[Array, "B T D"], dict[str, Any]]:
        n, s = self.hidden_size, self.state_size
        u = self._project("input", x, n * (1 + self.output_gate))
        convolved = jnp.concatenate([u[..., :n], self._project("select", x, 2 * s)], axis=-1)
        convolved, after = convolve_shortly(self, self.kernel, convolved, state, steps, use_bias=True)
        convolved = nn.silu(convolved).astype(jnp.float32)
        value = self._split_heads(convolved[..., :n])
        every_head = (*x.shape[:2], self.heads, s)
        key, query = (jnp.broadcast_to(a[:, :, None], every_head) for a in jnp.split(convolved[..., n:], 2, axis=-1))

        step = self._project("step", x, self.heads, use_bias=True, bias_init=init_step_bias)
        step = nn.softplus(self._split_heads(step))
        log_rates = self.param("log_rates", init_log_rates, (self.heads,))
        log_gate = decay_log_gate(step, log_rates)
        self.sow_recurrence(query=query, key=key, value=step * value, log_gate=log_gate)
        after["memory"], y = scan_matrix_state(
            state["memory"],
            query,
            key,
            step * value,
            log_gate,
            None,
            steps.start,
            steps.valid,
            implementation=self.implementation,
        )
        skip = self.param("skip", nn.initializers.ones, (self.heads,))
        y = join_heads(y + skip[None, None, :, None] * value)
        if self.output_gate:
            y = y * nn.silu(u[..., n:].astype(jnp.float32))
        y = nn.RMSNorm(epsilon=1e-5, name="norm")(y)
        return self._project("output", y, self.width), after
