"""The xLSTM's two cells, whose gates are exponentials (Beck et al. 2024, arXiv 2405.04517).

    sLSTM:  c = f·c + i·tanh(g),  n = f·n + i,  h = σ(o)·c/n             with recurrent weights, one step at a time
    mLSTM:  C = f·C + i·v⊗k,  n = f·n + i·k,  h = σ(o)·C·q / max(|n·q|, 1)  without, so that all steps go at once

i = exp(ĩ), f = σ(f̃). Both carry what they hold divided by exp(m), m = max(log f + m, ĩ), which changes no output and
keeps every number small (eq. 15 and 26).
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from models.mixers.recurrent import init_orthogonal, recurrent_matvec
from models.ops.projection import Projection
from models.ops.scan import (
    causal_segment_mask,
    masked_cumsum,
    masked_scan,
    resume_state,
    scan_chunks,
    segment_boundaries,
)

XLSTM_INITS = {"slstm": ("powerlaw", "linspace", "plain"), "mlstm": ("linspace", "plain")}
_CHUNK_SIZE = 32  # steps of the mLSTM taken at once
LOG_ZERO = -1e30  # the m of a memory in which nothing was written


def slstm_step(weights: dict[str, Array], carry: dict[str, Float[Array, "N"]], drive: Float[Array, "4*N"]):
    """One step; at a segment's start all of `carry` is zero, and n = 0 there makes m's value irrelevant."""
    i, f, g, o = jnp.split(drive + recurrent_matvec(carry["h"], weights["recurrent"]), 4)
    held = jnp.where(carry["n"] > 0, nn.log_sigmoid(f) + carry["m"], -jnp.inf)
    m = jax.lax.stop_gradient(jnp.maximum(held, i))  # h does not depend on it
    kept, new = jnp.exp(held - m), jnp.exp(i - m)
    c, n = kept * carry["c"] + new * jnp.tanh(g), kept * carry["n"] + new
    h = nn.sigmoid(o) * c / n
    return {"c": c, "n": n, "m": m, "h": h}, h


def mlstm_chunk(
    memory: dict[str, Array],
    query: Float[Array, "C K"],
    key: Float[Array, "C K"],
    value: Float[Array, "C V"],
    i: Float[Array, "C"],
    f: Float[Array, "C"],
    start: Bool[Array, "C"],
    valid: Bool[Array, "C"],
) -> tuple[dict[str, Array], Float[Array, "C V"]]:
    """`C` steps at once. The memory is `{"c": [K, V+1], "m": []}`, with n as c's last column."""
    steps = len(query)
    value = jnp.where(valid[:, None], jnp.concatenate([value, jnp.ones((steps, 1))], axis=1), 0)
    key, i = jnp.where(valid[:, None], key, 0), jnp.where(valid, i, LOG_ZERO)
    past, before = causal_segment_mask(start)
    faded, rest = masked_cumsum(jnp.where(valid, nn.log_sigmoid(f), 0), past)
    between = (faded[:, None] - faded[None] + i[None]) + (rest[:, None] - rest[None])
    written = jnp.where(past, between, LOG_ZERO)  # log of what step s weighs at step t
    held = jnp.where(before, faded + memory["m"] + rest, LOG_ZERO)  # and of what the memory held before
    m = jnp.maximum(jnp.maximum(written.max(axis=1), held), LOG_ZERO)
    m = jax.lax.stop_gradient(m)  # no output depends on it
    weights, since = jnp.exp(written - m[:, None]), jnp.exp(held - m)
    weights = jnp.where(past & valid[None], weights, 0)
    since = jnp.where(before & (memory["m"] > LOG_ZERO), since, 0)
    y = since[:, None] * (query @ memory["c"]) + (weights * (query @ key.T)) @ value
    c = since[-1] * memory["c"] + (key * weights[-1][:, None]).T @ value
    # e^−m, as far as float32 can divide by its square; above m = 27 it is far below what n·q is rounded by.
    floor = jnp.exp(-jnp.clip(m, -80, 27))[:, None]
    return {"c": c, "m": m[-1]}, y[:, :-1] / jnp.maximum(jnp.abs(y[:, -1:]), floor)


class SLSTM(nn.Module):
    """width → gates → a state of `hidden_size` units → width.

    `gate_init` says what it starts from. As in the authors' package, recurrent weights and biases are 0, but for the
    forget gate's biases: "powerlaw", its default, has 5 − 12·x^(0.3 + 1.3·`place`) with x from 0 to 1 over the units
    and `place` from 0 in the first block to 1 in the last; "linspace" has 3 to 6. "plain" has biases of 0 and
    orthogonal recurrent weights. Unlike there, there is one head, no convolution before the gates and no norm behind
    the cell.
    """

    width: int
    hidden_size: int
    max_length: int = 0
    dtype: Any = jnp.float32
    gate_init: str = "powerlaw"
    place: float = 0.0

    VERSION = 2  # 1: started as "plain" does
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
        """The state is `{"carry": {c, n, m, h: [B, N]}, "segment": [B]}`."""
        n = self.hidden_size
        bias = lambda _, shape, dtype=jnp.float32: jnp.zeros(shape, dtype).at[n : 2 * n].set(self._forget_bias())  # noqa: E731
        drive = Projection(4 * n, dtype=self.dtype, bias_init=bias, name="input")(x).astype(jnp.float32)
        initial = init_orthogonal if self.gate_init == "plain" else nn.initializers.zeros
        weights = {"recurrent": self.param("recurrent", initial, (n, 4 * n)).astype(self.dtype)}
        carry = {name: jnp.zeros((len(x), n)) for name in "cnmh"}
        state = resume_state(state, {"carry": carry, "segment": jnp.zeros(len(x), jnp.int32)})
        start, valid, last = jax.vmap(segment_boundaries)(segments, state["segment"])
        run = partial(masked_scan, partial(slstm_step, weights))
        carry, y = jax.vmap(run)(state["carry"], drive, start, valid)
        return Projection(self.width, dtype=self.dtype, name="output")(y), {"carry": carry, "segment": last}

    def _forget_bias(self) -> Float[Array, "N"]:
        """The forget gate's biases to start from."""
        if self.gate_init == "powerlaw":
            return 5 - 12 * jnp.linspace(0, 1, self.hidden_size) ** (0.3 + 1.3 * self.place)
        return jnp.linspace(3, 6, self.hidden_size) if self.gate_init == "linspace" else jnp.zeros(self.hidden_size)


class MLSTM(nn.Module):
    """`heads` matrix memories that share `hidden_size` features of queries, keys and values.

    `gate_init` says what the gates start from: "linspace", as in the authors' package, from weights of 0, biases of the
    forget gates from 3 to 6 over the heads, and of the input gates normal at 0.1; "plain" from weights like all others
    and biases of 3 and 0. Each head's output is normed by its root mean square, where the paper also takes away the
    mean; unlike there, gates see the input and not the queries, keys and values, before which there is no convolution.
    """

    width: int
    hidden_size: int
    max_length: int = 0
    dtype: Any = jnp.float32
    heads: int = 4
    gate_init: str = "linspace"

    VERSION = 2  # 1: started as "plain" does
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
        """The state is `{"c": [B, H, K, V+1], "m": [B, H], "segment": [B]}`."""
        batch, steps, _ = x.shape
        size = self.hidden_size // self.heads
        memory = {"c": jnp.zeros((batch, self.heads, size, size + 1)), "m": jnp.full((batch, self.heads), LOG_ZERO)}
        state = resume_state(state, memory | {"segment": jnp.zeros(batch, jnp.int32)})
        start, valid, last = jax.vmap(segment_boundaries)(segments, state["segment"])
        mixed = Projection(3 * self.hidden_size, dtype=self.dtype, name="input")(x).astype(jnp.float32)
        query, key, value = mixed.reshape(batch, steps, 3, self.heads, size).transpose(2, 0, 3, 1, 4)
        kernel = nn.initializers.lecun_normal() if self.gate_init == "plain" else nn.initializers.zeros
        gates = Projection(
            2 * self.heads, dtype=self.dtype, kernel_init=kernel, bias_init=self._gate_bias, name="gates"
        )(x)
        gates = gates.astype(jnp.float32)
        i, f = gates.reshape(batch, steps, 2, self.heads).transpose(2, 0, 3, 1)
        run = lambda memory, *sequence: scan_chunks(mlstm_chunk, memory, sequence, _CHUNK_SIZE, gpu_unroll=4)  # noqa: E731
        heads = jax.vmap(run, in_axes=(0, 0, 0, 0, 0, 0, None, None))
        memory = {name: state[name] for name in "cm"}
        memory, y = jax.vmap(heads)(memory, query, key * size**-0.5, value, i, f, start, valid)
        y = nn.RMSNorm(epsilon=1e-5, name="norm")(y).transpose(0, 2, 1, 3).reshape(batch, steps, self.hidden_size)
        y = nn.sigmoid(Projection(self.hidden_size, dtype=self.dtype, name="gate")(x)) * y.astype(self.dtype)
        return Projection(self.width, dtype=self.dtype, name="output")(y), memory | {"segment": last}

    def _gate_bias(self, key: PRNGKeyArray, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
        """The biases of the input gates, and then of the forget gates, to start from."""
        if self.gate_init == "plain":
            return jnp.repeat(jnp.array([0.0, 3.0]), self.heads)
        return jnp.concatenate([0.1 * jax.random.normal(key, (self.heads,)), jnp.linspace(3, 6, self.heads)])
