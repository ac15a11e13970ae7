"""RWKV-7's time mixing, a delta rule that removes by one key and writes by another (Peng et al. 2025, arXiv
2503.14456):

    S_t = (diag(w_t) − (a_t ⊙ κ_t)·κ_tᵀ)·S_{t−1} + k̃_t ⊗ v_t,   y_t = S_tᵀ·r_t
    w_t = exp(−e^−½·σ(d_t)),   κ_t = ξ ⊙ k_t of length 1,   k̃_t = k_t ⊙ (1 + α ⊙ (a_t − 1))

for each head (§4; S is the paper's state transposed). a_t, between 0 and 1, is the rate at which each feature of the
memory is learned in context. With P = diag(√a_t), P⁻¹·(diag(w_t) − (a_t ⊙ κ_t)·κ_tᵀ)·P = diag(w_t) − u·uᵀ, u = √a_t ⊙
κ_t. No w_t is below exp(−e^−½) = 0.545, so the eigenvalues of a step lie between 0.545 − 1 = −0.455 and 1: none
reflects, and a parity kept by signs fades. The norm of a step in that basis is at most 1; its Euclidean norm need not
be, and neither need that of a product of steps whose a differ.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from models.mixers.base import MixerOptions, Steps
from models.mixers.convolution import convolve_batch
from models.mixers.matrix_memory import MatrixMemory, join_heads
from models.ops.matrix_state import scan_matrix_state
from models.ops.similarity import l2_normalize

_STREAMS = (
    "receptance",
    "key",
    "value",
    "decay",
    "rate",
    "gate",
)
_GROUP_NORM_EPSILON = 64e-5


def log_decay(decay: Float[Array, "*T"]) -> Float[Array, "*T"]:
    """log w = −e^−½·σ(d), between −0.607 and 0."""
    return -jnp.exp(-0.5) * nn.sigmoid(decay)


class RWKV7(MatrixMemory):
    """width → receptance r, keys and values of `hidden_size` features, and d, a and an output gate through products of
    low rank; the recurrence; each head's outputs normalized (mean and variance), plus (r·(ρ ⊙ k̃))·v; times the gate;
    → width.

    Every stream sees its own blend x_t + μ ⊙ (x_{t−1} − x_t), the token shift, which stands for the short convolution
    of others: `kernel` is 2, or 0 for none. Ranks are the paper's, 1.8·√width and 0.6·width^0.8 for the gate, without
    its rounding to multiples of 32. Left out are what the paper has between blocks, the first block's values mixed into
    others' (ν), and its channel mixing. Here all weights start normal, μ at ½, α at 1, ξ at 0.85, ρ at 0, a
    around ½, and d's bias from −6.5 to −1.5 over the features; in the authors' code μ and this bias depend on the
    block.
    """

    kernel: int = 2

    VERSION = 1

    @classmethod
    def validate(cls, options: MixerOptions) -> None:
        if options["kernel"] not in (0, 2):  # before the bounds of a convolution, which don't count here
            raise options.error("kernel", "must be 2, a token and the one before it, or 0 for no token shift")
        super().validate(options)

    def empty_state(self, batch_size: int) -> dict[str, Array]:
        return self.empty_memory(batch_size, self.head_size, self.width)

    def product_matrices(self) -> dict[str, int]:
        low_rank = [f"{name}_{part}/kernel" for name in self._low_rank() for part in ("down", "up")]
        names = ["receptance/kernel", "key/kernel", "value/kernel", *low_rank, "output/kernel"]
        return dict.fromkeys(names, 1)

    @nn.compact
    def mix(
        self, x: Float[Array, "B T D"], state: dict[str, Any], steps: Steps
    ) -> tuple[Float[Array, "B T D"], dict[str, Any]]:
        n, x = self.hidden_size, x.astype(self.dtype)
        shifted, after = self._shift_tokens(x, state, steps)
        receptance, key, value = (
            self._split_heads(self._project(name, shifted[name], n)) for name in ("receptance", "key", "value")
        )
        decay = self._project_low_rank("decay", shifted["decay"], nn.tanh, bias_init=self._init_decay_bias)
        rate = nn.sigmoid(self._split_heads(self._project_low_rank("rate", shifted["rate"], None)))
        removal = l2_normalize(self._per_feature("removal_scale", 0.85) * key)
        key = key * (1 + self._per_feature("rate_share", 1.0) * (rate - 1))
        log_w = log_decay(self._split_heads(decay))
        erase = (removal * jnp.exp(-log_w), -rate * removal)
        self.sow_recurrence(query=receptance, key=key, value=value, log_gate=log_w, erase=erase)
        after["memory"], y = scan_matrix_state(
            state["memory"],
            receptance,
            key,
            value,
            log_w,
            None,
            steps.start,
            steps.valid,
            erase=erase,
            implementation=self.implementation,
        )
        y = nn.LayerNorm(epsilon=_GROUP_NORM_EPSILON, use_scale=False, use_bias=False)(y)
        y = y * self._per_feature("norm_scale", 1.0) + self._per_feature("norm_bias", 0.0)
        y = y + (receptance * self._per_feature("bonus", 0.0) * key).sum(axis=-1, keepdims=True) * value
        y = join_heads(y)
        if self.output_gate:
            y = y * self._project_low_rank("gate", shifted["gate"], nn.sigmoid, use_bias=False).astype(jnp.float32)
        return self._project("output", y, self.width), after

    def _low_rank(self) -> dict[str, int]:
        """The ranks of the products of two matrices, by stream."""
        rank = max(1, round(1.8 * self.width**0.5))
        gate = {"gate": max(1, round(0.6 * self.width**0.8))} if self.output_gate else {}
        return {"decay": rank, "rate": rank, **gate}

    def _shift_tokens(
        self, x: Float[Array, "B T D"], state: dict[str, Any], steps: Steps
    ) -> tuple[dict[str, Float[Array, "B T D"]], dict[str, Any]]:
        """The blend of each token with the one before it, 0 at a segment's first, for every stream."""
        streams = _STREAMS if self.output_gate else _STREAMS[:-1]
        if not self.kernel:
            return dict.fromkeys(streams, x), {}
        taps = jnp.stack([jnp.zeros(self.width, self.dtype), jnp.ones(self.width, self.dtype)])
        before, past = convolve_batch(x, taps, state["past"], steps.segments, steps.previous_segment)
        blend = self.param("blend", nn.initializers.constant(0.5), (len(streams), self.width)).astype(self.dtype)
        return {name: x + blend[i][None, None] * (before - x) for i, name in enumerate(streams)}, {"past": past}

    def _project_low_rank(
        self, name: str, x: Float[Array, "B T D"], activation: Any, *, use_bias: bool = True, **kwargs: Any
    ) -> Float[Array, "B T F"]:
        """W₂·activation(W₁·x) + b."""
        down = self._project(f"{name}_down", x, self._low_rank()[name])
        down = activation(down) if activation else down
        return self._project(f"{name}_up", down, self.hidden_size, use_bias=use_bias, **kwargs)

    def _per_feature(self, name: str, initial: float) -> Float[Array, "1 1 H S"]:
        """A trained number for each feature of each head."""
        values = self.param(name, nn.initializers.constant(initial), (self.hidden_size,))
        return values.reshape(1, 1, self.heads, self.head_size)

    def _init_decay_bias(self, key: PRNGKeyArray, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
        share = jnp.linspace(0, 1, self.hidden_size, dtype=dtype)
        return -6.5 + 5 * share**0.85
