"""Multi-head attention: a weighted mean of values, the weights being how like each key is to the query.

    y_t = Σ_h W_h·Σ_s normalise_s(similarity(q_ht, k_hs) + bias_h(t, s))·v_hs

With similarity q·k/√K, softmax and no bias it is that of Vaswani et al. 2017 (arXiv 1706.03762), §3.2; for what else
may stand there, and from where, see models.ops.similarity, models.ops.normalizers and models.ops.position_encodings.
Heads may share keys and values in groups (Ainslie et al. 2023, arXiv 2305.13245; all of them: Shazeer 2019, arXiv
1911.02150) and see only a window (Beltagy et al. 2020, arXiv 2004.05150, §3.1).
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.core
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, Shaped

from models.ops import normalizers, position_encodings, similarity
from models.ops.blockwise_attention import MIN_BLOCKWISE_LENGTH, blockwise_attention, cudnn_attention, token_axis
from models.ops.scan import resume_state

POSITION_INJECTIONS = ("embedding", "q", "k", "v", "qk", "qv", "kv", "qkv")
TIED_PROJECTIONS = ("", "qk", "qv", "kv", "qkv")
ATTENTION_IMPLEMENTATIONS = ("auto", "plain", "blocks", "cudnn")


def multi_head_attention(
    query: Float[Array, "H T K"],
    key: Float[Array, "G S K"],
    value: Float[Array, "G S V"],
    mask: Bool[Array, "*#H T S"],
    bias: Float[Array, "H T S"] | None = None,
    *,
    score: Callable[[Array, Array, similarity.SimilarityParams], Array] = similarity.scaled_dot_scores,
    normalize: Callable[[Array, Array], normalizers.WeightParts] = normalizers.softmax_weights,
    score_params: similarity.SimilarityParams | None = None,
    normalize_after: bool = False,
) -> tuple[Float[Array, "H T V"], Float[Array, "H T S"], Float[Array, "H T S"]]:
    """What each head reads, its weights, normalise(score(q, k) + bias) over the keys that `mask` lets through, and the
    scores they are made from.

    Scores and weights are in float32 at least. A query that may see nothing gets zeros. H/G heads share each key and
    value. `score_params` is what `score` has of its own, `[H, …]`. `normalize_after` divides what was read in place of
    the weights: one number a query and not one a pair, at about twice the rounding in gradients.
    """
    scores = _map_over_heads(score, query, key, score_params or {})
    scores = scores if bias is None else scores + bias
    shares, total = normalize(scores, mask.reshape(-1, *mask.shape[-2:]))
    weights = shares / total
    if normalize_after:
        read = _map_over_heads(jnp.matmul, shares.astype(value.dtype), value)
        return (read / total).astype(value.dtype), weights, scores
    return _map_over_heads(jnp.matmul, weights.astype(value.dtype), value), weights, scores


def _map_over_heads(function: Callable, each: Shaped[Array, "H *X"], shared: Shaped[Array, "G *Y"], *own: Any) -> Array:
    """`function(each[h], shared[h's group], *own[h])` for all heads h, without copies of what a group shares."""
    heads, groups = len(each), len(shared)
    if heads == groups:
        return jax.vmap(function)(each, shared, *own)
    apart = jax.tree.map(lambda x: x.reshape(groups, heads // groups, *x.shape[1:]), (each, own))
    y = jax.vmap(jax.vmap(function, (0, None, *[0] * len(own))))(apart[0], shared, *apart[1])
    return y.reshape(heads, *y.shape[2:])


def visibility_mask(
    queries: Int[Array, "T"], keys: Int[Array, "S"], offset: Int[Array, ""] | int, causal: bool
) -> Bool[Array, "T S"]:
    """Which key a query may see: one of its own segment, no padding and, if `causal`, none after itself.

    `queries` and `keys` are segments; query t stands at place `offset + t` among the keys.
    """
    mask = (queries[:, None] == keys[None, :]) & (keys != 0)[None]
    if causal:
        mask &= jnp.arange(len(keys))[None] <= offset + jnp.arange(len(queries))[:, None]
    return mask


class Attention(nn.Module):
    """`heads` heads that share `hidden_size` features; query, key and value each with weights and bias of their own.

    `kv_heads` of heads have a key and a value in common (0: as many as heads, so that each has its own). With a
    `window`, a query sees the last so many tokens of its segment, itself among them, by their positions (0: all of
    them). Positions that are added (positions.ADDITIVE_POSITIONS) are `position_injection`, one of PLACED: by the
    skeleton in the embedding, and so in everything; or here, in every layer, in what these of query, key and value are
    made from and in nothing else.

    Those of query, key and value that `tied_projections` names have weights and bias in common, and so are one and the
    same where they read the same (one of SHARED; not with groups, whose keys and values are narrower).

    Causal attention streams with a cache of keys and values for `max_length` tokens, or for the first call's if that
    has more. Calls that would overflow it raise ValueError where the number of tokens is known, and give nan where
    it is traced. With a window the cache holds the `window` − 1 tokens before the next, padding left out, and the
    stream may go on for as long as positions can be told apart (see positions.apply_rope).

    `implementation` is how a sequence is read from its start: "plain", by "blocks" of queries, or by "cudnn" on a GPU;
    "auto" takes blocks where it is causal and not short. A call that goes on, or gives its weights, is always plain.

    On request, `apply(…, mutable="intermediates")` also gives "query" `[B, H, T, K]`, "key" and "value" `[B, G, S, K]`
    as they are compared and read, "scores" and "weights" `[B, H, T, S]`, and what each of the "heads" read,
    `[B, H, T, K]`. A score that the query may not see is none: its weight is 0 whatever it says.
    """

    width: int
    hidden_size: int
    max_length: int
    heads: int = 4
    bias: bool = True
    causal: bool = True
    positions: str = "none"
    dtype: Any = jnp.float32
    kv_heads: int = 0
    window: int = 0
    similarity: str = "scaled"
    normalizer: str = "softmax"
    position_injection: str = "embedding"
    tied_projections: str = ""
    implementation: str = "auto"

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
        """The state is `{"key", "value": [B, G, L, K], "positions", "segments": [B, L], "count": []}`, with a window
        `count` is missing; or None where attention is not causal."""
        heads, groups = self.heads, self.kv_heads or self.heads
        if self.hidden_size % heads:
            raise ValueError(
                f"model.attention.heads={heads}: attention's inner width {self.hidden_size} must be divisible by it"
            )
        if heads % groups:
            raise ValueError(f"model.attention.kv_heads={groups}: must divide the {heads} heads")
        if state is not None and not self.causal:
            raise ValueError("attention that is not causal sees the whole sequence at once and can't be streamed")
        steps = x.shape[1]
        size = self.hidden_size // heads
        vectors = None
        if self.positions in position_encodings.ADDITIVE_POSITIONS and self.position_injection != "embedding":
            vectors = position_encodings.additive_encoding(
                self, self.positions, positions, segments, self.width, self.max_length, rng
            )
        query, key, value = self._project_qkv(x, vectors, {"query": heads, "key": groups, "value": groups}, size)
        if self.positions == "rope":
            if size % 2:
                raise ValueError(f"model.positions=rope: the head size {size} must be even")
            query, key = (
                jax.vmap(position_encodings.apply_rope)(query, positions),
                jax.vmap(position_encodings.apply_rope)(key, positions),
            )

        seen, offset, after = self._update_cache(
            state, {"key": key, "value": value, "positions": positions, "segments": segments}
        )
        initial = similarity.similarity_initializers(self.similarity, heads, size)
        read = partial(
            multi_head_attention,
            score=similarity.SIMILARITIES[self.similarity],
            normalize=normalizers.NORMALIZERS[self.normalizer],
            score_params={name: self.param(name, make) for name, make in initial.items()},
        )
        of_distances = self._make_score_bias(size)

        def rows(
            new: dict[str, Array], seen: dict[str, Array], offset: Array | int, late: bool = False
        ) -> tuple[Array, Array, Array]:
            """Some queries of one sequence, the first of them at place `offset` among the keys."""
            mask = visibility_mask(new["segments"], seen["segments"], offset, self.causal)
            if self.window:
                mask = mask & position_encodings.window_mask(new["positions"], seen["positions"], self.window)
            if self.positions == "hard_alibi":
                mask = mask[None] & position_encodings.hard_alibi_mask(new["positions"], seen["positions"], heads)
            query, bias = of_distances(new["query"], new["positions"], seen["positions"])
            return read(query, seen["key"], seen["value"], mask, bias, normalize_after=late)

        new = {"query": query, "positions": positions, "segments": segments}
        form = "plain"
        if state is None and not self.is_initializing() and not self.is_mutable_collection("intermediates"):
            form = (
                ("blocks" if self.causal and steps >= MIN_BLOCKWISE_LENGTH else "plain")
                if self.implementation == "auto"
                else self.implementation
            )
        if form == "cudnn":
            scale = size**-0.5 if self.similarity == "scaled" else 1.0
            y = cudnn_attention(query, key, value, segments, self.causal, scale)
        elif form == "blocks":
            late = lambda new, seen, offset: rows(new, seen, offset, late=True)[0]  # noqa: E731
            blocks = partial(blockwise_attention, late, causal=self.causal)
            y = jax.vmap(blocks)(new, seen)
        else:
            plain = jax.vmap(partial(rows, offset=offset))
            if state is None:
                y, weights, scores = plain(new, seen)
            else:  # a branch, since XLA else writes the new tokens into copies of the cache, and not into the cache
                fits = offset + steps <= seen["key"].shape[2]
                shapes = jax.eval_shape(plain, new, seen)
                nothing = lambda *_: jax.tree.map(lambda a: jnp.full(a.shape, jnp.nan, a.dtype), shapes)  # noqa: E731
                y, weights, scores = jax.lax.cond(fits, plain, nothing, new, seen)
            inside = {"weights": weights, "scores": scores, "heads": y}
            for name, value in (inside | {"query": query, "key": seen["key"], "value": seen["value"]}).items():
                self.sow("intermediates", name, value)
        y = _OutputProjection(self.width, self.bias, self.dtype, name="output")(y)
        return y, after

    def _project_qkv(
        self, x: Float[Array, "B T D"], vectors: Float[Array, "B T D"] | None, heads: dict[str, int], size: int
    ) -> list[Float[Array, "B _ T {size}"]]:
        """Query, key and value of each head; the positions' `vectors` are added to what some of them are made from."""
        initial = nn.initializers.lecun_normal()
        # Of those that share, the first in this order has what they share.
        whose = {name: self.tied_projections if name[0] in self.tied_projections else name[0] for name in heads}
        owner = {name: next(other for other in heads if other[0] in whose[name]) for name in heads}

        def of_each(what: str, initial: Callable, before: tuple[int, ...]) -> dict[str, Array]:
            return {
                name: self.param(f"{name}_{what}", initial, (*before, heads[name] * size)).astype(self.dtype)
                for name in dict.fromkeys(owner.values())
            }

        kernels = of_each("kernel", initial, (self.width,))
        biases = of_each("bias", nn.initializers.zeros, ()) if self.bias else {}
        x = x.astype(self.dtype)
        moved = x if vectors is None else x + vectors.astype(self.dtype)
        made = []
        for name, count in heads.items():
            kernel = kernels[owner[name]].reshape(self.width, count, size)
            y = jnp.einsum("btd,dhk->bhtk", moved if name[0] in self.position_injection else x, kernel)
            made.append(y + biases[owner[name]].reshape(1, count, 1, size) if self.bias else y)
        return made

    def _make_score_bias(self, size: int) -> Callable[[Array, Array, Array], tuple[Array, Array | None]]:
        """How positions act on the scores of one sequence: (query, its positions, the keys') → (query, bias)."""
        if self.positions == "alibi":
            return lambda query, at, keys: (query, position_encodings.alibi_bias(at, keys, self.heads))
        if self.positions == "t5":
            initial = nn.initializers.normal(self.width**-0.5)
            table = self.param("distance_bias", initial, (self.heads, position_encodings.T5_BUCKETS))
            return lambda query, at, keys: (query, position_encodings.t5_bias(at, keys, table, self.causal))
        if self.positions == "transformer_xl":
            features = 2 * ((self.width + 1) // 2)
            initial = nn.initializers.lecun_normal(in_axis=0, out_axis=(1, 2))
            kernel = self.param("distance_kernel", initial, (features, self.heads, size))
            u, v = (
                self.param(f"distance_{name}", nn.initializers.normal(0.02), (self.heads, 1, size)) for name in "uv"
            )
            scale = size**-0.5 if self.similarity == "scaled" else 1

            def of_both(query: Array, at: Array, keys: Array) -> tuple[Array, Array]:
                query = similarity.at_least_float32(query)  # so that u and v are added, and do not round
                return query + u, scale * position_encodings.transformer_xl_bias(query + v, at, keys, kernel)

            return of_both
        return lambda query, at, keys: (query, None)

    def _update_cache(self, state: Any, new: dict[str, Array]) -> tuple[dict[str, Array], Array | int, Any]:
        """What the queries look at, the place of the first of them in it, and the state to go on from."""
        if not self.causal:
            return new, 0, None
        steps = new["segments"].shape[1]
        if self.window:
            places = self.window - 1
            past = resume_state(state, jax.tree.map(lambda a: jnp.zeros(_with_token_count(a, places), a.dtype), new))
            both = jax.tree.map(lambda a, b: jnp.concatenate([a, b], axis=token_axis(b)), past, new)
            after = jax.vmap(partial(_last_tokens, count=places))(both)
            return (new, 0, after) if state is None else (both, places, after)
        if state is None:
            capacity = max(self.max_length, steps)
            after = jax.tree.map(lambda a: _pad_axis(a, capacity, token_axis(a)), new)
            return new, 0, {**after, "count": jnp.asarray(steps, jnp.int32)}
        capacity = (
            state["segments"].shape[-1] if isinstance(state, Mapping) and "segments" in state else self.max_length
        )
        empty = jax.tree.map(lambda a: jax.ShapeDtypeStruct(_with_token_count(a, capacity), a.dtype), new)
        state = resume_state(state, {**empty, "count": jax.ShapeDtypeStruct((), jnp.int32)})
        seen = _write_cache(state, new)
        return seen, state["count"], {**seen, "count": jnp.asarray(state["count"] + steps, jnp.int32)}


class _OutputProjection(nn.Module):
    """What the heads read, side by side, through one `nn.Dense`: without moving it side by side first."""

    width: int
    bias: bool
    dtype: Any

    @nn.compact
    def __call__(self, y: Float[Array, "B H T K"]) -> Float[Array, "B T D"]:
        heads, size = y.shape[1], y.shape[3]
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (heads * size, self.width)).astype(self.dtype)
        joined = jnp.einsum("bhtk,hkd->btd", y.astype(self.dtype), kernel.reshape(heads, size, self.width))
        if self.bias:
            joined = joined + self.param("bias", nn.initializers.zeros, (self.width,)).astype(self.dtype)[None, None]
        return joined


def _write_cache(state: Any, new: dict[str, Array]) -> dict[str, Array]:
    """The cache with these tokens written behind the `count` that it holds."""
    capacity, count, steps = state["segments"].shape[1], state["count"], new["segments"].shape[1]
    if not isinstance(count, jax.core.Tracer) and int(count) + steps > capacity:
        raise ValueError(
            f"attention's cache holds {capacity} tokens, of which {int(count)} are used: {steps} more don't fit; "
            f"raise model.max_length"
        )
    return {
        name: jax.lax.dynamic_update_slice_in_dim(state[name], a.astype(state[name].dtype), count, token_axis(a))
        for name, a in new.items()
    }


def _last_tokens(tokens: dict[str, Array], count: int) -> dict[str, Array]:
    """The last `count` tokens of one sequence that are no padding, in order; behind zeros where there are fewer."""
    real = tokens["segments"] != 0
    order = jnp.argsort(real, stable=True)[len(real) - count :]

    def pick(a: Array) -> Array:
        there = real[order][:, None] if a.ndim == 3 else real[order]
        return jnp.where(there, jnp.take(a, order, axis=token_axis(a), mode="clip"), 0)

    return jax.tree.map(pick, tokens)


def _with_token_count(array: Array, tokens: int) -> tuple[int, ...]:
    """Its shape, but for so many tokens."""
    return tuple(tokens if axis == token_axis(array) else n for axis, n in enumerate(array.shape))


def _pad_axis(array: Array, size: int, axis: int) -> Array:
    """`array` with zeros behind it along `axis`, up to `size`."""
    return jnp.pad(array, [(0, size - n if i == axis else 0) for i, n in enumerate(array.shape)])
