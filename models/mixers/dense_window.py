"""One dense layer over a whole window of tokens: Idea I of the lecture (MIT 6.S191, lecture 2)."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap
from jaxtyping import Array, Bool, Float, Int

from models.mixers.base import Mixer, MixerOptions, Steps
from models.ops.projection import Projection
from models.ops.scan import masked_scan


def _multiply_window(x: Float[Array, "T M"], blocks: Float[Array, "W W M N"]) -> Float[Array, "T N"]:
    """y_t = Σ_{s ≤ t} x_s·blocks[t, s] for a sequence that starts at place 0."""
    steps = len(x)
    return jnp.einsum("tsmn,sm->tn", blocks[:steps, :steps], x)


def _step_window(blocks: Float[Array, "W W M N"], window: Float[Array, "W M"], token: tuple[Array, Array]):
    """The output for one token `(x [M], place [])`, given the window of the tokens before it in its segment."""
    x, place = token
    window = window.at[place].set(x, mode="drop")
    return window, jnp.einsum("smn,sm->n", blocks.at[place].get(mode="fill", fill_value=jnp.nan), window)


@custom_vmap
def is_unpacked(positions: Int[Array, "B T"], segments: Int[Array, "B T"]) -> Bool[Array, ""]:
    """Whether every row is one sequence from its first step on, not packed and only padded behind."""
    in_place = (positions == jnp.arange(positions.shape[1])[None]) & (segments == segments[:, :1])
    return jnp.all(in_place | (segments == 0))


@is_unpacked.def_vmap
def _is_unpacked_vmap(size: int, batched: list[bool], positions: Array, segments: Array):
    """One answer for all members of an ensemble: a batched condition would make XLA run both branches."""

    def rows(array: Array, batched: bool) -> Array:
        return (array if batched else jnp.broadcast_to(array, (size, *array.shape))).reshape(-1, array.shape[-1])

    return is_unpacked(rows(positions, batched[0]), rows(segments, batched[1])), False


class DenseWindow(Mixer):
    """A block-lower-triangular matrix over a window of `max_length` tokens, and a bias for each place in it.

    Block (t, s) maps the token at place s to the output at place t ≥ s, so that every place can predict the next token.
    Parameters grow with the square of the window. Going past the window raises ValueError where the length is known,
    and gives nan where the place is traced. With `hidden_size` = `width` the blocks act on the tokens themselves. Any
    other `hidden_size` is a bottleneck: each place gives ⌈hidden_size/2⌉ numbers and gets `hidden_size`, which allows a
    finer match of the parameters than square blocks would.
    """

    VERSION = 1

    @classmethod
    def validate(cls, options: MixerOptions) -> None:
        length = options.model["max_length"]
        if length**2 >= 2**31:
            raise ValueError(f"model.max_length={length}: {options.name}'s parameters grow with its square; use less")

    def empty_state(self, batch_size: int) -> dict[str, Array]:
        """{"window": [B, W, M]}: the inputs of the current segment so far."""
        return {"window": jnp.zeros((batch_size, self.max_length, self._input_size()), self.dtype)}

    def product_matrices(self) -> dict[str, int]:
        return {"input/kernel": 1, "output/kernel": 1}  # not "blocks", which are parts of one matrix

    @nn.compact
    def mix(
        self, x: Float[Array, "B T D"], state: dict[str, Any], steps: Steps
    ) -> tuple[Float[Array, "B T D"], dict[str, Any]]:
        window, size = self.max_length, self._input_size()
        if x.shape[1] > window:
            raise ValueError(
                f"dense has a window of {window} tokens and can't take {x.shape[1]}; raise model.max_length to "
                f"{x.shape[1]} (its parameters grow with the square)"
            )
        bottleneck = self.hidden_size != self.width
        u = Projection(size, dtype=self.dtype, name="input")(x) if bottleneck else x
        rows, columns = jnp.tril_indices(window)
        initial = nn.initializers.normal((window * size) ** -0.5)
        stored = self.param("blocks", initial, (len(rows), size, self.hidden_size)).astype(self.dtype)
        blocks = jnp.zeros((window, window, *stored.shape[1:]), self.dtype).at[rows, columns].set(stored)
        biases = self.param("bias", nn.initializers.zeros, (window, self.hidden_size)).astype(self.dtype)

        u = jnp.where(steps.valid[..., None], u, 0)
        place = jnp.where(steps.valid, steps.positions, 0)
        if steps.first_call:
            y, inputs = jax.lax.cond(
                is_unpacked(steps.positions, steps.segments),
                lambda: self._apply_parallel(u, blocks, state["window"]),
                # Without the checkpoint, the branch not taken would fill its residuals, W times the input, with zeros.
                jax.checkpoint(lambda: self._apply_sequential(u, blocks, state["window"], place, steps)),
            )
        else:
            y, inputs = self._apply_sequential(u, blocks, state["window"], place, steps)
        y = y + biases.at[place].get(mode="fill", fill_value=jnp.nan)
        y = Projection(self.width, dtype=self.dtype, name="output")(y) if bottleneck else y
        return y, {"window": inputs}

    def _input_size(self) -> int:
        """How many numbers each place gives to the blocks."""
        return self.width if self.hidden_size == self.width else (self.hidden_size + 1) // 2

    def _apply_parallel(self, u: Array, blocks: Array, window: Array) -> tuple[Array, Array]:
        """Outputs of rows that are one sequence from its start, and the window filled with their inputs."""
        return jax.vmap(_multiply_window, in_axes=(0, None))(u, blocks), window.at[:, : u.shape[1]].set(u)

    def _apply_sequential(
        self, u: Array, blocks: Array, window: Array, place: Array, steps: Steps
    ) -> tuple[Array, Array]:
        """The same step by step, for any rows and from any window."""

        def run(window, u, place, start, valid):
            return masked_scan(partial(_step_window, blocks), window, (u, place), start, valid)

        window, y = jax.vmap(run)(window, u, place, steps.start, steps.valid)
        return y, window
