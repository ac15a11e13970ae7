"""Kimi Delta Attention: the delta rule on a memory whose rows fade each at its own rate (Kimi Team 2025, Kimi Linear,
arXiv 2510.26692, §3).

    S_t = (1 − β_t·k_t·k_tᵀ)·diag(α_t)·S_{t−1} + β_t·k_t ⊗ v_t,   y_t = S_tᵀ·q_t
    α_t = exp(−e^A·softplus(x_t·W₁·W₂ + b)),   β_t = σ(x_t·W_β)

Gated DeltaNet (arXiv 2412.06464) has one α for all rows.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from models.mixers.base import Steps
from models.mixers.matrix_memory import MatrixMemory, decay_log_gate, init_log_rates
from models.mixers.state_space import init_step_bias
from models.mixers.surroundings import convolve_shortly
from models.ops.matrix_state import scan_matrix_state
from models.ops.similarity import l2_normalize


class KimiDeltaAttention(MatrixMemory):
    """width → queries, keys and values of `hidden_size` features, through a short convolution and a silu; the
    recurrence, with queries and keys of length 1; each head's output normalized, times an output gate; → width.

    The matrices of α's and of the output gate, a sigmoid, are of rank `hidden_size`/`heads`. The defaults are the
    paper's, except for sizes (heads of 128 there). e^A starts uniform between 1 and 16, as in the authors' code, and b
    as Mamba's Δ. `allow_negative_eigenvalues` lets β reach 2. Without a convolution the silu stays.
    Queries are not scaled by K^−½, which the norm behind them undoes.
    """

    allow_negative_eigenvalues: bool = False

    VERSION = 1

    def empty_state(self, batch_size: int) -> dict[str, Array]:
        return self.empty_memory(batch_size, self.head_size, 3 * self.hidden_size)

    def product_matrices(self) -> dict[str, int]:
        low_rank = ("decay", "gate") if self.output_gate else ("decay",)
        matrices = {f"{name}_{part}/kernel": 1 for name in low_rank for part in ("down", "up")}
        return {"input/kernel": 3, **matrices, "strength/kernel": 1, "output/kernel": 1}

    @nn.compact
    def mix(
        self, x: Float[Array, "B T D"], state: dict[str, Any], steps: Steps
    ) -> tuple[Float[Array, "B T D"], dict[str, Any]]:
        mixed = self._project("input", x, 3 * self.hidden_size)
        mixed, after = convolve_shortly(self, self.kernel, mixed, state, steps)
        query, key, value = map(self._split_heads, jnp.split(nn.silu(mixed), 3, axis=-1))
        step = self._project_low_rank("decay", x, bias_init=init_step_bias)
        log_rates = self.param("log_rates", init_log_rates, (self.heads,))
        log_gate = decay_log_gate(nn.softplus(self._split_heads(step)), log_rates)
        largest = 2 if self.allow_negative_eigenvalues else 1
        strength = largest * nn.sigmoid(self._split_heads(self._project("strength", x, self.heads))[..., 0])
        query, key = l2_normalize(query), l2_normalize(key)
        self.sow_recurrence(query=query, key=key, value=value, log_gate=log_gate, strength=strength)
        after["memory"], y = scan_matrix_state(
            state["memory"],
            query,
            key,
            value,
            log_gate,
            strength,
            steps.start,
            steps.valid,
            implementation=self.implementation,
        )
        y = self._normalize_heads(y)
        if self.output_gate:
            y = y * nn.sigmoid(self._project_low_rank("gate", x).astype(jnp.float32))
        return self._project("output", y, self.width), after

    def _project_low_rank(self, name: str, x: Float[Array, "B T D"], **kwargs: Any) -> Float[Array, "B T F"]:
        """A projection of rank `head_size`, with a bias."""
        down = self._project(f"{name}_down", x, self.head_size)
        return self._project(f"{name}_up", down, self.hidden_size, use_bias=True, **kwargs)
