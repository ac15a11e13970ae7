"""HGRN2: a gated recurrence whose forget gate is also its key (Qin et al. 2024, arXiv 2404.07904).

    S_t = diag(f_t)·S_{t−1} + (1 − f_t) ⊗ v_t,   y_t = S_tᵀ·q_t
    f_t = γ + (1 − γ)·σ(x_t·W)

HGRN (Qin et al. 2023, arXiv 2311.04823) keeps a vector; the outer product expands it into a matrix without any more
parameters. γ bounds what is forgotten in one step, and grows from 0 in the first block of a stack upwards.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from models.mixers.base import Steps
from models.mixers.matrix_memory import LOWEST_LOG_GATE, MatrixMemory, join_heads
from models.mixers.surroundings import convolve_shortly, silu_gate
from models.ops.matrix_state import scan_matrix_state


def hgrn2_gate(
    x: Float[Array, "B T H K"], bound_logit: Float[Array, "1 1 H K"] | None, depth_fraction: float
) -> tuple[Float[Array, "B T H K"], Float[Array, "B T H K"]]:
    """log f and 1 − f for γ = `depth_fraction`·σ(`bound_logit`); γ = 0 without `bound_logit`.

    log f is kept above −1000, where f is 0 in float32 anyway.
    """
    if bound_logit is None:
        return jnp.maximum(nn.log_sigmoid(x), LOWEST_LOG_GATE), nn.sigmoid(-x)
    bound = (1 - 1e-6) * depth_fraction * nn.sigmoid(bound_logit)
    log_bound = jnp.log(depth_fraction) + nn.log_sigmoid(bound_logit)
    log_gate = jnp.logaddexp(log_bound, jnp.log1p(-bound) + nn.log_sigmoid(x))
    return jnp.maximum(log_gate, LOWEST_LOG_GATE), (1 - bound) * nn.sigmoid(-x)


class HGRN2(MatrixMemory):
    """width → queries, through a silu, forget gates and values of `hidden_size` features; the recurrence; RMSNorm over
    all features; → width.

    The defaults are the paper's, except for sizes (heads of 128 there): no short convolution, and no output gate, since
    the query is HGRN's. In the paper the γ of all blocks are the cumulative softmax of one matrix. Here a block trains
    its own, σ(b)·d, with b starting at 0 and d from 0 in the first block to 1 in the last: it starts between 0 and ½,
    as in the paper for two blocks.
    """

    kernel: int = 0
    output_gate: bool = False
    depth_fraction: float = 0.0  # of the mixer's block in the stack: 0 in the first, 1 in the last

    VERSION = 1

    def empty_state(self, batch_size: int) -> dict[str, Array]:
        return self.empty_memory(batch_size, self.head_size, 3 * self.hidden_size)

    def product_matrices(self) -> dict[str, int]:
        gate = {"output_gate/kernel": 1} if self.output_gate else {}
        return {"input/kernel": 3, **gate, "output/kernel": 1}

    @nn.compact
    def mix(
        self, x: Float[Array, "B T D"], state: dict[str, Any], steps: Steps
    ) -> tuple[Float[Array, "B T D"], dict[str, Any]]:
        n = self.hidden_size
        mixed, after = convolve_shortly(self, self.kernel, self._project("input", x, 3 * n), state, steps)
        query, forget, value = map(self._split_heads, jnp.split(mixed, 3, axis=-1))
        bound = None
        if self.depth_fraction:
            bound = self.param("bound", nn.initializers.zeros, (n,)).reshape(1, 1, self.heads, self.head_size)
        log_gate, key = hgrn2_gate(forget, bound, self.depth_fraction)
        query = nn.silu(query)
        self.sow_recurrence(query=query, key=key, value=value, log_gate=log_gate)
        after["memory"], y = scan_matrix_state(
            state["memory"],
            query,
            key,
            value,
            log_gate,
            None,
            steps.start,
            steps.valid,
            implementation=self.implementation,
        )
        y = nn.RMSNorm(epsilon=1e-5, name="norm")(join_heads(y))
        if self.output_gate:
            y = y * silu_gate(self, x).astype(jnp.float32)
        return self._project("output", y, self.width), after
