"""Position encodings: vectors added to tokens, rotations of queries and keys, or biases and masks of their scores.

    sinusoidal      x_t + φ(t)                            Vaswani et al. 2017 (arXiv 1706.03762), §3.5
    learned         x_t + E[t]                            Gehring et al. 2017 (arXiv 1705.03122), §3.1
    randomised      x_t + φ(r_t), r drawn and sorted      Ruoss et al. 2023 (arXiv 2305.16843), §3
    rope            (R_t·q_t)·(R_s·k_s)                   Su et al. 2021 (arXiv 2104.09864), §3.2
    alibi           q_t·k_s − slope·|t − s|               Press et al. 2022 (arXiv 2108.12409), §3
    hard_alibi      q_t·k_s where |t − s| < reach         Jelassi et al. 2024 (arXiv 2402.01032), §3
    t5              q_t·k_s + b[bucket(t − s)]            Raffel et al. 2020 (arXiv 1910.10683), §2.1
    transformer_xl  (q_t + u)·k_s + (q_t + v)·W·φ(t − s)  Dai et al. 2019 (arXiv 1901.02860), §3.3

Each head has its own slopes, reaches, b, u and v. φ are sines and cosines; R_t rotates by t × frequency.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from models.ops.similarity import at_least_float32

ADDITIVE_POSITIONS = (
    "sinusoidal",
    "learned",
    "randomised",
)  # by the skeleton, or by attention's position_injection
SCORE_POSITIONS = ("rope", "alibi", "hard_alibi", "t5", "transformer_xl")  # act on attention's scores
POSITION_ENCODINGS = ("none", "sinusoidal", "learned", *SCORE_POSITIONS, "randomised")
RANDOM_POSITION_LIMIT = 2048  # randomised positions are drawn below this
T5_BUCKETS, T5_MAX_DISTANCE = 32, 128  # all distances from the maximum on share a bucket


# ---- added to a token -----------------------------------------------------------------------------------------------


def additive_encoding(
    module: nn.Module,
    kind: str,
    positions: Int[Array, "B T"],
    segments: Int[Array, "B T"],
    width: int,
    max_length: int,
    rng: PRNGKeyArray | None,
) -> Float[Array, "B T D"]:
    """The encoding of each token's position; `kind` is one of ADDITIVE_POSITIONS. "learned" uses `module`'s
    "positions".

    Padding gets that of position 0: past the end of a table it would be nan, which passes attention even at weight 0.
    """
    positions = jnp.where(segments != 0, positions, 0)
    if kind == "sinusoidal":
        return jax.vmap(lambda p: sinusoidal_encoding(p, width))(positions)
    if kind == "learned":
        table = module.param("positions", nn.initializers.normal(0.02), (max_length, width))
    else:
        longest = 1 + positions.max()
        table = sinusoidal_encoding(
            evenly_spaced_positions(max_length) if rng is None else draw_positions(rng, longest, max_length), width
        )
    return jax.vmap(lookup_encoding, (0, None))(positions, table)


def sinusoidal_encoding(positions: Int[Array, "T"], width: int) -> Float[Array, "T D"]:
    """Sines and cosines of wavelengths 2π … 10000·2π, interleaved (Vaswani et al. 2017, §3.5)."""
    angles = _rotation_angles(positions, width)
    return jnp.stack([jnp.sin(angles), jnp.cos(angles)], axis=-1).reshape(len(positions), -1)[:, :width]


def lookup_encoding(positions: Int[Array, "T"], table: Float[Array, "L D"]) -> Float[Array, "T D"]:
    """Rows of a trained table; nan past its end, so that untrained positions can't go unnoticed."""
    return table.at[positions].get(mode="fill", fill_value=jnp.nan)


def draw_positions(rng: PRNGKeyArray, count: Int[Array, ""], size: int) -> Int[Array, "L"]:
    """Positions that stand for 0 … `count` − 1: drawn below RANDOM_POSITION_LIMIT without replacement, and sorted.

    One draw per batch, as in the paper's code (and per layer, where attention injects positions), so that short
    training sequences reach positions as high as long test sequences will. The rest of the table is filled up to
    `size`.
    """
    order = jax.random.permutation(rng, RANDOM_POSITION_LIMIT)
    return jnp.sort(jnp.where(jnp.arange(RANDOM_POSITION_LIMIT) < count, order, RANDOM_POSITION_LIMIT))[:size]


def evenly_spaced_positions(size: int) -> Int[Array, "L"]:
    """Deterministic positions without an `rng`: `size` evenly spaced ones in [0, RANDOM_POSITION_LIMIT).

    The paper samples at test time too, as many as the sequence is long. That requires the length, which streaming does
    not know; here a position depends on its index alone.
    """
    return jnp.arange(size) * RANDOM_POSITION_LIMIT // size


# ---- in attention's scores ------------------------------------------------------------------------------------------


def apply_rope(x: Float[Array, "H T K"], positions: Int[Array, "T"]) -> Float[Array, "H T K"]:
    """Rotate each pair of features by position × frequency (Su et al. 2021, RoFormer, eq. 34).

    The product of a rotated query and a rotated key depends only on the distance of their positions. `K` is even. Pairs
    are (i, i + K/2), which avoids a shuffle and only changes the order of the features. Angles and rotations are
    float32, and only the result is rounded to x's dtype: scores are off by some hundredths at position 10⁵, and
    meaningless by 10⁷.
    """
    angles = _rotation_angles(positions, x.shape[-1])[None]
    sine, cosine = jnp.sin(angles), jnp.cos(angles)
    low, high = jnp.split(at_least_float32(x), 2, axis=-1)
    turned = jnp.concatenate([low * cosine - high * sine, high * cosine + low * sine], axis=-1)
    return turned.astype(x.dtype)


def alibi_bias(queries: Int[Array, "T"], keys: Int[Array, "S"], heads: int) -> Float[Array, "H T S"]:
    """−slope · distance, with slopes 2^(−8h/heads), h = 1 … heads (Press et al. 2022, §3).

    This is the paper's rule for any number of heads. If that is no power of 2, the authors' code differs: it takes the
    slopes of the next lower power of 2, and then every other slope of the next higher one.
    """
    slopes = 2.0 ** (-8 * jnp.arange(1, heads + 1) / heads)
    distance = jnp.abs(queries[:, None] - keys[None, :])
    return -slopes[:, None, None] * distance[None]


def window_mask(queries: Int[Array, "T"], keys: Int[Array, "S"], window: Int[Array, ""] | int) -> Bool[Array, "T S"]:
    """Which keys are less than `window` positions away: the last ones up to the query, and also as many ahead of it."""
    return jnp.abs(queries[:, None] - keys[None, :]) < window


def hard_alibi_mask(queries: Int[Array, "T"], keys: Int[Array, "S"], heads: int) -> Bool[Array, "H T S"]:
    """Head h sees the last h tokens, for the first half of the heads; the other heads see everything.

    Which heads these are, and how far they see, is as in Jelassi et al.'s code (8 of 16).
    """
    head = jnp.arange(1, heads + 1)
    reaches = jnp.where(head <= heads // 2, head, jnp.iinfo(jnp.int32).max)
    return jax.vmap(window_mask, (None, None, 0))(queries, keys, reaches)


def t5_bias(
    queries: Int[Array, "T"], keys: Int[Array, "S"], table: Float[Array, "H N"], causal: bool
) -> Float[Array, "H T S"]:
    """A trained bias for each head and bucket of distances."""
    return table[:, t5_bucket(queries[:, None] - keys[None, :], causal)]


def t5_bucket(distance: Int[Array, "T S"], causal: bool) -> Int[Array, "T S"]:
    """The index of the T5 bucket that each distance t − s falls into: short distances have their own, longer ones
    share.

    Half of the buckets hold one distance each; the others widen in proportion to it, up to T5_MAX_DISTANCE. If keys may
    lie ahead, they get one half of the buckets and the keys behind get the other.
    """
    count = T5_BUCKETS if causal else T5_BUCKETS // 2
    exact = count // 2
    widening = [exact * (T5_MAX_DISTANCE / exact) ** (i / (count - exact)) for i in range(1, count - exact)]
    edges = jnp.array([*range(1, exact + 1), *widening])  # the least distance of bucket 1, 2, …
    if causal:
        return jnp.searchsorted(edges, distance, side="right", method="compare_all")
    return count * (distance < 0) + jnp.searchsorted(edges, jnp.abs(distance), side="right", method="compare_all")


def transformer_xl_bias(
    query: Float[Array, "H T K"], queries: Int[Array, "T"], keys: Int[Array, "S"], kernel: Float[Array, "F H K"]
) -> Float[Array, "H T S"]:
    """q_t·W·φ(t − s), W being `kernel`; φ(d) has `F` features, the sines sin ωd followed by the cosines.

    Rotating (0, 1) by ωd gives (sin, cos), up to the sign of d, so φ(t − s) is a product of rotations by t and by s.
    This avoids the features of all pairs, and works for positions in any order. In at least float32, as all scores.
    """
    turned = apply_rope(jnp.einsum("htk,fhk->htf", at_least_float32(query), at_least_float32(kernel)), queries)
    cosines = jnp.arange(len(kernel)) >= len(kernel) // 2
    one = jnp.broadcast_to(cosines.astype(turned.dtype), (1, len(keys), len(kernel)))
    return jnp.einsum("htf,sf->hts", turned, apply_rope(one, keys)[0])


def _rotation_angles(positions: Int[Array, "T"], width: int) -> Float[Array, "T F"]:
    """position / 10000^(2i/width) for i = 0 … ⌈width/2⌉ − 1."""
    exponents = jnp.arange((width + 1) // 2) * (2 / width)
    return positions[:, None] / 10000.0 ** exponents[None]
