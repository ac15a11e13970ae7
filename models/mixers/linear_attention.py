"""Attention without the softmax, which is a recurrence over a matrix that keys write to and queries read from:

    S_t = diag(g_t)·S_{t−1} + k_t ⊗ u_t,   y_t = S_tᵀ·q_t
    sum rule:    u_t = v_t
    delta rule:  u_t = β_t·(v_t − (diag(g_t)·S_{t−1})ᵀ·k_t), which replaces what the key reads by the new value

Katharopoulos et al. 2020 (arXiv 2006.16236): sum rule, g = 1, keys and queries through elu + 1. Schlag et al. 2021
(arXiv 2102.11174): delta rule, DPFP features. Yang et al. 2023 (arXiv 2312.06635): gated linear attention, g computed
from the input for each feature. Yang et al. 2024 (arXiv 2406.06484, 2412.06464): the delta rule in chunks, and gated.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from models.mixers.base import Mixer, MixerOptions, Steps
from models.mixers.convolution import MAX_KERNEL_SIZE
from models.mixers.matrix_memory import join_heads, split_heads
from models.mixers.surroundings import convolve_shortly, empty_past, silu_gate
from models.ops.matrix_state import IMPLEMENTATIONS, scan_matrix_state, scan_weighted_state
from models.ops.projection import Projection
from models.ops.similarity import l2_normalize

RULES = ("sum", "gated", "delta", "gated_delta")
FEATURE_MAPS = ("identity", "elu", "dpfp")
_MAX_DPFP_NU = 2**10


def dpfp_features(x: Float[Array, "*B T K"], nu: int) -> Float[Array, "*B T F"]:
    """F = 2·K·ν products of r = [relu(x), relu(−x)] with r rolled by 1 … ν   (Schlag et al., eq. 37)."""
    r = nn.relu(jnp.concatenate([x, -x], axis=-1))
    return jnp.concatenate([r * jnp.roll(r, j, axis=-1) for j in range(1, nu + 1)], axis=-1)


def feature_map(x: Float[Array, "*B T K"], kind: str, nu: int) -> Float[Array, "*B T F"]:
    """The features φ(x) of queries or keys; `kind` is one of FEATURE_MAPS."""
    if kind == "elu":
        return jnp.where(x > 0, x + 1, jnp.exp(jnp.minimum(x, 0)))
    return dpfp_features(x, nu) if kind == "dpfp" else x


class LinearAttention(Mixer, kw_only=True):
    """`heads` matrix memories, whose queries, keys and values share `hidden_size` features; `rule` is one of RULES.

    Each rule comes with what its paper has around it: "sum" divides by the absolute sum of the weights (which is
    positive if the features are); the others normalize each head's output; "delta" and "gated_delta" scale queries and
    keys to length 1. The output gates of GLA and Gated DeltaNet are there with `output_gate`.

    Unlike in the papers: GLA's gate σ(x·W + b)^(1/16) has a full W instead of one of rank 16, and its keys are as wide
    as its values; Gated DeltaNet's gate is σ(x·W + b + 4), initially near 0.98 in every head, instead of Mamba-2's
    exp(−A·softplus(x·W + b)) with A and b spread over the heads. As published it is `gated_delta_product` with one
    Householder step and without negative eigenvalues.

    `kernel` puts a short convolution and a silu before queries, keys and values. `allow_negative_eigenvalues` lets β
    reach 2, so that what a key reads can change its sign (Grazzi et al. 2024, arXiv 2411.12537). `implementation` is
    "chunks", many steps at once, or "steps", the definition.
    """

    rule: str
    heads: int = 4
    feature: str = "identity"
    dpfp_nu: int = 1
    kernel: int = 0
    output_gate: bool = False
    allow_negative_eigenvalues: bool = False
    implementation: str = "chunks"

    VERSION = 1

    @classmethod
    def validate(cls, options: MixerOptions) -> None:
        options.check_range("dpfp_nu", 1, _MAX_DPFP_NU)
        options.check_range("kernel", 0, MAX_KERNEL_SIZE)
        options.check_choice("feature", FEATURE_MAPS)
        options.check_choice("implementation", IMPLEMENTATIONS)
        options.check_heads()
        if options["feature"] != "dpfp":
            options.refuse_idle("dpfp_nu", f"with model.{options.name}.feature=dpfp")
            return
        features = 2 * (options.hidden_size or options.model["width"]) // options["heads"]
        if options["dpfp_nu"] >= features:  # a matched hidden size is never above the width
            raise options.error(
                "dpfp_nu",
                f"the features of a head of {features // 2} can be rolled by {features - 1} places at most; use fewer",
            )

    def empty_state(self, batch_size: int) -> dict[str, Array]:
        """{"memory": [B, H, K, V]}, and "past" with a short convolution. With the sum rule V has one column more, which
        sums the weights."""
        size = self.hidden_size // self.heads
        memory = (batch_size, self.heads, self._feature_count(), size + (self.rule == "sum"))
        return {"memory": jnp.zeros(memory), **empty_past(self.kernel, batch_size, 3 * self.hidden_size, self.dtype)}

    def product_matrices(self) -> dict[str, int]:
        names = ("gate/kernel", "strength/kernel", "output_gate/kernel", "output/kernel")
        return {"input/kernel": 3, **dict.fromkeys(names, 1)}

    @nn.compact
    def mix(
        self, x: Float[Array, "B T D"], state: dict[str, Any], steps: Steps
    ) -> tuple[Float[Array, "B T D"], dict[str, Any]]:
        mixed = Projection(3 * self.hidden_size, dtype=self.dtype, name="input")(x)
        mixed, after = convolve_shortly(self, self.kernel, mixed, state, steps)
        mixed = nn.silu(mixed) if self.kernel else mixed
        query, key, value = (split_heads(part, self.heads) for part in jnp.split(mixed, 3, axis=-1))
        query, key = (feature_map(a, self.feature, self.dpfp_nu) for a in (query, key))
        strength, log_gate = None, None
        if self.rule in ("delta", "gated_delta"):
            query, key = l2_normalize(query), l2_normalize(key)
            largest = 2 if self.allow_negative_eigenvalues else 1
            strength = nn.sigmoid(self._project_per_head("strength", x, 1)[..., 0]) * largest
        if self.rule == "gated":
            log_gate = nn.log_sigmoid(self._project_per_head("gate", x, self._feature_count())) / 16
        elif self.rule == "gated_delta":
            log_gate = nn.log_sigmoid(self._project_per_head("gate", x, 1) + 4)  # initially near 0.98

        masks, form = (steps.start, steps.valid), self.implementation
        if self.rule == "sum":
            after["memory"], y, weight = scan_weighted_state(
                state["memory"], query, key, value, None, *masks, implementation=form
            )
            divisor = jnp.abs(weight) + 1e-6
            self.sow_recurrence(query=query, key=key, value=value, divisor=divisor)
            y = y / divisor
        else:
            self.sow_recurrence(query=query, key=key, value=value, log_gate=log_gate, strength=strength)
            after["memory"], y = scan_matrix_state(
                state["memory"], query, key, value, log_gate, strength, *masks, implementation=form
            )
            y = nn.RMSNorm(epsilon=1e-5, name="norm")(y)
        y = join_heads(y)
        if self.output_gate:
            y = y * silu_gate(self, x).astype(jnp.float32)
        return Projection(self.width, dtype=self.dtype, name="output")(y), after

    def _feature_count(self) -> int:
        """The number of features of a head's queries and keys."""
        size = self.hidden_size // self.heads
        return 2 * size * self.dpfp_nu if self.feature == "dpfp" else size

    def _project_per_head(self, name: str, x: Float[Array, "B T D"], size: int) -> Float[Array, "B T H {size}"]:
        return split_heads(Projection(self.heads * size, dtype=self.dtype, name=name)(x), self.heads)
