"""The one skeleton: embed → [norm → mixer → add → norm → feed-forward → add] × depth → norm → head."""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, Shaped

from models.feedforward import FeedForward
from models.mixers.bidirectional import Bidirectional
from models.ops.dropout import apply_dropout, fold_rng
from models.ops.position_encodings import ADDITIVE_POSITIONS, additive_encoding
from models.ops.projection import Projection
from models.ops.spreading import gather_params, is_spread


class _NetworkRngs:
    """The keys for each use of randomness in a network of `depth` blocks, folded from one `rng`; None without one.

    The indices are part of the results: another order would draw other dropout masks. 0 is the embedding, 1 … 3·depth
    are three for each block, the next `depth` are the blocks' bridges, and the last is the positions.
    """

    def __init__(self, rng: PRNGKeyArray | None, depth: int):
        self.rng, self.depth = rng, depth
        self.embedding = fold_rng(rng, 0)
        self.positions = fold_rng(rng, 4 * depth + 1)

    def mixer(self, block: int) -> PRNGKeyArray | None:
        return fold_rng(self.rng, 3 * block + 1)

    def mixer_output(self, block: int) -> PRNGKeyArray | None:
        return fold_rng(self.rng, 3 * block + 2)

    def feedforward_output(self, block: int) -> PRNGKeyArray | None:
        return fold_rng(self.rng, 3 * block + 3)

    def bridge_output(self, block: int) -> PRNGKeyArray | None:
        return fold_rng(self.rng, 3 * self.depth + 1 + block)


class Skeleton(nn.Module):
    """A network over sequences, in which models differ in their `mixers` alone: block by block, then over again.

    `vocabulary` tokens are embedded, or `channels` real numbers projected, to `width`. With `per` "token" there are
    `outputs` numbers at each step; with `per` "sequence" there are `outputs` numbers, from the last step that is not
    padding (`pool` "last") or from the mean over these steps (`pool` "mean", which can't stream). Without `outputs`
    there is no head, and the features themselves are returned. `hidden` is the hidden size of the feed-forward layers
    (0: none), and `norm` is "pre", "post" or "none".

    If the last block's mixer reads both ways and `pool` is "last", each direction is read at its own end (see
    models.mixers.bidirectional), so that both have read the whole sequence.

    With `remat` what a block computes inside is not kept for the gradient but computed again (Chen et al. 2016, arXiv
    1604.06174): the same numbers, in less memory and more time.
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
    remat: bool = False

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
        """Outputs in float32, and the state to pass with the next steps: a tuple with the mixer's state of each block.

        `positions` and `segments` default to one sequence per row, from its start; only a first call may leave them
        out. `rng` turns dropout on and draws randomised positions. Other knowledge comes as `context`, which is added
        to every input, or through `bridges`: one function per block, a sublayer between mixer and feed-forward.

        Raises ValueError for a state of another network, or for any state if this network looks both ways. When
        streaming with one output per "sequence", it is that of the last token so far, and nan for rows in which a later
        call has nothing but padding.
        """
        positions, segments = default_positions(inputs, state, positions, segments)
        streaming, rngs = state is not None, _NetworkRngs(rng, self.depth)
        state = self._resume_states(state)
        embedding = nn.Embed(self.vocabulary, self.width, dtype=self.dtype, name="embed") if self.vocabulary else None
        x = (
            embedding(inputs)
            if embedding is not None
            else Projection(self.width, dtype=self.dtype, name="embed")(inputs)
        )
        if self.positions in ADDITIVE_POSITIONS:
            encoding = additive_encoding(
                self, self.positions, positions, segments, self.width, self.max_length, rngs.positions
            )
            x = x + encoding.astype(self.dtype)
        if context is not None:
            x = x + context
        x = apply_dropout(x, self.dropout, rngs.embedding)

        states = []
        for block in range(self.depth):
            x, state_after = self._apply_block(block, x, state[block], positions, segments, rngs, bridges, streaming)
            states.append(state_after)
        if self.final_norm:
            x = self._layer_norm("final_norm")(x)
        if self.per == "sequence":
            x = pool_sequence(x, segments, self.pool)
            if streaming:  # the last token of an earlier call is gone
                x = jnp.where((segments != 0).any(axis=1)[:, None], x, jnp.nan)
        if not self.outputs:
            return x.astype(jnp.float32), tuple(states)
        if self.tie_embeddings and embedding is not None:
            return embedding.attend(x).astype(jnp.float32), tuple(states)
        return Projection(self.outputs, dtype=self.dtype, name="head")(x).astype(jnp.float32), tuple(states)

    def _apply_block(
        self,
        block: int,
        x: Float[Array, "B T D"],
        state: Any,
        positions: Int[Array, "B T"],
        segments: Int[Array, "B T"],
        rngs: _NetworkRngs,
        bridges: Sequence[Callable[[Array], Array]],
        streaming: bool,
    ) -> tuple[Float[Array, "B T D"], Any]:
        """The features behind one block, and its mixer's next state.

        With `remat`, the gradient computes the inside of a block again. A bridge's parameters are another network's, so
        the sublayers on its two sides are then computed again each on its own.
        """

        def mix(network: Skeleton, x: Array, state: Any) -> tuple[Array, Any]:
            return network._mix_tokens(block, x, state, positions, segments, rngs)

        def transform(network: Skeleton, x: Array) -> Array:
            return network._transform_features(block, x, rngs)

        def whole_block(network: Skeleton, x: Array, state: Any) -> tuple[Array, Any]:
            x, state = mix(network, x, state)
            return transform(network, x), state

        def again(function: Callable) -> Callable:
            if not self.remat or streaming or self.is_initializing():
                return function
            return nn.remat(_gather_within(function, block) if is_spread() else function)

        if not bridges:
            return again(whole_block)(self, x, state)
        x, state = again(mix)(self, x, state)
        y = bridges[block](self._pre_norm(x, f"bridge_norm_{block}"))
        y = apply_dropout(y, self.dropout, rngs.bridge_output(block))
        x = self._add_and_norm(x, y, f"bridge_norm_{block}")
        return again(transform)(self, x), state

    def _mix_tokens(
        self, block: int, x: Array, state: Any, positions: Array, segments: Array, rngs: _NetworkRngs
    ) -> tuple[Array, Any]:
        """The sublayer of the mixer, and the mixer's next state."""
        mixer = self.mixers[block % len(self.mixers)](width=self.width, dtype=self.dtype, name=f"mixer_{block}")
        labels = self.per == "sequence" and self.pool == "last" and block == self.depth - 1
        y, state_after = mixer(
            self._pre_norm(x, f"mixer_norm_{block}"),
            state=state,
            positions=positions,
            segments=segments,
            rng=rngs.mixer(block),
            **({"at_ends": True} if labels and isinstance(mixer, Bidirectional) else {}),
        )
        y = apply_dropout(y, self.dropout, rngs.mixer_output(block))
        return self._add_and_norm(x, y, f"mixer_norm_{block}"), state_after

    def _transform_features(self, block: int, x: Array, rngs: _NetworkRngs) -> Array:
        """The feed-forward sublayer, if there is one."""
        if not self.hidden:
            return x
        feedforward = FeedForward(self.width, self.hidden, self.activation, self.dtype, name=f"feedforward_{block}")
        y = feedforward(self._pre_norm(x, f"feedforward_norm_{block}"))
        y = apply_dropout(y, self.dropout, rngs.feedforward_output(block))
        return self._add_and_norm(x, y, f"feedforward_norm_{block}")

    def _resume_states(self, state: Any) -> tuple[Any, ...]:
        """The mixer's state of each block; None for each if there is none yet."""
        if state is None:
            return (None,) * self.depth
        if self.pool == "mean" and self.per == "sequence":
            raise ValueError("model.pool=mean needs the whole sequence: use pool=last to stream")
        if not isinstance(state, tuple) or len(state) != self.depth:
            given = f"{len(state)} states" if isinstance(state, tuple) else f"a {type(state).__name__}"
            raise ValueError(f"{given} can't be gone on from here; this network of depth {self.depth} has as many")
        if any(mixer_state is None for mixer_state in state):
            raise ValueError("a network that is not causal sees the whole sequence at once and can't be streamed")
        return state

    def _pre_norm(self, x: Array, name: str) -> Array:
        """The input of a sublayer: norm(x) in a pre-norm network, else x."""
        return self._layer_norm(name)(x) if self.norm == "pre" else x

    def _add_and_norm(self, x: Array, y: Array, name: str) -> Array:
        """Add the residual x to a sublayer's output y, unless `residual` is off; then norm in a post-norm network."""
        y = x + y if self.residual else y
        return self._layer_norm(name)(y) if self.norm == "post" else y

    def _layer_norm(self, name: str) -> nn.LayerNorm:
        return nn.LayerNorm(dtype=self.dtype, name=name)


def is_block_param(path: Sequence[Any]) -> bool:
    """Whether the parameter at this path is one that `remat` computes with inside of a block."""
    return any(str(getattr(key, "key", "")).startswith(("mixer_", "feedforward_")) for key in path)


def _gather_within(function: Callable, block: int) -> Callable:
    """A function of a network and arrays, in which the spread parameters of `block` are whole."""

    def gather(variables: Any) -> Any:
        of_block = {name: part for name, part in variables["params"].items() if name.endswith(f"_{block}")}
        return {**variables, "params": gather_params(of_block)}

    return nn.map_variables(function, "params", trans_in_fn=gather)


def default_positions(inputs: Shaped[Array, "B T *C"], state: Any, positions: Array | None, segments: Array | None):
    """Positions and segments [B, T]; a first call may leave both out: each row is then one sequence from its start."""
    if positions is not None and segments is not None:
        return positions, segments
    if state is not None or positions is not segments:
        raise ValueError("a call must say its positions and segments: both, or neither if it is the first")
    shape = inputs.shape[:2]
    return jnp.broadcast_to(jnp.arange(shape[1]), shape), jnp.ones(shape, jnp.int32)


def pool_sequence(x: Float[Array, "B T D"], segments: Int[Array, "B T"], method: str) -> Float[Array, "B D"]:
    """The last step that is not padding ("last"), or the mean over these steps ("mean")."""
    valid = segments != 0
    if method == "mean":
        return (x * valid[..., None]).sum(axis=1) / jnp.maximum(valid.sum(axis=1), 1)[:, None].astype(x.dtype)
    steps = jnp.arange(segments.shape[1])
    last = jnp.where(valid, steps[None], 0).max(axis=1)
    return jnp.take_along_axis(x, last[:, None, None], axis=1)[:, 0]
