"""Where a token stands: vectors added to it, rotations of its query and key, or biases on its scores."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

ADDED = ("sinusoidal", "learned")  # to the embedding, by the skeleton
SCORED = ("rope", "alibi")  # inside attention
POSITIONS = ("none", *ADDED, *SCORED)


def sinusoidal(positions: Int[Array, "T"], width: int) -> Float[Array, "T D"]:
    """Sines and cosines of wavelengths 2π … 10000·2π, interleaved (Vaswani et al. 2017, §3.5)."""
    angles = frequencies(positions, width)
    return jnp.stack([jnp.sin(angles), jnp.cos(angles)], axis=-1).reshape(len(positions), -1)[:, :width]


def learned(positions: Int[Array, "T"], table: Float[Array, "L D"]) -> Float[Array, "T D"]:
    """Rows of a trained table; nan past its end, so that a length never trained on can't pass for a known one."""
    return table.at[positions].get(mode="fill", fill_value=jnp.nan)


def rope(x: Float[Array, "H T K"], positions: Int[Array, "T"]) -> Float[Array, "H T K"]:
    """Rotate each pair of features by position × frequency (Su et al. 2021, RoFormer, eq. 34).

    The product of a rotated query and a rotated key depends on the distance of their positions alone. `K` is even.
    Pairs are (i, i + K/2), which spares a shuffle and changes nothing but the order of the features.
    """
    angles = frequencies(positions, x.shape[-1])
    sine, cosine = jnp.sin(angles).astype(x.dtype), jnp.cos(angles).astype(x.dtype)
    low, high = jnp.split(x, 2, axis=-1)
    return jnp.concatenate([low * cosine - high * sine, high * cosine + low * sine], axis=-1)


def alibi(queries: Int[Array, "T"], keys: Int[Array, "S"], heads: int) -> Float[Array, "H T S"]:
    """−slope · distance, with slopes 2^(−8h/heads), h = 1 … heads (Press et al. 2022, §3)."""
    slopes = 2.0 ** (-8 * jnp.arange(1, heads + 1) / heads)
    distance = jnp.abs(queries[:, None] - keys[None, :])
    return -slopes[:, None, None] * distance


def frequencies(positions: Int[Array, "T"], width: int) -> Float[Array, "T F"]:
    """position / 10000^(2i/width) for i = 0 … ⌈width/2⌉ − 1."""
    exponents = jnp.arange((width + 1) // 2) * (2 / width)
    return positions[:, None] / 10000.0**exponents
