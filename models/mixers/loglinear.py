"""Log-linear attention: a memory for each level of a Fenwick tree over the past (Guo et al. 2025, arXiv 2506.04761).

    y_t = Σ_ℓ λ_t⁽ℓ⁾·(S_t⁽ℓ⁾)ᵀ·q_t,   λ_t⁽ℓ⁾ = softplus(L⁽ℓ⁾·(x_t·W)⁽ℓ⁾)

S⁽ℓ⁾ is what a gated memory has kept of one block of at most 2^(ℓ−1) places, as models/ops/fenwick.py divides the past,
so that the state grows with log T. There are as many levels as `model.max_length` places need: all that lies further
back shares the highest. `rule` "gated" has the sum rule of Mamba-2, "gated_delta" the delta rule of Gated DeltaNet:

    gated:        S ← g_t·S,  and S⁽⁰⁾ ← S⁽⁰⁾ + k_t ⊗ Δ_t·v_t
    gated_delta:  S ← (1 − β_t·k_t·k_tᵀ)·g_t·S,  and S⁽⁰⁾ ← S⁽⁰⁾ + β_t·k_t ⊗ v_t
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from models.mixers.base import MixerOptions, Steps
from models.mixers.matrix_memory import MatrixMemory, decay_log_gate, init_log_rates
from models.mixers.state_space import init_step_bias
from models.mixers.surroundings import convolve_shortly, silu_gate
from models.ops.fenwick import count_levels, scan_log_linear
from models.ops.similarity import l2_normalize

LOG_LINEAR_RULES = ("gated", "gated_delta")


class LogLinearAttention(MatrixMemory):
    """width → queries, keys and values of `hidden_size` features, through a short convolution and a silu; the
    recurrence; each head's output normalized, times the silu of an output gate; → width.

    There are as many levels as `max_length` needs, for which the state has room from the start; places from there on
    share the highest. g_t = exp(−e^A·Δ_t) with Δ_t = softplus(x_t·W + b) is one number a head and starts as Mamba-2's;
    L starts at 1. Both rules have Gated DeltaNet's surroundings, while the paper's Mamba-2 has one key for all heads, a
    skip and a norm behind the gate. Without a convolution the silu stays.
    """

    rule: str = "gated_delta"

    VERSION = 1

    @classmethod
    def validate(cls, options: MixerOptions) -> None:
        super().validate(options)
        options.check_choice("rule", LOG_LINEAR_RULES)

    def empty_state(self, batch_size: int) -> dict[str, Array]:
        """{"memory": [B, H, levels, K, V], "tokens": [B]}, those of the segment; "past" with a short convolution."""
        state = self.empty_memory(batch_size, self.head_size, 3 * self.hidden_size)
        memory = jnp.zeros((batch_size, self.heads, count_levels(self.max_length), self.head_size, self.head_size))
        return {**state, "memory": memory, "tokens": jnp.zeros(batch_size, jnp.int32)}

    def product_matrices(self) -> dict[str, int]:
        names = ("step/kernel", "levels/kernel", "strength/kernel", "output_gate/kernel", "output/kernel")
        return {"input/kernel": 3, **dict.fromkeys(names, 1)}

    @nn.compact
    def mix(
        self, x: Float[Array, "B T D"], state: dict[str, Any], steps: Steps
    ) -> tuple[Float[Array, "B T D"], dict[str, Any]]:
        mixed = self._project("input", x, 3 * self.hidden_size)
        mixed, after = convolve_shortly(self, self.kernel, mixed, state, steps)
        query, key, value = map(self._split_heads, jnp.split(nn.silu(mixed), 3, axis=-1))
        step = nn.softplus(
            self._split_heads(self._project("step", x, self.heads, use_bias=True, bias_init=init_step_bias))
        )
        log_gate = decay_log_gate(step, self.param("log_rates", init_log_rates, (self.heads,)))
        strength = None
        if self.rule == "gated_delta":
            query, key = l2_normalize(query), l2_normalize(key)
            strength = nn.sigmoid(self._split_heads(self._project("strength", x, self.heads))[..., 0])
        else:
            value = step * value
        levels = count_levels(self.max_length)
        scale = self.param("level_scale", nn.initializers.ones, (self.heads, levels))[None, None]
        weights = nn.softplus(scale * self._split_heads(self._project("levels", x, self.heads * levels)))
        self.sow_recurrence(
            query=query, key=key, value=value, log_gate=log_gate, strength=strength, level_weights=weights
        )
        after["memory"], after["tokens"], y = scan_log_linear(
            state["memory"],
            state["tokens"],
            query,
            key,
            value,
            log_gate,
            strength,
            weights,
            steps.start,
            steps.valid,
            implementation=self.implementation,
        )
        y = self._normalize_heads(y)
        if self.output_gate:
            y = y * silu_gate(self, x).astype(jnp.float32)
        return self._project("output", y, self.width), after
