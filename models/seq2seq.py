"""Encoder–decoder: one skeleton reads a source, another writes a target, and a single link connects them.

    h_1 … h_n = encoder(source)                 h_j depends on the whole source
    s_1 … s_t = decoder(target so far)          s_t depends on the target before it

    vector      c = tanh(V·[h_1; h_n]), added to every input of the decoder    Cho et al. 2014 (arXiv 1406.1078), §2.2
    otherwise   α_tj = softmax_j similarity(Q·s_t, K·h_j), and Σ_j α_tj·V·h_j is added to s_t within each block:
        additive                                                               Bahdanau et al. 2015 (arXiv 1409.0473)
        dot, general                                                           Luong et al. 2015 (arXiv 1508.04025)
        scaled, and attention as the mixer: the Transformer                    Vaswani et al. 2017 (arXiv 1706.03762)
        cosine                                                                 see models.ops.similarity

The vector has `width` numbers however long the source is: the bottleneck. Since any causal mixer can be the decoder,
what these papers do inside a recurrent step is done around it. Bahdanau queries with the state before the step and
feeds the result into it; here, as in Luong and in the Transformer, the state after the step is the query. Cho also
initializes the decoder's state with c; here it starts empty.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from models.ops.dropout import fold_rng
from models.ops.normalizers import NORMALIZERS
from models.ops.projection import Projection
from models.ops.similarity import SIMILARITIES, similarity_initializers
from models.skeleton import Skeleton, default_positions, pool_sequence

ENCODER_DECODERS = ("vector", *SIMILARITIES)


class SourceTargetPair(NamedTuple):
    """The two sequences of a row; 0 in `source_segments` and `target_segments` is padding.

    The target begins with the separator, which was at place `start` of the row and gets position 0. `fits` is False if
    a token had to be left out.
    """

    source: Int[Array, "S"]
    source_segments: Int[Array, "S"]
    target: Int[Array, "W"]
    target_segments: Int[Array, "W"]
    target_positions: Int[Array, "W"]
    start: Int[Array, ""]
    fits: Bool[Array, ""]


def split_source_target(
    row: Int[Array, "T"], positions: Int[Array, "T"], segments: Int[Array, "T"], separator: int, halves: bool
) -> SourceTargetPair:
    """Split a row into its source, which is everything before its first `separator`, and its target, the rest.

    Each gets as many places as the row has, or half of them if `halves` promises that this is enough.
    """
    steps = len(row)
    sources, targets = (steps // 2, steps - steps // 2) if halves else (steps, steps)
    place, separates = jnp.arange(steps), (row == separator) & (segments != 0)
    start = jnp.where(separates.any(), separates.argmax(), steps)
    before = place < start
    from_start = start + jnp.arange(targets)
    outside = jnp.where(before, place >= sources, place - start >= targets)
    counted = (before & (segments != 0)).sum()
    return SourceTargetPair(
        source=jnp.where(before, row, 0)[:sources],
        source_segments=jnp.where(before, segments, 0)[:sources],
        target=row.at[from_start].get(mode="fill", fill_value=0),
        target_segments=segments.at[from_start].get(mode="fill", fill_value=0),
        target_positions=jnp.maximum(positions.at[from_start].get(mode="fill", fill_value=0) - counted, 0),
        start=start,
        fits=~(outside & (segments != 0)).any(),
    )


def restore_row_outputs(logits: Float[Array, "W O"], pair: SourceTargetPair, steps: int) -> Float[Array, "{steps} O"]:
    """The outputs of a target at its places in the row, with zeros before them; nan if the row did not fit."""
    place = jnp.arange(steps)
    back = jnp.where(place < pair.start, len(logits), place - pair.start)
    return jnp.where(pair.fits, logits.at[back].get(mode="fill", fill_value=0.0), jnp.nan)


class CrossAttention(nn.Module):
    """Attention whose queries come from one sequence and whose keys and values come from another."""

    width: int
    heads: int = 1
    similarity: str = "scaled"
    normalizer: str = "softmax"
    dtype: Any = jnp.float32

    def setup(self):
        dense = partial(Projection, self.width, dtype=self.dtype)
        self.query, self.key, self.value, self.output = dense(), dense(), dense(), dense()
        initial = similarity_initializers(self.similarity, self.heads, self.width // self.heads)
        self.score_params = {name: self.param(name, make) for name, make in initial.items()}

    def project_keys_values(self, x: Float[Array, "B S D"]) -> tuple[Float[Array, "B H S K"], Float[Array, "B H S K"]]:
        """Keys and values of a source, which are computed once for all queries."""
        return self._split_heads(self.key(x)), self._split_heads(self.value(x))

    def __call__(
        self,
        x: Float[Array, "B T D"],
        key: Float[Array, "B H S K"],
        value: Float[Array, "B H S K"],
        segments: Int[Array, "B S"],
    ) -> Float[Array, "B T D"]:
        """With `apply(…, mutable="intermediates")` there are also the "weights", [B, H, T, S]."""
        mask = jnp.broadcast_to((segments != 0)[:, None], (*x.shape[:2], segments.shape[1]))
        similarity = jax.vmap(jax.vmap(SIMILARITIES[self.similarity]), (0, 0, None))  # over heads, then over the batch
        scores = similarity(self._split_heads(self.query(x)), key, dict(self.score_params))
        weights = jnp.divide(*jax.vmap(NORMALIZERS[self.normalizer])(scores, mask[:, None]))
        self.sow("intermediates", "weights", weights)
        y = jnp.einsum("bhts,bhsk->bthk", weights.astype(value.dtype), value)
        return self.output(y.reshape(x.shape))

    def _split_heads(self, x: Float[Array, "B T D"]) -> Float[Array, "B H T K"]:
        return x.reshape(*x.shape[:2], self.heads, -1).swapaxes(1, 2)


class Seq2Seq(nn.Module):
    """Two skeletons, linked by `encoder_decoder` (one of ENCODER_DECODERS), whose cross-attention has `heads` heads.

    The `encoder` returns features (`outputs` 0) and may read both ways; the `decoder`, of the same width, is causal and
    streams. Like any network it takes rows, each of which holds a source, the token `separator`, and a target. `halves`
    promises that source and target each fit in half of a row, so that the other half need not be computed.
    """

    encoder: Skeleton
    decoder: Skeleton
    encoder_decoder: str
    separator: int
    heads: int = 1
    halves: bool = False

    VERSION = 2

    def setup(self):
        width, dtype = self.decoder.width, self.decoder.dtype
        validate_encoder_decoder(self.encoder_decoder, self.heads, width)
        if self.encoder_decoder == "vector":
            self.summary = Projection(width, dtype=dtype)
        else:
            cross = partial(CrossAttention, width, self.heads, self.encoder_decoder, dtype=dtype)
            self.bridges = [cross() for _ in range(self.decoder.depth)]

    def __call__(
        self,
        inputs: Int[Array, "B T"],
        *,
        state: Any = None,
        positions: Int[Array, "B T"] | None = None,
        segments: Int[Array, "B T"] | None = None,
        rng: PRNGKeyArray | None = None,
    ) -> tuple[Float[Array, "B T O"], Any]:
        """Outputs at every step (0 before the separator), and the state to pass with more of the target.

        The state is `{"memory", "mixers", "sources": [B]}`; `sources` is the length of each source. The first call must
        contain the whole source, and may end anywhere after it; with `halves` it must be whole rows.
        """
        positions, segments = default_positions(inputs, state, positions, segments)
        encoder_rng, decoder_rng = fold_rng(rng, 0), fold_rng(rng, 1)
        if state is not None:
            if not isinstance(state, Mapping) or set(state) != {"memory", "mixers", "sources"}:
                raise ValueError("this state is none of an encoder–decoder, which has memory, mixers and sources")
            logits, mixers = self.decode(
                state["memory"],
                inputs,
                state=state["mixers"],
                positions=positions - state["sources"][:, None],
                segments=segments,
                rng=decoder_rng,
            )
            return logits, {**state, "mixers": mixers}

        pair = jax.vmap(partial(split_source_target, separator=self.separator, halves=self.halves))(
            inputs, positions, segments
        )
        memory = self.encode(
            pair.source,
            positions=positions[:, : pair.source.shape[1]],
            segments=pair.source_segments,
            rng=encoder_rng,
        )
        logits, mixers = self.decode(
            memory, pair.target, positions=pair.target_positions, segments=pair.target_segments, rng=decoder_rng
        )
        sources = (pair.source_segments != 0).sum(axis=1)
        logits = jax.vmap(partial(restore_row_outputs, steps=inputs.shape[1]))(logits, pair)
        return logits, {"memory": memory, "mixers": mixers, "sources": sources}

    def encode(
        self,
        source: Int[Array, "B S"],
        *,
        positions: Int[Array, "B S"] | None = None,
        segments: Int[Array, "B S"] | None = None,
        rng: PRNGKeyArray | None = None,
    ) -> Any:
        """The decoder's memory of the source: `{"summary": [B, D]}`, or `{"read": ((key, value), …), "segments"}` with
        keys and values [B, H, S, K] for each block of the decoder."""
        positions, segments = default_positions(source, None, positions, segments)
        x, _ = self.encoder(source, positions=positions, segments=segments, rng=rng)
        if self.encoder_decoder == "vector":
            return {"summary": nn.tanh(self.summary(first_and_last_steps(x, segments)))}
        return {"read": tuple(bridge.project_keys_values(x) for bridge in self.bridges), "segments": segments}

    def decode(
        self,
        memory: Any,
        target: Int[Array, "B T"],
        *,
        state: Any = None,
        positions: Int[Array, "B T"] | None = None,
        segments: Int[Array, "B T"] | None = None,
        rng: PRNGKeyArray | None = None,
    ) -> tuple[Float[Array, "B T O"], Any]:
        """Logits of the next token after each of `target`, and the decoder's state; streams as a skeleton does."""
        if self.encoder_decoder == "vector":
            is_ours = set(memory) == {"summary"}
        else:
            is_ours = set(memory) == {"read", "segments"} and len(memory["read"]) == self.decoder.depth
        if not is_ours:
            raise ValueError(
                f"this memory of a source is none of a decoder with encoder_decoder={self.encoder_decoder} and this "
                f"depth"
            )
        context, bridges = None, []
        if self.encoder_decoder == "vector":
            context = memory["summary"][:, None]
        else:
            for bridge, (key, value) in zip(self.bridges, memory["read"], strict=True):
                bridges.append(partial(bridge, key=key, value=value, segments=memory["segments"]))
        return self.decoder(
            target, state=state, positions=positions, segments=segments, rng=rng, context=context, bridges=bridges
        )


def first_and_last_steps(x: Float[Array, "B T D"], segments: Int[Array, "B T"]) -> Float[Array, "B {2*x.shape[2]}"]:
    """The first and the last step that are not padding, concatenated: where each direction has read everything.

    Zeros if there is no such step.
    """
    first, last = pool_sequence(x[:, ::-1], segments[:, ::-1], "last"), pool_sequence(x, segments, "last")
    return jnp.where((segments != 0).any(axis=1)[:, None], jnp.concatenate([first, last], axis=-1), 0)


def make_decode_step(network: Seq2Seq, params: Any, memory: Any) -> Callable[[Any, Array], tuple[Array, Any]]:
    """The function `step(state, token) → (logits, state)` that `models.decoding` takes, for the `memory` of one source.

    There is no batch axis. `state` is None before the first token, which is the separator.
    """
    batched = jax.tree.map(lambda leaf: leaf[None], memory)

    def step(state: Any, token: Array) -> tuple[Array, Any]:
        count, mixers = (jnp.int32(0), None) if state is None else state
        place = jnp.reshape(count, (1, 1))
        logits, mixers = network.apply(
            {"params": params},
            batched,
            jnp.reshape(token, (1, 1)),
            state=mixers,
            positions=place,
            segments=jnp.ones_like(place),
            method="decode",
        )
        return logits[0, 0], (count + 1, mixers)

    return step


def validate_encoder_decoder(encoder_decoder: str, heads: int, width: int) -> None:
    """Raise ValueError for what can't link skeletons of this width."""
    if encoder_decoder not in ENCODER_DECODERS:
        raise ValueError(f"model.encoder_decoder={encoder_decoder}: must be one of {', '.join(ENCODER_DECODERS)}")
    if heads < 1 or width % heads:
        raise ValueError(f"model.cross_attention_heads={heads}: must be 1 or more and divide model.width={width}")
