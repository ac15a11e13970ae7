"""Differential attention: each head has two softmaxes, and the second is subtracted (Ye et al. 2024, arXiv 2410.05258).

    z_t = Σ_s (softmax_s(q¹_t·k¹_s/√H) − λ·softmax_s(q²_t·k²_s/√H))·v_s           (eq. 1)
    λ   = exp(a¹·b¹) − exp(a²·b²) + λ₀,   λ₀ = 0.8 − 0.6·e^(−0.3·(l − 1))         (eq. 2, in layer l = 1, 2 …)
    y_t = (1 − λ₀)·g ⊙ z_t/√(mean(z_t²) + ε)                                      (eq. 3)

q¹ and q² are the halves of a head's query, and k¹ and k² of its key, H features each; v is whole. What both softmaxes
give weight to is taken to be noise, and cancels. The trained vectors a and b, and so λ, and the trained scale g are
shared by the heads of a layer. As in the authors' code, a and b start normal with a deviation of 0.1, and ε is 10⁻⁵.

Halves of heads are laid out as heads: all first halves, then all second ones. So heads that share keys and values in
groups do so in both halves.
"""

import math
from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

_LAMBDA_VECTORS = ("lambda_query_1", "lambda_key_1", "lambda_query_2", "lambda_key_2")


def split_halves(x: Shaped[Array, "*B H T K"]) -> Shaped[Array, "*B 2*H T K//2"]:
    """The first halves of all heads' features, and then their second halves."""
    return jnp.concatenate(jnp.split(x, 2, axis=-1), axis=-3)


def join_halves(x: Shaped[Array, "*B H T K"]) -> Shaped[Array, "*B H//2 T 2*K"]:
    """What `split_halves` was given."""
    return jnp.concatenate(jnp.split(x, 2, axis=-3), axis=-1)


def initial_lambda(depth_index: int) -> float:
    """λ₀ of a layer; `depth_index` counts layers from 0."""
    return 0.8 - 0.6 * math.exp(-0.3 * depth_index)


def make_lambda(param: Callable[..., Array], size: int, depth_index: int) -> Float[Array, ""]:
    """λ from the trained vectors, of `size` numbers each; `param` is the method of a module."""
    a1, b1, a2, b2 = (param(name, nn.initializers.normal(0.1), (size,)) for name in _LAMBDA_VECTORS)
    return jnp.exp(a1 @ b1) - jnp.exp(a2 @ b2) + initial_lambda(depth_index)


def subtract_second(weights: Float[Array, "H T S"], second_weight: Float[Array, ""]) -> Float[Array, "H//2 T S"]:
    """The weights of first halves less λ times those of second halves."""
    first, second = jnp.split(weights, 2)
    return first - second_weight * second
