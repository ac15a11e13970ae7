"""Gated DeltaProduct: several steps of the delta rule for each token (Siems et al. 2025, arXiv 2502.10297).

    S ← g_t·S_{t−1};   S ← S + β_j·k_j ⊗ (v_j − Sᵀ·k_j) for j = 1 … n;   S_t = S,   y_t = S_tᵀ·q_t

A token thus multiplies its state by g·Π_j (1 − β_j·k_j·k_jᵀ), with keys of length 1: a product of n generalized
Householder matrices. With β up to 2 two of them are any rotation in a plane; one alone only reflects. With n = 1 it is
Gated DeltaNet (arXiv 2412.06464). Each token is `n` micro steps here: its gate stands before the first, and its query
reads after the last.
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from models.mixers.base import MixerOptions, Steps
from models.mixers.matrix_memory import MatrixMemory, decay_log_gate, init_log_rates
from models.mixers.state_space import init_step_bias
from models.mixers.surroundings import convolve_shortly, silu_gate
from models.ops.matrix_state import scan_matrix_state
from models.ops.similarity import l2_normalize

MAX_HOUSEHOLDER_STEPS = 16


def place_at(x: Shaped[Array, "B T *S"], place: int, count: int) -> Shaped[Array, "B T*{count} *S"]:
    """Each step as `count` micro steps: `x` at micro step `place`, and 0 at the others."""
    others = jnp.zeros_like(x)
    parts = [x if i == place else others for i in range(count)]
    return interleave(parts)


def interleave(parts: Sequence[Shaped[Array, "B T *S"]]) -> Shaped[Array, "B TN *S"]:
    """The N micro steps of each step one after another."""
    x = jnp.stack(parts, axis=2)
    return x.reshape(len(x), -1, *x.shape[3:])


class GatedDeltaProduct(MatrixMemory):
    """width → a query, and `householder_steps` keys and values, of `hidden_size` features, through a short convolution
    and a silu; the recurrence; each head's output normalized, times the silu of an output gate; → width.

    β is σ(x·W), or twice that with `allow_negative_eigenvalues`. g = exp(−e^A·softplus(x·W + b)) is one number a head,
    and starts as Mamba-2's; without `forget_gate` it is 1, which the paper calls DeltaProduct. The defaults are the
    paper's, except for sizes (heads of 128 or 256, with twice as many values). Without a convolution the silu stays.
    """

    householder_steps: int = 2
    allow_negative_eigenvalues: bool = True
    forget_gate: bool = True

    VERSION = 1

    @classmethod
    def validate(cls, options: MixerOptions) -> None:
        super().validate(options)
        options.check_range("householder_steps", 1, MAX_HOUSEHOLDER_STEPS)

    def empty_state(self, batch_size: int) -> dict[str, Array]:
        return self.empty_memory(batch_size, self.head_size, self._vectors() * self.hidden_size)

    def product_matrices(self) -> dict[str, int]:
        gates = ["forget_gate"] * self.forget_gate + ["output_gate"] * self.output_gate
        matrices = {f"{name}/kernel": 1 for name in gates}
        strengths = {"strength/kernel": self.householder_steps}
        return {"input/kernel": self._vectors(), **strengths, **matrices, "output/kernel": 1}

    @nn.compact
    def mix(
        self, x: Float[Array, "B T D"], state: dict[str, Any], steps: Steps
    ) -> tuple[Float[Array, "B T D"], dict[str, Any]]:
        n = self.householder_steps
        mixed = self._project("input", x, self._vectors() * self.hidden_size)
        mixed, after = convolve_shortly(self, self.kernel, mixed, state, steps)
        vectors = [self._split_heads(vector) for vector in jnp.split(nn.silu(mixed), self._vectors(), axis=-1)]
        query = place_at(l2_normalize(vectors[0]), n - 1, n)
        key = interleave([l2_normalize(key) for key in vectors[1 : 1 + n]])
        value = interleave(vectors[1 + n :])
        strength = self._project("strength", x, n * self.heads).astype(jnp.float32)
        strength = (2 if self.allow_negative_eigenvalues else 1) * nn.sigmoid(strength)
        strength = strength.reshape(key.shape[:3])
        start = place_at(steps.start, 0, n)
        valid = jnp.repeat(steps.valid, n, axis=1)
        log_gate = place_at(self._log_gate(x), 0, n) if self.forget_gate else None
        per_head = {"query": query, "key": key, "value": value, "log_gate": log_gate, "strength": strength}
        self.sow_recurrence(**per_head, substeps=n)
        after["memory"], y = scan_matrix_state(
            state["memory"],
            query,
            key,
            value,
            log_gate,
            strength,
            start,
            valid,
            implementation=self.implementation,
        )
        y = self._normalize_heads(y[:, n - 1 :: n])
        if self.output_gate:
            y = y * silu_gate(self, x).astype(jnp.float32)
        return self._project("output", y, self.width), after

    def _vectors(self) -> int:
        """The number of vectors of `hidden_size` features: the query, and the keys and values of all micro steps."""
        return 1 + 2 * self.householder_steps

    def _log_gate(self, x: Float[Array, "B T D"]) -> Float[Array, "B T H 1"]:
        step = self._project("forget_gate", x, self.heads, use_bias=True, bias_init=init_step_bias)
        log_rates = self.param("log_rates", init_log_rates, (self.heads,))
        return decay_log_gate(nn.softplus(self._split_heads(step)), log_rates)
