"""Multi-head attention (Bahdanau et al. 2015; Vaswani et al. 2017, §3.2)."""

from typing import Any

import flax.linen as nn
import jax
import jax.core
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from models import positions as position


def attend(
    query: Float[Array, "H T K"],
    key: Float[Array, "H S K"],
    value: Float[Array, "H S K"],
    mask: Bool[Array, "T S"],
    bias: Float[Array, "H T S"] | None = None,
) -> Float[Array, "H T K"]:
    """softmax(q·kᵀ/√K + bias)·v over the keys that `mask` lets through; scores and softmax in float32.

    A query that may see nothing gets zeros.
    """
    scores = jnp.einsum("htk,hsk->hts", query * query.shape[-1] ** -0.5, key).astype(jnp.float32)
    if bias is not None:
        scores = scores + bias
    scores = jnp.where(mask, scores, -1e30)  # finite, so that a row with no key gives no nan
    weights = jax.nn.softmax(scores, axis=-1) * mask.any(axis=-1)[:, None]
    return jnp.einsum("hts,hsk->htk", weights.astype(value.dtype), value)


def visible(
    queries: Int[Array, "T"], keys: Int[Array, "S"], offset: Int[Array, ""] | int, causal: bool
) -> Bool[Array, "T S"]:
    """Which key a query may see: one of its own segment, no padding and, if `causal`, none after itself.

    `queries` and `keys` are segments; query t stands at place `offset + t` among the keys.
    """
    mask = (queries[:, None] == keys[None, :]) & (keys != 0)
    if causal:
        mask &= jnp.arange(len(keys)) <= offset + jnp.arange(len(queries))[:, None]
    return mask


class Attention(nn.Module):
    """`heads` heads that share `inner` features; query, key and value each with weights and bias of their own.

    Causal attention streams with a cache of keys and values for `max_length` tokens, or for the first call's if that
    has more. Calls that would overflow it raise ValueError where the number of tokens is known, and give nan where
    it is traced.
    """

    width: int
    inner: int
    max_length: int
    heads: int = 4
    bias: bool = True
    causal: bool = True
    positions: str = "none"
    dtype: Any = jnp.float32

    VERSION = 1

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
        """The state is `{"key", "value": [B, H, L, K], "positions", "segments": [B, L], "count": []}`, or None where
        attention is not causal."""
        if self.inner % self.heads:
            raise ValueError(
                f"model.attention.heads={self.heads}: attention's inner width {self.inner} must be divisible by it"
            )
        if state is not None and not self.causal:
            raise ValueError("attention that is not causal sees the whole sequence at once and can't be streamed")
        batch, steps, _ = x.shape
        size = self.inner // self.heads
        query, key, value = self.projections(x).reshape(batch, steps, 3, self.heads, size).transpose(2, 0, 3, 1, 4)
        if self.positions == "rope":
            if size % 2:
                raise ValueError(f"model.positions=rope: the head size {size} must be even")
            query, key = jax.vmap(position.rope)(query, positions), jax.vmap(position.rope)(key, positions)

        if state is None:
            seen, count = {"key": key, "value": value, "positions": positions, "segments": segments}, 0
        else:
            seen, count = remember(state, key, value, positions, segments), state["count"]
        mask = jax.vmap(lambda q, k: visible(q, k, count, self.causal))(segments, seen["segments"])
        bias = None
        if self.positions == "alibi":
            bias = jax.vmap(lambda q, k: position.alibi(q, k, self.heads))(positions, seen["positions"])
        y = jax.vmap(attend)(query, seen["key"], seen["value"], mask, bias)
        if state is not None:
            y = jnp.where(count + steps <= seen["key"].shape[2], y, jnp.nan)
        y = nn.Dense(self.width, use_bias=self.bias, dtype=self.dtype, name="output")(
            y.transpose(0, 2, 1, 3).reshape(batch, steps, self.inner)
        )
        if not self.causal:
            return y, None
        if state is None:
            capacity = max(self.max_length, steps)
            seen = jax.tree.map(lambda a: pad_to(a, capacity, axis=a.ndim - 2 if a.ndim == 4 else 1), seen)
        return y, {**seen, "count": jnp.asarray(count + steps, jnp.int32)}

    def projections(self, x: Float[Array, "B T D"]) -> Float[Array, "B T {3*self.inner}"]:
        """Query, key and value side by side, in one product."""
        initial = nn.initializers.lecun_normal()
        names = ("query", "key", "value")
        kernels = [self.param(f"{name}_kernel", initial, (self.width, self.inner)) for name in names]
        y = x.astype(self.dtype) @ jnp.concatenate(kernels, axis=1).astype(self.dtype)
        if self.bias:
            biases = [self.param(f"{name}_bias", nn.initializers.zeros, (self.inner,)) for name in names]
            y = y + jnp.concatenate(biases).astype(self.dtype)
        return y


def remember(state: Any, key: Array, value: Array, positions: Array, segments: Array) -> dict[str, Array]:
    """The cache with these tokens written behind the `count` that it holds."""
    capacity, count, steps = state["key"].shape[2], state["count"], key.shape[2]
    if not isinstance(count, jax.core.Tracer) and int(count) + steps > capacity:
        raise ValueError(
            f"attention's cache holds {capacity} tokens, of which {int(count)} are used: {steps} more don't fit; "
            f"raise model.max_length"
        )

    def write(name: str, new: Array, axis: int) -> Array:
        return jax.lax.dynamic_update_slice_in_dim(state[name], new.astype(state[name].dtype), count, axis)

    return {
        "key": write("key", key, 2),
        "value": write("value", value, 2),
        "positions": write("positions", positions, 1),
        "segments": write("segments", segments, 1),
    }


def pad_to(array: Array, size: int, axis: int) -> Array:
    """`array` with zeros behind it along `axis`, up to `size`."""
    return jnp.pad(array, [(0, size - n if i == axis else 0) for i, n in enumerate(array.shape)])
