"""What a state can still tell of the tokens before: a linear probe's accuracy against distance.

For every distance d a ridge regression is fitted from the state behind token t to the token at t − d (one-hot), on one
half of the sequences, and scored on the other: the share of tokens that it names (Alain and Bengio 2016, arXiv
1610.01644, probe layers of a network in this way). What it can't name may still be in the state, for another reader.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from experiments.measures.common import sample_test_batch
from training import builder

DISTANCES = (0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48)
SEQUENCES = 128
RIDGE = 1e-2  # of features with variance 1, times the number of rows
_NO_MEMORY = {"segment", "past", "window", "m", "tokens"}  # leaves of a state that copy inputs or count


class ProbeResult(NamedTuple):
    """Accuracies of a block's state by distance, and that of naming the most frequent token."""

    accuracy: dict[int, float]
    baseline: float
    sequences: int


def probe_blocks(run: builder.Run, params: Any) -> list[ProbeResult | None]:
    """The probes of every block on sequences of the test split; None for a block whose state copies its inputs."""
    batch = sample_test_batch(run, SEQUENCES)
    whole = np.asarray(batch.segments != 0).all(axis=1)  # without padding, on which a state stands still
    if whole.sum() < 2:
        return [None] * run.model.depth
    inputs = batch.inputs[whole]
    states = stream_states(run, params, inputs)
    return [None if one is None else probe_state(one, np.asarray(inputs)) for one in states]


def stream_states(run: builder.Run, params: Any, inputs: Int[Array, "B T"]) -> list[Float[np.ndarray, "B T F"] | None]:
    """Each block's state behind every token, its memory flattened; None for a block whose state copies its inputs.

    The model reads token by token, as in streaming. Raises ValueError for one that can't.
    """

    def read_token(state: Any, inputs: tuple[Array, Array]) -> tuple[Any, Any]:
        token, place = inputs
        rows = jnp.ones((len(token), 1), jnp.int32)
        _, state = run.model.apply(
            {"params": params}, token[:, None], state=state, positions=place * rows, segments=rows
        )
        return state, [_flatten_memory(one) for one in state]

    def read_first(params: Any, token: Array) -> Any:
        rows = jnp.ones((len(token), 1), jnp.int32)
        return run.model.apply({"params": params}, token[:, None], positions=0 * rows, segments=rows)[1]

    if not run.config["model"]["causal"]:
        raise ValueError("model.causal=False: a state is read token by token, and this model looks both ways")
    first = jax.jit(read_first)(params, inputs[:, 0])
    places = jnp.arange(1, inputs.shape[1])
    _, after = jax.jit(partial(jax.lax.scan, read_token))(first, (inputs[:, 1:].T, places))
    return [
        None if head is None else np.concatenate([np.asarray(head)[:, None], np.asarray(rest).swapaxes(0, 1)], axis=1)
        for head, rest in zip([_flatten_memory(one) for one in first], after, strict=True)
    ]


def _flatten_memory(state: Any) -> Float[Array, "B F"] | None:
    """The numbers of a mixer's state that it computed; None where there are none, as in a cache of keys and values."""
    leaves = [
        leaf
        for path, leaf in jax.tree.leaves_with_path(state)
        if not {str(getattr(key, "key", "")) for key in path} & (_NO_MEMORY | {"key", "value"})
        and jnp.issubdtype(leaf.dtype, jnp.inexact)
    ]
    parts = [part for leaf in leaves for part in ((leaf.real, leaf.imag) if jnp.iscomplexobj(leaf) else (leaf,))]
    return jnp.concatenate([part.reshape(len(part), -1) for part in parts], axis=1) if parts else None


def probe_state(
    states: Float[np.ndarray, "B T F"], tokens: Int[np.ndarray, "B T"], distances: Sequence[int] = DISTANCES
) -> ProbeResult:
    """The accuracy of a linear probe at every distance that the sequences have. Raises ValueError for one sequence."""
    if len(states) < 2:
        raise ValueError("a probe is fitted on one half of the sequences and scored on the other: give two or more")
    known, classes = np.unique(tokens, return_inverse=True)
    classes = classes.reshape(tokens.shape)
    train = np.arange(len(states)) < len(states) // 2
    longest = max(distance for distance in distances if distance < tokens.shape[1])
    # The same places t for every distance, so that accuracies are comparable.
    features = np.asarray(states[:, longest:], np.float64)
    mean, spread = features[train].mean(axis=(0, 1)), features[train].std(axis=(0, 1))
    features = (features - mean) / np.where(spread > 1e-8, spread, 1)
    features = np.concatenate([features, np.ones((*features.shape[:2], 1))], axis=-1)
    fitted, scored = (features[part].reshape(-1, features.shape[-1]) for part in (train, ~train))
    gram = fitted.T @ fitted + RIDGE * len(fitted) * np.eye(fitted.shape[1])
    accuracy = {}
    for distance in distances:
        if distance > longest:
            continue
        targets = classes[:, longest - distance : classes.shape[1] - distance]
        weights = np.linalg.solve(gram, fitted.T @ np.eye(len(known))[targets[train].ravel()])
        accuracy[distance] = float(((scored @ weights).argmax(axis=1) == targets[~train].ravel()).mean())
    frequent = np.bincount(classes[train].ravel()).argmax()
    baseline = float((classes[~train][:, longest:] == frequent).mean())
    return ProbeResult(accuracy, baseline, len(states))
