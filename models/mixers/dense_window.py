"""Idea I of the lecture: feed the whole window into one dense network."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from models.ops.projection import Projection
from models.ops.scan import masked_scan, resume_state, segment_boundaries


def _multiply_window(x: Float[Array, "T M"], blocks: Float[Array, "W W M N"]) -> Float[Array, "T N"]:
    """y_t = Σ_{s ≤ t} x_s·blocks[t, s] for a sequence that starts at place 0."""
    steps = len(x)
    return jnp.einsum("tsmn,sm->tn", blocks[:steps, :steps], x)


def _step_window(blocks: Float[Array, "W W M N"], window: Float[Array, "W M"], token: tuple[Array, Array]):
    """The same for one token `(x [M], place [])`, given the window of the tokens before it in its segment."""
    x, place = token
    window = window.at[place].set(x, mode="drop")
    return window, jnp.einsum("smn,sm->n", blocks.at[place].get(mode="fill", fill_value=jnp.nan), window)


@custom_vmap
def is_unpacked(positions: Int[Array, "B T"], segments: Int[Array, "B T"]) -> Bool[Array, ""]:
    """Whether every row is one sequence from its first step on: not packed, padded behind only."""
    there = (positions == jnp.arange(positions.shape[1])[None]) & (segments == segments[:, :1])
    return jnp.all(there | (segments == 0))


@is_unpacked.def_vmap
def _is_unpacked_vmap(size: int, batched: list[bool], positions: Array, segments: Array):
    """One answer for all replicas: a condition that differed between them would make XLA run both branches."""

    def rows(array: Array, batched: bool) -> Array:
        return (array if batched else jnp.broadcast_to(array, (size, *array.shape))).reshape(-1, array.shape[-1])

    return is_unpacked(rows(positions, batched[0]), rows(segments, batched[1])), False


class DenseWindow(nn.Module):
    """A block-lower-triangular matrix over a window of `max_length` tokens, and a bias for each place in it.

    Block (t, s) maps the token at place s to the output at place t ≥ s, so the next token can be predicted at every
    place. Its parameters grow with the square of the window and it refuses to go past it: ValueError where the length
    is known, nan where the place is traced. With `hidden_size` = `width` the blocks act on the tokens themselves. Any
    other `hidden_size` is a bottleneck: each place gives ⌈hidden_size/2⌉ numbers and gets `hidden_size`, which lets the
    parameters be matched more finely than square blocks would.
    """

    width: int
    hidden_size: int
    max_length: int
    dtype: Any = jnp.float32

    VERSION = 1
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
        """The state is `{"window": [B, W, M], "segment": [B]}`: what the current segment fed in so far."""
        window = self.max_length
        if x.shape[1] > window:
            raise ValueError(
                f"dense has a window of {window} tokens and can't take {x.shape[1]}; raise model.max_length to "
                f"{x.shape[1]} (its parameters grow with the square)"
            )
        narrow = self.hidden_size != self.width
        given = (self.hidden_size + 1) // 2 if narrow else self.width
        u = Projection(given, dtype=self.dtype, name="input")(x) if narrow else x
        rows, columns = jnp.tril_indices(window)
        initial = nn.initializers.normal((window * given) ** -0.5)
        stored = self.param("blocks", initial, (len(rows), given, self.hidden_size)).astype(self.dtype)
        blocks = jnp.zeros((window, window, *stored.shape[1:]), self.dtype).at[rows, columns].set(stored)
        biases = self.param("bias", nn.initializers.zeros, (window, self.hidden_size)).astype(self.dtype)

        valid = segments != 0
        u = jnp.where(valid[..., None], u, 0)
        place = jnp.where(valid, positions, 0)
        empty = jnp.zeros((len(x), window, given), self.dtype)
        begun = {"window": empty, "segment": jnp.zeros(len(x), jnp.int32)}
        if state is None:
            y, state = jax.lax.cond(
                is_unpacked(positions, segments),
                lambda: self._apply_parallel(u, blocks, begun, segments),
                # Without the checkpoint, the branch not taken would fill its residuals, W times the input, with zeros.
                jax.checkpoint(lambda: self._apply_sequential(u, blocks, begun, place, segments)),
            )
        else:
            y, state = self._apply_sequential(u, blocks, resume_state(state, begun), place, segments)
        y = y + biases.at[place].get(mode="fill", fill_value=jnp.nan)
        return Projection(self.width, dtype=self.dtype, name="output")(y) if narrow else y, state

    def _apply_parallel(self, u: Array, blocks: Array, state: Any, segments: Array) -> tuple[Array, Any]:
        y = jax.vmap(_multiply_window, in_axes=(0, None))(u, blocks)
        _, _, last = jax.vmap(segment_boundaries)(segments, state["segment"])
        return y, {"window": state["window"].at[:, : u.shape[1]].set(u), "segment": last}

    def _apply_sequential(
        self, u: Array, blocks: Array, state: Any, place: Array, segments: Array
    ) -> tuple[Array, Any]:
        start, valid, last = jax.vmap(segment_boundaries)(segments, state["segment"])

        def run(window, u, place, start, valid):
            return masked_scan(lambda w, token: _step_window(blocks, w, token), window, (u, place), start, valid)

        window, y = jax.vmap(run)(state["window"], u, place, start, valid)
        return y, {"window": window, "segment": last}
