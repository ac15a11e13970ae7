"""An associative memory alone: pairs of keys and values are written to it, and one query is read from it.

    softmax     y = Σ_n softmax_n(q·k_n / √K)·v_n                     which stores every pair
    sum rule    y = V·φ(K)ᵀ·φ(q) / (Σ_n φ(k_n)·φ(q))                  one matrix, V·φ(K)ᵀ, as wide as φ
    delta rule  W ← W + β_n·(v_n − W·k̄_n)·k̄_nᵀ,   y = W·q̄            k̄ = φ(k)/Σφ(k), and q̄ likewise

    linear  φ = elu + 1, K features                        Katharopoulos et al. 2020 (arXiv 2006.16236)
    dpfp    2·K·ν products of relu(±x)                     Schlag et al. 2021, eq. 37
    favor   exp(±ω·x − |x|²/2), ω sampled at each call    Choromanski et al. 2020 (arXiv 2009.14794)

Schlag, Irie and Schmidhuber 2021 (arXiv 2102.11174), §6.1, after the authors' code (synthetic/linearAttention.py and
softmaxAttention.py of ischlag/fast-weight-transformers). By any rule, one query reads a weighted sum of the values, and
the weights can be computed without the matrix.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from models.mixers import linear_attention
from models.ops import normalizers, similarity
from models.ops.projection import uniform_init
from models.skeleton import default_positions

UPDATE_RULES = ("sum", "delta")
_EPSILON = 1e-6  # what is added to a sum before something is divided by it

# By the names that config.model.associative_memory has for them, which are the paper's: the fields of
# AssociativeMemory.
ASSOCIATIVE_MEMORIES: dict[str, dict[str, Any]] = {
    "softmax": {"kernel": "softmax"},
    "linear": {"kernel": "linear"},
    **{f"dpfp{nu}": {"kernel": "dpfp", "dpfp_nu": nu} for nu in (1, 2, 3)},
    **{f"favor{m}": {"kernel": "favor", "directions": m} for m in (64, 128, 512)},
}


# ---- what a query reads: the weight of each pair --------------------------------------------------------------------


def read_softmax(query: Float[Array, "K"], key: Float[Array, "N K"], pair: Bool[Array, "N"]) -> Float[Array, "N"]:
    """Softmax weights of the pairs; entries that are no `pair` get 0."""
    scores = similarity.scaled_dot_scores(query[None], key, {})
    return jnp.divide(*normalizers.softmax_weights(scores, pair[None]))[0]


def read_sum_rule(query: Float[Array, "F"], key: Float[Array, "N F"], pair: Bool[Array, "N"]) -> Float[Array, "N"]:
    """Weights of the pairs by the sum rule, for features that are not negative."""
    weights = jnp.where(pair, key @ query, 0)
    return weights / (weights.sum() + _EPSILON)


def read_delta_rule(
    query: Float[Array, "F"], key: Float[Array, "N F"], pair: Bool[Array, "N"], strength: Float[Array, "N"]
) -> Float[Array, "N"]:
    """Weights of the pairs by the delta rule: β_n·k̄_n·r_n, where r_N = q̄ and r_{n−1} = r_n − β_n·(k̄_n·r_n)·k̄_n.

    The writes are undone in reverse: W_n = W_{n−1}·(1 − β_n·k̄_n·k̄_nᵀ) + β_n·v_n·k̄_nᵀ, so that W_n·r_n = W_{n−1}·r_{n−1}
    + β_n·(k̄_n·r_n)·v_n. The carry is a vector instead of a matrix with a row for every value.
    """
    key = key / (key.sum(axis=-1, keepdims=True) + _EPSILON)
    strength = jnp.where(pair, strength, 0)

    def step(r: Array, x: tuple[Array, Array]) -> tuple[Array, Array]:
        key, strength = x
        weight = strength * (key @ r)
        return r - weight * key, weight

    return jax.lax.scan(step, query / (query.sum() + _EPSILON), (key, strength), reverse=True)[1]


# ---- features -------------------------------------------------------------------------------------------------------


def favor_features(x: Float[Array, "T K"], directions: Float[Array, "M K"]) -> Float[Array, "T F"]:
    """F = 2·M features exp(±ω·x − |x|²/2) / √F. The mean of φ(q)·φ(k) over normal ω is exp(q·k)."""
    along = x @ directions.T
    offset = (x * x).sum(axis=-1, keepdims=True) / 2 + jnp.log(2.0 * len(directions)) / 2
    return jnp.exp(jnp.concatenate([along, -along], axis=-1) - offset)


def orthogonal_directions(rng: PRNGKeyArray, count: int, size: int) -> Float[Array, "{count} {size}"]:
    """Directions that are orthogonal in blocks of `size`, with the lengths of vectors of independent normal numbers.

    By Gram–Schmidt, since two devices that call LAPACK's QR at the same time can deadlock (jaxlib 0.10.2).
    """
    vectors = jax.random.normal(rng, (-(-count // size), size, size))

    def step(basis: Array, x: tuple[Array, Array]) -> tuple[Array, None]:
        row, place = x
        for _ in range(2):  # the second pass removes what rounding leaves of a row that is nearly a sum of the others
            row = row - jnp.matmul(jnp.matmul(basis, row, precision="highest"), basis, precision="highest")
        return basis.at[place].set(row / jnp.linalg.norm(row)), None

    def orthogonalize(rows: Array) -> Array:
        basis, _ = jax.lax.scan(step, jnp.zeros_like(rows), (rows, jnp.arange(size)))
        return basis * jnp.linalg.norm(rows, axis=-1, keepdims=True)

    return jax.vmap(orthogonalize)(vectors).reshape(-1, size)[:count]


# ---- the network ----------------------------------------------------------------------------------------------------


def _split_pairs(
    inputs: Int[Array, "B T"], segments: Int[Array, "B T"], pairs: int
) -> tuple[Int[Array, "B N"], Int[Array, "B N"], Bool[Array, "B N"], Int[Array, "B"]]:
    """Keys and values (counted from 0) of every two tokens, whether these are a pair, and the query of each row."""
    valid, steps = segments != 0, inputs.shape[1]
    tokens = inputs[:, : steps // 2 * 2].reshape(len(inputs), -1, 2)
    keys, values = tokens[..., 0] - 1, tokens[..., 1] - 1 - pairs
    pair = (keys >= 0) & (keys < pairs) & (values >= 0) & valid[:, 1::2]
    last = jnp.where(valid, jnp.arange(steps)[None], 0).max(axis=1)
    query = jnp.take_along_axis(inputs, last[:, None], axis=1)[:, 0] - 1
    keys, values, query = (jnp.clip(x, 0, pairs - 1) for x in (keys, values, query))
    return keys, values, pair, query


class AssociativeMemory(nn.Module):
    """The published model, for `pairs` keys and as many values; its queries and keys have `size` numbers.

    Each row is one sequence of tokens k₁ v₁ … k_P v_P q: 1 … pairs are keys, pairs + 1 … 2·pairs are values, 0 is
    neither. The last token that is not padding is the query. Each row has one output, what the query reads: a weighted
    sum of the values' one-hot vectors, which are not trained. Keys are projections of the whole pair, including the
    value; a query is a projection of a key's embedding alone. As in the authors' code, the embedding table also has
    rows for the values, which are never used.

    `kernel` is "softmax", "linear", "dpfp" with its `dpfp_nu`, or "favor" with `directions` random directions and twice
    as many features; `update_rule`, one of UPDATE_RULES, is how all but softmax write. Everything is in float32.
    """

    pairs: int
    size: int = 64
    kernel: str = "softmax"
    update_rule: str = "sum"
    dpfp_nu: int = 1
    directions: int = 128

    VERSION = 1

    @nn.compact
    def __call__(
        self,
        inputs: Int[Array, "B T"],
        *,
        state: Any = None,
        positions: Int[Array, "B T"] | None = None,
        segments: Int[Array, "B T"] | None = None,
        rng: PRNGKeyArray | None = None,
    ) -> tuple[Float[Array, "B {self.pairs}"], None]:
        """Called as a skeleton, but it reads whole rows and does not stream: the state is always None.

        Positions have no effect. `rng` samples favor's directions, the same for all rows; without it, as in evaluation,
        they are the same in every call, while the authors resample them.
        """
        if state is not None:
            raise ValueError("a memory of associations reads a row at once and can't be streamed")
        _, segments = default_positions(inputs, state, positions, segments)
        keys, values, pair, query = _split_pairs(inputs, segments, self.pairs)

        wide = int(2 * self.pairs * 1.1)
        table = self.param("embedding", nn.initializers.normal(1.0), (2 * self.pairs, wide))[: self.pairs]
        # Not said in the paper: the authors' two models start differently.
        start = nn.initializers.glorot_uniform() if self.kernel == "softmax" else uniform_init(self.size**-0.5)
        key = self._project_pairs("key", self.size, start, table, keys, values)
        query = self._project_pairs("query", self.size, start, table, query)

        if self.kernel == "softmax":
            weights = jax.vmap(read_softmax)(query, key, pair)
        else:
            phi = partial(self._feature_map, rng=rng)
            query, key = phi(query), phi(key.reshape(-1, self.size)).reshape(*keys.shape, -1)
            if self.update_rule == "delta":
                start = uniform_init((self.pairs + wide) ** -0.5)
                strength = nn.sigmoid(self._project_pairs("strength", 1, start, table, keys, values)[..., 0])
                weights = jax.vmap(read_delta_rule)(query, key, pair, strength)
            else:
                weights = jax.vmap(read_sum_rule)(query, key, pair)
        return jnp.einsum("bn,bns->bs", weights, jax.nn.one_hot(values, self.pairs)), None

    def _project_pairs(
        self,
        name: str,
        size: int,
        start: nn.initializers.Initializer,
        table: Float[Array, "S E"],
        keys: Int[Array, "*B"],
        values: Int[Array, "*B"] | None = None,
    ) -> Float[Array, "*B {size}"]:
        """W·[one-hot value; embedding of the key] + bias. Each key of the table is multiplied once per batch and not
        once
        per occurrence, at a tenth of the operations."""
        wide, others = table.shape[1], 0 if values is None else self.pairs
        kernel = self.param(f"{name}_kernel", start, (others + wide, size))
        bias = self.param(f"{name}_bias", uniform_init((others + wide) ** -0.5), (size,))
        y = (table @ kernel[others:] + bias[None])[keys]
        return y if values is None else y + kernel[:others][values]

    def _feature_map(self, x: Float[Array, "T K"], rng: PRNGKeyArray | None) -> Float[Array, "T F"]:
        if self.kernel == "favor":
            rng = jax.random.key(0, impl="threefry2x32") if rng is None else rng
            return favor_features(x, orthogonal_directions(rng, self.directions, self.size))
        return linear_attention.feature_map(x, {"linear": "elu"}.get(self.kernel, self.kernel), self.dpfp_nu)
