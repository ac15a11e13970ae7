"""Multi-head attention: each output is a weighted mean of values, weighted by the similarity of query and key.

    y_t = Σ_h W_h·Σ_s normalize_s(similarity(q_ht, k_hs) + bias_h(t, s))·v_hs

With similarity q·k/√K, softmax and no bias this is Vaswani et al. 2017 (arXiv 1706.03762), §3.2. For the alternatives
see models.ops.similarity, models.ops.normalizers and models.ops.position_encodings. Heads may share keys and values in
groups (Ainslie et al. 2023, arXiv 2305.13245; all of them: Shazeer 2019, arXiv 1911.02150) and see only a sliding
window (Beltagy et al. 2020, arXiv 2004.05150, §3.1).

Gated attention multiplies what the heads read by a gate that is computed from the layer's input (Qiu et al. 2025, arXiv
2505.06708, §2.2: elementwise, for each head, behind the weighted mean, their G1):

    y_t = Σ_h W_h·(σ(G_h·x_t) ⊙ z_ht),   z_ht the weighted mean of head h

For differential attention see models.ops.differential_attention.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, Shaped

from models.mixers.attention_cache import slide_window, update_cache
from models.mixers.attention_options import validate_attention
from models.mixers.base import Mixer, MixerOptions
from models.mixers.surroundings import sigmoid_gate
from models.ops import position_encodings, similarity
from models.ops.blockwise_attention import MIN_BLOCKWISE_LENGTH, blockwise_attention, cudnn_attention
from models.ops.differential_attention import initial_lambda, join_halves, make_lambda, split_halves, subtract_second
from models.ops.normalizers import NORMALIZERS, WeightParts, softmax_weights
from models.ops.position_encodings import ADDITIVE_POSITIONS

# (queries of one sequence, what they attend to, place of the first of them in it) → (heads' outputs, weights, scores)
AttendFn = Callable[..., tuple[Array, Array, Array]]


def multi_head_attention(
    query: Float[Array, "H T K"],
    key: Float[Array, "G S K"],
    value: Float[Array, "_ S V"],
    mask: Bool[Array, "*#H T S"],
    bias: Float[Array, "H T S"] | None = None,
    *,
    score: Callable[[Array, Array, similarity.SimilarityParams], Array] = similarity.scaled_dot_scores,
    normalize: Callable[[Array, Array], WeightParts] = softmax_weights,
    score_params: similarity.SimilarityParams | None = None,
    normalize_after: bool = False,
    second_weight: Float[Array, ""] | None = None,
) -> tuple[Float[Array, "_ T V"], Float[Array, "_ T S"], Float[Array, "H T S"]]:
    """Each head's output for one sequence, its weights normalize(score(q, k) + bias) over the unmasked keys, and the
    scores that these are made from.

    Scores and weights are at least float32. A query whose keys are all masked gets zeros. H/G heads share each key and
    value. `score_params` are the trained parameters of `score`, [H, …]. `normalize_after` normalizes the output Σ w·v
    instead of each weight w (one division per query); gradients then carry about twice the rounding error.

    With a `second_weight` heads have two softmaxes, as in models.ops.differential_attention: the heads and groups of
    query, key, mask, bias and scores are halves, and those of the values, the outputs and the weights are whole.
    """
    scores = _map_over_heads(score, query, key, score_params or {})
    scores = scores if bias is None else scores + bias
    numerators, total = normalize(scores, mask.reshape(-1, *mask.shape[-2:]))
    weights = numerators / total
    if second_weight is not None:
        weights = subtract_second(weights, second_weight)
    elif normalize_after:
        y = _map_over_heads(jnp.matmul, numerators.astype(value.dtype), value)
        return (y / total).astype(value.dtype), weights, scores
    return _map_over_heads(jnp.matmul, weights.astype(value.dtype), value), weights, scores


def _map_over_heads(
    function: Callable, per_head: Shaped[Array, "H *X"], per_group: Shaped[Array, "G *Y"], *more: Any
) -> Array:
    """`function(per_head[h], per_group[group of h], *more[h])` for all heads h, without copying what a group shares."""
    heads, groups = len(per_head), len(per_group)
    if heads == groups:
        return jax.vmap(function)(per_head, per_group, *more)
    grouped = jax.tree.map(lambda x: x.reshape(groups, heads // groups, *x.shape[1:]), (per_head, more))
    y = jax.vmap(jax.vmap(function, (0, None, *[0] * len(more))))(grouped[0], per_group, *grouped[1])
    return y.reshape(heads, *y.shape[2:])


def visibility_mask(
    queries: Int[Array, "T"], keys: Int[Array, "S"], offset: Int[Array, ""] | int, causal: bool
) -> Bool[Array, "T S"]:
    """Which keys a query may see: those of its own segment, no padding and, if `causal`, none after itself.

    `queries` and `keys` are segments; query t stands at place `offset + t` among the keys.
    """
    mask = (queries[:, None] == keys[None, :]) & (keys != 0)[None]
    if causal:
        mask &= jnp.arange(len(keys))[None] <= offset + jnp.arange(len(queries))[:, None]
    return mask


class Attention(Mixer):
    """Multi-head attention: `heads` heads share `hidden_size` features; query, key and value have their own
    projections.

    `kv_heads` is the number of keys and values, each shared by a group of heads (0: every head has its own). With a
    `window`, a query sees the last `window` tokens of its segment, itself included, by their positions (0: all).
    Additive positions (ADDITIVE_POSITIONS) enter at `position_injection`, one of POSITION_INJECTIONS: in the skeleton's
    embedding, and so everywhere; or in each layer, in the inputs of those of query, key and value that it names.

    `tied_projections` (one of TIED_PROJECTIONS) names those of query, key and value that share weights and bias, and so
    are equal where their inputs are (not with `kv_heads`, whose keys and values are narrower).

    Causal attention streams with a cache of keys and values for `max_length` tokens, or for the first call's tokens if
    there are more. A call that would overflow it raises ValueError where the number of tokens is known, and gives nan
    where it is traced. With a window the cache holds the `window` − 1 tokens before the next one, without padding, and
    the stream can go on for as long as positions can be told apart (see position_encodings.apply_rope).

    `output_gate` multiplies the heads' outputs by a sigmoid gate (Qiu et al. 2025), here without a bias. `differential`
    gives each head two softmaxes, over halves of its queries and keys, and normalizes its output (Ye et al. 2024). The
    paper takes half as many heads for it as without it, and so as many softmaxes. Its λ₀ is that of layer `depth_index`
    + 1, where blocks with other mixers count too. RoPE turns each half by itself; what other positions add to a head's
    scores is the same for both halves, but for Transformer-XL's, which depends on the query. With both options the gate
    is behind the norm.

    `implementation` is how a whole sequence is computed: "plain", in "blocks" of queries, or by "cudnn" on a GPU;
    "auto" takes blocks if it is causal and long enough. A call that continues a state, or returns its weights, is
    always plain.

    With `apply(…, mutable="intermediates")` there are also "query" [B, H, T, K], "key" and "value" [B, G, S, K] as they
    are compared and read, "scores" and "weights" [B, H, T, S], and the output of each of the "heads", [B, H, T, K],
    before norm and gate. Scores of masked keys mean nothing: their weight is 0. With `differential` the scores are
    [B, 2·H, T, S], those of all first halves first, and the weights are the difference, in which both signs occur.
    """

    heads: int = 4
    bias: bool = True
    causal: bool = True
    positions: str = "none"
    kv_heads: int = 0
    window: int = 0
    similarity: str = "scaled"
    normalizer: str = "softmax"
    position_injection: str = "embedding"
    tied_projections: str = ""
    implementation: str = "auto"
    output_gate: bool = False
    differential: bool = False
    depth_index: int = 0  # of the mixer's block in the stack, from 0

    VERSION = 1

    @classmethod
    def validate(cls, options: MixerOptions) -> None:
        validate_attention(options)

    def product_matrices(self) -> dict[str, int]:
        heads = {f"{name}_kernel": 1 for name in ("query", "key", "value", "distance")}
        return {**heads, "between": 0, "output_gate/kernel": 1, "output/kernel": 1}

    @classmethod
    def hidden_size_unit(cls, options: Mapping[str, Any]) -> int:
        halves = 2 if options.get("differential") else 1
        return options["heads"] * halves * (2 if options.get("positions") == "rope" else 1)

    def initial_state(self, batch_size: int) -> dict[str, Array]:
        """An empty cache {"key", "value": [B, G, L, K], "positions", "segments": [B, L], "count": []}; with a window
        `count` is missing. The keys of `differential` attention are [B, 2·G, L, K/2]. Raises ValueError for attention
        that is not causal, which has no state."""
        if not self.causal:
            raise ValueError("attention that is not causal sees the whole sequence at once and can't be streamed")
        groups, size = self.kv_heads or self.heads, self.hidden_size // self.heads
        length = self.window - 1 if self.window else self.max_length
        shapes = {"key": (groups * self._halves, length, size // self._halves), "value": (groups, length, size)}
        cache = {name: jnp.zeros((batch_size, *shape), self.dtype) for name, shape in shapes.items()}
        cache |= {name: jnp.zeros((batch_size, length), jnp.int32) for name in ("positions", "segments")}
        return cache if self.window else cache | {"count": jnp.int32(0)}

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
        """Outputs and the next state, as `initial_state` has it; None where attention is not causal."""
        self._check_sizes()
        if state is not None and not self.causal:
            raise ValueError("attention that is not causal sees the whole sequence at once and can't be streamed")
        query, key, value = self._project_qkv(x, self._injected_positions(positions, segments, rng))
        if self.differential:
            query, key = split_halves(query), split_halves(key)
        if self.positions == "rope":
            rotate = jax.vmap(position_encodings.apply_rope)
            query, key = rotate(query, positions), rotate(key, positions)
        cached = {"key": key, "value": value, "positions": positions, "segments": segments}
        keys, offset, state_after = cached, 0, None
        if self.causal and self.window:
            keys, offset, state_after = slide_window(state, cached, self.window)
        elif self.causal:
            keys, offset, state_after = update_cache(state, cached, self.max_length)
        queries = {"query": query, "positions": positions, "segments": segments}
        y = self._read(queries, keys, offset, state is not None)
        if self.differential:
            y = (1 - initial_lambda(self.depth_index)) * nn.RMSNorm(epsilon=1e-5, name="norm")(y)
        if self.output_gate:
            gate = sigmoid_gate(self, x).reshape(*x.shape[:2], self.heads, self.hidden_size // self.heads)
            y = y * gate.swapaxes(1, 2)
        return _OutputProjection(self.width, self.bias, self.dtype, name="output")(y), state_after

    def _check_sizes(self) -> None:
        heads, groups, size = self.heads, self.kv_heads or self.heads, self.hidden_size // self.heads
        if self.hidden_size % heads:
            raise ValueError(
                f"model.attention.heads={heads}: attention's inner width {self.hidden_size} must be divisible by it"
            )
        if heads % groups:
            raise ValueError(f"model.attention.kv_heads={groups}: must divide the {heads} heads")
        if self.differential and size % 2:
            raise ValueError(f"model.attention.differential=True: the head size {size} must be even")
        if self.positions == "rope" and size // self._halves % 2:
            multiple = "a multiple of 4 with differential attention" if self.differential else "even"
            raise ValueError(f"model.positions=rope: the head size {size} must be {multiple}")

    @property
    def _halves(self) -> int:
        """Into how many parts, each with a softmax of its own, a head's queries and keys are split."""
        return 2 if self.differential else 1

    def _injected_positions(self, positions: Array, segments: Array, rng: PRNGKeyArray | None) -> Array | None:
        """The additive encodings [B, T, D] that this layer injects, or None if it injects none."""
        if self.positions not in ADDITIVE_POSITIONS or self.position_injection == "embedding":
            return None
        return position_encodings.additive_encoding(
            self, self.positions, positions, segments, self.width, self.max_length, rng
        )

    def _project_qkv(self, x: Float[Array, "B T D"], encodings: Float[Array, "B T D"] | None) -> list[Array]:
        """Query, key and value of each head, [B, H or G, T, K]; `encodings` are added to the inputs of some of them."""
        size, groups = self.hidden_size // self.heads, self.kv_heads or self.heads
        heads = {"query": self.heads, "key": groups, "value": groups}
        # Those that are tied share the parameters of the first of them.
        tied = {name: self.tied_projections if name[0] in self.tied_projections else name[0] for name in heads}
        owner = {name: next(other for other in heads if other[0] in tied[name]) for name in heads}

        def make_params(kind: str, initial: Callable, leading: tuple[int, ...]) -> dict[str, Array]:
            return {
                name: self.param(f"{name}_{kind}", initial, (*leading, heads[name] * size)).astype(self.dtype)
                for name in dict.fromkeys(owner.values())
            }

        kernels = make_params("kernel", nn.initializers.lecun_normal(), (self.width,))
        biases = make_params("bias", nn.initializers.zeros, ()) if self.bias else {}
        x = x.astype(self.dtype)
        encoded = x if encodings is None else x + encodings.astype(self.dtype)
        projected = []
        for name, count in heads.items():
            kernel, inputs = kernels[owner[name]], encoded if name[0] in self.position_injection else x
            if x.shape[1] == 1:  # or XLA's CPU compiler transposes the kernel: half the time of a token
                y = (inputs.reshape(-1, self.width) @ kernel).reshape(-1, 1, count, size).swapaxes(1, 2)
            else:
                y = jnp.einsum("btd,dhk->bhtk", inputs, kernel.reshape(self.width, count, size))
            projected.append(y + biases[owner[name]].reshape(1, count, 1, size) if self.bias else y)
        return projected

    def _read(self, queries: dict[str, Array], keys: dict[str, Array], offset: Array | int, streams: bool) -> Array:
        """The heads' outputs [B, H, T, K], by the implementation that the call allows."""
        attend = self._make_attend()
        implementation = self._choose_implementation(queries["segments"].shape[1], streams)
        if implementation == "cudnn":
            scale = (self.hidden_size // self.heads) ** -0.5 if self.similarity == "scaled" else 1.0
            qkv = queries["query"], keys["key"], keys["value"]
            return cudnn_attention(*qkv, keys["segments"], self.causal, scale)
        if implementation == "blocks":

            def attend_block(queries: dict[str, Array], keys: dict[str, Array], offset: Array | int) -> Array:
                return attend(queries, keys, offset, normalize_after=True)[0]

            return jax.vmap(partial(blockwise_attention, attend_block, causal=self.causal))(queries, keys)
        y, weights, scores = self._read_plain(jax.vmap(partial(attend, offset=offset)), queries, keys, offset, streams)
        stages = {"weights": weights, "scores": scores, "heads": y}
        join = join_halves if self.differential else lambda a: a
        stages |= {"query": join(queries["query"]), "key": join(keys["key"]), "value": keys["value"]}
        for name, stage in stages.items():
            self.sow("intermediates", name, stage)
        return y

    def _read_plain(
        self, attend: AttendFn, queries: dict[str, Array], keys: dict[str, Array], offset: Array | int, streams: bool
    ) -> tuple[Array, Array, Array]:
        """Outputs, weights and scores of all queries at once; nan where a traced call overflows the cache."""
        if not streams:
            return attend(queries, keys)
        shapes = jax.eval_shape(attend, queries, keys)

        def overflow(*_: Any) -> Any:
            return jax.tree.map(lambda a: jnp.full(a.shape, jnp.nan, a.dtype), shapes)

        # A branch, since XLA would otherwise write the new tokens into copies of the cache, not into the cache itself.
        fits = offset + queries["segments"].shape[1] <= keys["key"].shape[2]
        return jax.lax.cond(fits, attend, overflow, queries, keys)

    def _choose_implementation(self, steps: int, streams: bool) -> str:
        if streams or self.is_initializing() or self.is_mutable_collection("intermediates"):
            return "plain"
        if self.implementation == "auto":
            return "blocks" if self.causal and steps >= MIN_BLOCKWISE_LENGTH else "plain"
        return self.implementation

    def _make_attend(self) -> AttendFn:
        """Attention of some queries of one sequence, of which the first is at place `offset` among the keys."""
        heads, size = self.heads * self._halves, self.hidden_size // self.heads // self._halves
        initial = similarity.similarity_initializers(self.similarity, heads, size)
        compute = partial(
            multi_head_attention,
            score=similarity.SIMILARITIES[self.similarity],
            normalize=NORMALIZERS[self.normalizer],
            score_params={name: self.param(name, make) for name, make in initial.items()},
            second_weight=make_lambda(self.param, size, self.depth_index) if self.differential else None,
        )
        add_distances = self._make_score_bias(heads, size)

        def attend(
            queries: dict[str, Array], keys: dict[str, Array], offset: Array | int, normalize_after: bool = False
        ) -> tuple[Array, Array, Array]:
            mask = visibility_mask(queries["segments"], keys["segments"], offset, self.causal)
            places = queries["positions"], keys["positions"]
            if self.window:
                mask = mask & position_encodings.window_mask(*places, self.window)
            if self.positions == "hard_alibi":
                mask = self._of_halves(mask[None] & position_encodings.hard_alibi_mask(*places, self.heads))
            query, bias = add_distances(queries["query"], *places)
            return compute(query, keys["key"], keys["value"], mask, bias, normalize_after=normalize_after)

        return attend

    def _of_halves(self, of_heads: Shaped[Array, "H T S"]) -> Shaped[Array, "_ T S"]:
        """What each head has, for each of its parts that have a softmax of their own."""
        return jnp.concatenate([of_heads, of_heads]) if self.differential else of_heads

    def _make_score_bias(self, heads: int, size: int) -> Callable[[Array, Array, Array], tuple[Array, Array | None]]:
        """How positions act on the scores of one sequence: (query, its positions, the keys') → (query, bias)."""
        if self.positions == "alibi":

            def add_alibi(query: Array, places: Array, keys: Array) -> tuple[Array, Array]:
                return query, self._of_halves(position_encodings.alibi_bias(places, keys, self.heads))

            return add_alibi
        if self.positions == "t5":
            initial = nn.initializers.normal(self.width**-0.5)
            table = self.param("distance_bias", initial, (self.heads, position_encodings.T5_BUCKETS))

            def add_t5(query: Array, places: Array, keys: Array) -> tuple[Array, Array]:
                return query, self._of_halves(position_encodings.t5_bias(places, keys, table, self.causal))

            return add_t5
        if self.positions == "transformer_xl":
            return self._make_transformer_xl_bias(heads, size)
        return lambda query, places, keys: (query, None)

    def _make_transformer_xl_bias(self, heads: int, size: int) -> Callable[[Array, Array, Array], tuple[Array, Array]]:
        features = 2 * ((self.width + 1) // 2)
        initial = nn.initializers.lecun_normal(in_axis=0, out_axis=(1, 2))
        kernel = self.param("distance_kernel", initial, (features, heads, size))
        u, v = (self.param(f"distance_{name}", nn.initializers.normal(0.02), (heads, 1, size)) for name in "uv")
        scale = size**-0.5 if self.similarity == "scaled" else 1

        def score_bias(query: Array, places: Array, keys: Array) -> tuple[Array, Array]:
            query = similarity.at_least_float32(query)  # so that u and v are added without rounding
            return query + u, scale * position_encodings.transformer_xl_bias(query + v, places, keys, kernel)

        return score_bias


class _OutputProjection(nn.Module):
    """One dense layer over the concatenated heads, without moving them next to each other first."""

    width: int
    bias: bool
    dtype: Any

    @nn.compact
    def __call__(self, y: Float[Array, "B H T K"]) -> Float[Array, "B T D"]:
        heads, size = y.shape[1], y.shape[3]
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (heads * size, self.width)).astype(self.dtype)
        projected = jnp.einsum("bhtk,hkd->btd", y.astype(self.dtype), kernel.reshape(heads, size, self.width))
        if self.bias:
            bias = self.param("bias", nn.initializers.zeros, (self.width,)).astype(self.dtype)
            projected = projected + bias[None, None]
        return projected
