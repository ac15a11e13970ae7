"""Attention without the softmax, which is a recurrence over a matrix that keys write to and queries read from:

    S_t = diag(g_t)·S_{t−1} + k_t ⊗ u_t,   y_t = S_tᵀ·q_t
    sum rule:    u_t = v_t
    delta rule:  u_t = β_t·(v_t − (diag(g_t)·S_{t−1})ᵀ·k_t), which replaces what the key recalled

Katharopoulos et al. 2020 (arXiv 2006.16236; sum rule, g = 1, k and q through elu + 1); Schlag et al. 2021 (arXiv
2102.11174; delta rule, DPFP features); Yang et al. 2023 (arXiv 2312.06635; gated linear attention: g from the input,
one a feature); Yang et al. 2024 (arXiv 2406.06484 and 2412.06464; the delta rule in chunks, and with a gate).
"""

from functools import partial
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from models.mixers.convolution import convolve_batch
from models.ops.projection import Projection
from models.ops.scan import causal_segment_mask, masked_cumsum, resume_state, scan_chunks, segment_boundaries
from models.ops.similarity import l2_normalize

_CHUNK_SIZE = 32  # steps taken at once
RULES = ("sum", "gated", "delta", "gated_delta")
FEATURE_MAPS = ("identity", "elu", "dpfp")


def linear_attention_chunk(
    memory: Float[Array, "K V"],
    query: Float[Array, "C K"],
    key: Float[Array, "C K"],
    value: Float[Array, "C V"],
    log_gate: Float[Array, "C G"] | None,
    strength: Float[Array, "C"] | None,
    start: Bool[Array, "C"],
    valid: Bool[Array, "C"],
) -> tuple[Float[Array, "K V"], Float[Array, "C V"]]:
    """The recurrence over `C` steps in a few products; `G` is K, or 1 where all features fade alike.

    With D[t, s] = Π g over s < r ≤ t, and 0 across a `start`: y_t = Σ_{s≤t} (q_t·D[t, s]·k_s)·u_s, and likewise for
    what the memory held before. `log_gate` is log g, or None where nothing fades. `strength` is β, or None for the sum
    rule; the delta rule's u solve a triangular system (Yang et al. 2406.06484, §3.2).
    """
    key, value = (jnp.where(valid[:, None], a, 0) for a in (key, value))
    past, before = causal_segment_mask(start)
    if log_gate is None:
        decay, since = past[..., None].astype(key.dtype), before[:, None].astype(key.dtype)
    else:
        faded, rest = masked_cumsum(jnp.where(valid[:, None], log_gate, 0), past)
        between = (faded[:, None] - faded[None]) + (rest[:, None] - rest[None])
        decay = jnp.exp(jnp.where(past[..., None], between, -jnp.inf))
        since = jnp.where(before[:, None], jnp.exp(faded + rest), 0)  # of what the memory held before

    def likeness(a: Array) -> Array:
        """a_t·D[t, s]·k_s."""
        if decay.shape[-1] == 1:
            return (a @ key.T) * decay[..., 0]
        return jnp.einsum("tk,sk,tsk->ts", a, key, decay)

    if strength is None:
        written = value
    else:
        strength = jnp.where(valid, strength, 0)[:, None]
        system = unit_lower_inverse(strength * jnp.tril(likeness(key), -1))
        written = system @ (strength * (value - (key * since) @ memory))
    y = (query * since) @ memory + likeness(query) @ written
    return since[-1][:, None] * memory + (key * decay[-1]).T @ written, y


def unit_lower_inverse(lower: Float[Array, "C C"]) -> Float[Array, "C C"]:
    """(1 + lower)⁻¹ for a strictly lower triangle: the inverses of halves joined, from single rows up to the whole.

    As exact as solving row by row, in 2·log₂C products. XLA's own triangular solve is a LAPACK call on a CPU, and two
    devices that make it at the same time can wait for each other for ever (jaxlib 0.10.2).
    """
    rows, size = len(lower), 1 << (len(lower) - 1).bit_length()
    lower = jnp.pad(lower, (0, size - rows))
    found = jnp.ones((size, 1, 1), lower.dtype)
    while (half := found.shape[-1]) < size:
        blocks = lower.reshape(size // (2 * half), 2, half, size // (2 * half), 2, half)
        corner = jnp.moveaxis(jnp.diagonal(blocks[:, 1, :, :, 0], axis1=0, axis2=2), -1, 0)
        first, second = found[::2], found[1::2]
        corner = -jnp.matmul(jnp.matmul(second, corner, precision="highest"), first, precision="highest")
        upper = jnp.concatenate([first, jnp.zeros_like(first)], axis=-1)
        found = jnp.concatenate([upper, jnp.concatenate([corner, second], axis=-1)], axis=-2)
    return found[0, :rows, :rows]


def dpfp_features(x: Float[Array, "T K"], nu: int) -> Float[Array, "T F"]:
    """F = 2·K·ν products of r = [relu(x), relu(−x)] with r rolled by 1 … ν   (Schlag et al., eq. 37)."""
    r = nn.relu(jnp.concatenate([x, -x], axis=-1))
    return jnp.concatenate([r * jnp.roll(r, j, axis=-1) for j in range(1, nu + 1)], axis=-1)


def feature_map(x: Float[Array, "T K"], kind: str, nu: int) -> Float[Array, "T F"]:
    if kind == "elu":
        return nn.elu(x) + 1
    return dpfp_features(x, nu) if kind == "dpfp" else x


class LinearAttention(nn.Module):
    """`heads` memories that share `hidden_size` features of queries, keys and values.

    The rules differ in what goes with them in their papers: "sum" divides by the size of the sum of the weights (which
    is positive, but for features that are not); the others norm each head's output; "delta" and "gated_delta" norm
    queries and keys to length 1. The output gates of GLA and Gated DeltaNet are left out.

    Unlike in their papers: GLA's gate σ(x·W + b)^(1/16) has a whole W in place of one of rank 16, and its keys are as
    wide as its values; gated delta's gate is σ(x·W + b + 4), near 0.98 at the start in every head, in place of
    exp(−A·softplus(x·W + b)) with A and b spread over the heads, which is Mamba-2's.

    `kernel` puts a short convolution before queries, keys and values. With `allow_negative_eigenvalues`, β reaches 2,
    so that a key's recall can change its sign (Grazzi et al. 2024, arXiv 2411.12537).
    """

    rule: str
    width: int
    hidden_size: int
    max_length: int = 0
    dtype: Any = jnp.float32
    heads: int = 4
    feature: str = "identity"
    dpfp_nu: int = 1
    kernel: int = 0
    allow_negative_eigenvalues: bool = False

    VERSION = 1
    ONLY: ClassVar = {"allow_negative_eigenvalues": ("delta", "gated_delta")}
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
        """The state is `{"memory": [B, H, K, V], "segment": [B]}`, and `"past"` with a short convolution. With the sum
        rule V has one column more, in which the weights are summed."""
        batch, steps, _ = x.shape
        size = self.hidden_size // self.heads
        summed, delta = self.rule == "sum", "delta" in self.rule
        wide = {"identity": size, "elu": size, "dpfp": 2 * size * self.dpfp_nu}[self.feature]
        empty = {
            "memory": jnp.zeros((batch, self.heads, wide, size + summed)),
            "segment": jnp.zeros(batch, jnp.int32),
        }
        if self.kernel:
            empty["past"] = jnp.zeros((batch, self.kernel - 1, 3 * self.hidden_size), self.dtype)
        state = resume_state(state, empty)
        start, valid, last = jax.vmap(segment_boundaries)(segments, state["segment"])
        after = {"segment": last}

        mixed = Projection(3 * self.hidden_size, dtype=self.dtype, name="input")(x)
        if self.kernel:
            kernel = self.param("kernel", nn.initializers.lecun_normal(), (self.kernel, 3 * self.hidden_size))
            mixed, after["past"] = convolve_batch(
                mixed, kernel.astype(self.dtype), state["past"], segments, state["segment"]
            )
            mixed = nn.silu(mixed)
        mixed = mixed.astype(jnp.float32).reshape(batch, steps, 3, self.heads, size).transpose(2, 0, 3, 1, 4)
        query, key = (
            jax.vmap(jax.vmap(partial(feature_map, kind=self.feature, nu=self.dpfp_nu)))(a) for a in mixed[:2]
        )
        value, strength, log_gate = mixed[2], None, None
        if summed:
            value = jnp.concatenate([value, jnp.ones_like(value[..., :1])], axis=-1)
        if delta:
            query, key = l2_normalize(query), l2_normalize(key)
            strength = nn.sigmoid(self._project_per_head("strength", x, 1)[..., 0]) * (
                2 if self.allow_negative_eigenvalues else 1
            )
        if self.rule == "gated":
            log_gate = nn.log_sigmoid(self._project_per_head("gate", x, wide)) / 16
        elif self.rule == "gated_delta":
            log_gate = nn.log_sigmoid(self._project_per_head("gate", x, 1) + 4)  # starts near 0.98

        def one(memory: Array, *sequence: Any) -> tuple[Array, Array]:
            return scan_chunks(linear_attention_chunk, memory, sequence, _CHUNK_SIZE, gpu_unroll=4)

        heads = jax.vmap(one, in_axes=(0, 0, 0, 0, 0, 0, None, None))
        rows = jax.vmap(heads)
        after["memory"], y = rows(state["memory"], query, key, value, log_gate, strength, start, valid)
        y = y[..., :-1] / (jnp.abs(y[..., -1:]) + 1e-6) if summed else nn.RMSNorm(epsilon=1e-5, name="norm")(y)
        y = y.transpose(0, 2, 1, 3).reshape(batch, steps, self.hidden_size)
        return Projection(self.width, dtype=self.dtype, name="output")(y), after

    def _project_per_head(self, name: str, x: Float[Array, "B T D"], size: int) -> Float[Array, "B H T {size}"]:
        y = Projection(self.heads * size, dtype=self.dtype, name=name)(x).astype(jnp.float32)
        return y.reshape(*x.shape[:2], self.heads, size).transpose(0, 2, 1, 3)
