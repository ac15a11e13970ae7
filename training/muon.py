"""Muon (Jordan et al. 2024): steps with orthogonal matrices, for the matrices of products, and Adam for the rest.

optax takes every array of two axes for a matrix, so embeddings and heads too, and what stands side by side in one array
for a single one (findings/optax-muon-embedding-tables.sh). Here the network says which its matrices are. What is left
to Adam gets Adam as Muon's authors have it, and not Nesterov's (findings/optax-muon-adam-is-nadam.sh).
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

MatrixCounter = Callable[[Sequence[str]], int | None]
_AXES = optax.contrib.MuonDimensionNumbers(reduction_axis=0, output_axis=2)


def muon_or_adam(
    learning_rate: Any,
    count_matrices: MatrixCounter,
    *,
    adam_learning_rate: Any = None,
    adam_b1: Any = 0.9,
    adam_b2: float = 0.999,
    adam_eps_root: float = 0.0,
    **options: Any,
) -> Any:
    """optax's Muon for the matrices that `count_matrices` finds by the path of a parameter, and optax's Adam otherwise.

    It returns an optax.GradientTransformation. The arguments are those of `optax.contrib.muon`.
    """

    def label_leaves(params: Any) -> Any:
        return _map_by_count(count_matrices, lambda leaf, count: "adam" if count is None else "muon", params)

    def axes_of_matrices(params: Any) -> Any:
        return jax.tree.map(lambda _: _AXES, params)

    adam_rate = learning_rate if adam_learning_rate is None else adam_learning_rate
    shared = {name: options[name] for name in ("eps", "mu_dtype") if name in options}
    adam = optax.adam(adam_rate, b1=adam_b1, b2=adam_b2, eps_root=adam_eps_root, **shared)
    muon = optax.contrib.muon(learning_rate, muon_weight_dimension_numbers=axes_of_matrices, **options)
    inner = optax.partition({"muon": muon, "adam": adam}, label_leaves)

    def init(params: Any) -> Any:
        return inner.init(_map_by_count(count_matrices, split_matrices, params))

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        split = _map_by_count(count_matrices, split_matrices, updates)
        steps, state = inner.update(split, state, _map_by_count(count_matrices, split_matrices, params))
        counts = _map_by_count(count_matrices, lambda leaf, count: -1 if count is None else count, updates)
        return jax.tree.map(join_matrices, steps, counts, updates), state

    return optax.GradientTransformation(init, update)


def split_matrices(leaf: Float[Array, "..."], count: int | None) -> Float[Array, "..."]:
    """`count` matrices as [rows, count, columns]: from the columns of [rows, count·columns]; 0: from a stack [·, rows,
    columns]. What is no matrix (None) stays as it is."""
    if count is None:
        return leaf
    return jnp.moveaxis(leaf, 0, 1) if count == 0 else leaf.reshape(leaf.shape[0], count, -1)


def join_matrices(split: Float[Array, "..."], count: int, like: Float[Array, "..."]) -> Float[Array, "..."]:
    """The inverse of `split_matrices`, with the shape of `like`; count −1 is for what is no matrix."""
    return jnp.moveaxis(split, 1, 0) if count == 0 else split.reshape(like.shape)


def _map_by_count(count_matrices: MatrixCounter, function: Callable[[Any, int | None], Any], params: Any) -> Any:
    """`function(leaf, count)` of every leaf."""
    return jax.tree.map_with_path(lambda path, leaf: function(leaf, count_matrices([key.key for key in path])), params)
