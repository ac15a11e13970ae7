"""The one skeleton: embed → [norm → mixer → add → norm → feed-forward → add] × depth → norm → head."""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, Shaped

from models.feedforward import FeedForward
from models.mixers.bidirectional import Bidirectional
from models.ops.position_encodings import ADDITIVE_POSITIONS, additive_encoding
from models.ops.projection import Projection


class Skeleton(nn.Module):
    """A network over sequences in which the `mixers`, one a block and over again, are all that differs between models.

    `vocabulary` tokens are embedded, or `channels` real numbers projected, to `width`. Per "token" there are `outputs`
    numbers at each step; per "sequence" there are `outputs` numbers from the last step that is no padding (`pool`
    "last") or from the mean over those (`pool` "mean", not streamed). Without `outputs` there is no head, and the
    features themselves are returned. `norm` is "pre", "post" or "none".

    With `pool` "last", the last block's mixer may read both ways: the last step then gets each direction's features at
    that direction's own end (see models.mixers.bidirectional), so that both have read the whole sequence.
    """

    mixers: Sequence[Callable[..., nn.Module]]
    depth: int
    width: int
    vocabulary: int
    channels: int
    outputs: int
    max_length: int
    per: str = "token"
    pool: str = "last"
    hidden: int = 256
    activation: str = "gelu"
    norm: str = "pre"
    residual: bool = True
    final_norm: bool = True
    positions: str = "none"
    tie_embeddings: bool = False
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        inputs: Shaped[Array, "B T *C"],
        *,
        state: Any = None,
        positions: Int[Array, "B T"] | None = None,
        segments: Int[Array, "B T"] | None = None,
        rng: PRNGKeyArray | None = None,
        context: Float[Array, "B 1 D"] | None = None,
        bridges: Sequence[Callable[[Array], Array]] = (),
    ) -> tuple[Float[Array, "B *T O"], Any]:
        """Outputs in float32, and the state to pass with the next steps: a tuple with one mixer's state a block.

        `positions` and `segments` default to one sequence a row from its start, which only a first call may assume.
        `rng` turns dropout on and draws randomised positions. What else a network knows comes as `context`, added to
        every input, or through `bridges`: a function a block, a sublayer of its own between mixer and feed-forward.

        Raises ValueError for a state that is none of this network's, and for one of a network that looks both ways.
        Streamed, an output per "sequence" is that of the last token so far, and nan for a row that a later call gives
        padding alone.
        """
        positions, segments = default_positions(inputs, state, positions, segments)
        streaming = state is not None
        state = self._resume_states(state)
        embedding = None
        if self.vocabulary:
            embedding = nn.Embed(self.vocabulary, self.width, dtype=self.dtype, name="embed")
            x = embedding(inputs)
        else:
            x = Projection(self.width, dtype=self.dtype, name="embed")(inputs)
        if self.positions in ADDITIVE_POSITIONS:
            for_positions = fold_rng(rng, 4 * self.depth + 1)
            vectors = additive_encoding(
                self, self.positions, positions, segments, self.width, self.max_length, for_positions
            )
            x = x + vectors.astype(self.dtype)
        if context is not None:
            x = x + context
        x = apply_dropout(x, self.dropout, fold_rng(rng, 0))

        states = []
        for block in range(self.depth):
            mixer = self.mixers[block % len(self.mixers)](width=self.width, dtype=self.dtype, name=f"mixer_{block}")
            feedforward = FeedForward(self.width, self.hidden, self.activation, self.dtype, name=f"feedforward_{block}")
            for_mixer, for_sum, for_feedforward = (fold_rng(rng, 3 * block + i) for i in (1, 2, 3))

            label = self.per == "sequence" and self.pool == "last" and block == self.depth - 1
            y, new = mixer(
                self._pre_norm(x, f"mixer_norm_{block}"),
                state=state[block],
                positions=positions,
                segments=segments,
                rng=for_mixer,
                **({"at_ends": True} if label and isinstance(mixer, Bidirectional) else {}),
            )
            states.append(new)
            x = self._add_and_norm(x, apply_dropout(y, self.dropout, for_sum), f"mixer_norm_{block}")
            if bridges:
                y = bridges[block](self._pre_norm(x, f"bridge_norm_{block}"))
                for_bridge = fold_rng(rng, 3 * self.depth + 1 + block)
                x = self._add_and_norm(x, apply_dropout(y, self.dropout, for_bridge), f"bridge_norm_{block}")
            if self.hidden:
                y = feedforward(self._pre_norm(x, f"feedforward_norm_{block}"))
                x = self._add_and_norm(x, apply_dropout(y, self.dropout, for_feedforward), f"feedforward_norm_{block}")
        if self.final_norm:
            x = self._layer_norm("final_norm")(x)
        if self.per == "sequence":
            x = pool_sequence(x, segments, self.pool)
            if streaming:  # what was last in an earlier call is not known any more
                x = jnp.where((segments != 0).any(axis=1)[:, None], x, jnp.nan)
        if not self.outputs:
            return x.astype(jnp.float32), tuple(states)
        if self.tie_embeddings and embedding is not None:
            return embedding.attend(x).astype(jnp.float32), tuple(states)
        return Projection(self.outputs, dtype=self.dtype, name="head")(x).astype(jnp.float32), tuple(states)

    def _resume_states(self, state: Any) -> tuple[Any, ...]:
        """One mixer's state a block; None each where there is none yet."""
        if state is None:
            return (None,) * self.depth
        if self.pool == "mean" and self.per == "sequence":
            raise ValueError("model.pool=mean needs the whole sequence: use pool=last to stream")
        if not isinstance(state, tuple) or len(state) != self.depth:
            found = f"{len(state)} states" if isinstance(state, tuple) else f"a {type(state).__name__}"
            raise ValueError(f"{found} can't be gone on from here; this network of depth {self.depth} has as many")
        if any(one is None for one in state):
            raise ValueError("a network that is not causal sees the whole sequence at once and can't be streamed")
        return state

    def _pre_norm(self, x: Array, name: str) -> Array:
        """What a sublayer reads: norm(x), or x itself where the norm comes after or not at all."""
        return self._layer_norm(name)(x) if self.norm == "pre" else x

    def _add_and_norm(self, x: Array, y: Array, name: str) -> Array:
        """What follows a sublayer that read x and gave y: x + y, or y where `residual` is off; then a post-norm."""
        y = x + y if self.residual else y
        return self._layer_norm(name)(y) if self.norm == "post" else y

    def _layer_norm(self, name: str) -> nn.LayerNorm:
        return nn.LayerNorm(dtype=self.dtype, name=name)


def default_positions(inputs: Shaped[Array, "B T *C"], state: Any, positions: Array | None, segments: Array | None):
    """Positions and segments [B, T], which a first call may leave out: then each row is one sequence from its start."""
    if positions is not None and segments is not None:
        return positions, segments
    if state is not None or positions is not segments:
        raise ValueError("a call must say its positions and segments: both, or neither if it is the first")
    shape = inputs.shape[:2]
    return jnp.broadcast_to(jnp.arange(shape[1]), shape), jnp.ones(shape, jnp.int32)


def pool_sequence(x: Float[Array, "B T D"], segments: Int[Array, "B T"], how: str) -> Float[Array, "B D"]:
    """The last step that is no padding, or the mean over such steps."""
    valid = segments != 0
    if how == "mean":
        return (x * valid[..., None]).sum(axis=1) / jnp.maximum(valid.sum(axis=1), 1)[:, None].astype(x.dtype)
    steps = jnp.arange(segments.shape[1])
    last = jnp.where(valid, steps[None], 0).max(axis=1)
    return jnp.take_along_axis(x, last[:, None, None], axis=1)[:, 0]


def fold_rng(rng: PRNGKeyArray | None, index: int) -> PRNGKeyArray | None:
    """The key for one of several uses, or None where there is none."""
    return None if rng is None else jax.random.fold_in(rng, index)


def apply_dropout(x: Array, rate: float, rng: PRNGKeyArray | None) -> Array:
    """Each element zeroed with probability `rate`, the rest scaled by 1/(1 − rate); nothing without an `rng`."""
    if rng is None or not rate:
        return x
    return jnp.where(jax.random.bernoulli(rng, 1 - rate, x.shape), x / (1 - rate), 0)
