"""What a state can still tell of the tokens before: a linear probe's accuracy against distance.

For every distance d a ridge regression is fitted from the state behind token t to the token at t − d (one-hot), on one
half of the sequences, and scored on the other: the share of tokens that it names (Alain and Bengio 2016, arXiv
1610.01644, probe layers of a network in this way). What it can't name may still be in the state, for another reader.
Windows of a text lie in its first half where a probe is fitted, and in its second where it is scored.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int
from scipy.linalg import cho_factor, cho_solve

from experiments.inspection import units
from experiments.measures.common import sample_test_batch
from tasks.real.characters import WindowSampling
from training import builder

DISTANCES = (0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48)
SEQUENCES = 128
RIDGE = 1e-2  # of features with variance 1, times the number of rows


class ProbeResult(NamedTuple):
    """What a block's state tells on the test split: the accuracies of probes by distance, that of naming the most
    frequent token, and each unit's correlation with the tokens since the last line break, where a text has lines."""

    accuracy: dict[int, float]
    baseline: float
    sequences: int
    line_correlations: Float[np.ndarray, "N"] | None = None  # units in their own order


def probe_blocks(run: builder.Run, params: Any) -> list[ProbeResult | None]:
    """The probes of every block on sequences of the test split.

    None for a block whose state copies its inputs, and for all blocks where the test split is too short.
    """
    inputs = probe_sequences(run)
    if inputs is None:
        return [None] * run.model.depth
    return [_probe_block(state, inputs, run.task) for state in units.stream_states(run, params, jnp.asarray(inputs))]


def probe_sequences(run: builder.Run) -> Int[np.ndarray, "B T"] | None:
    """Whole sequences of the test split, to be fitted on in the first half of the rows and scored on in the second.

    None where there are too few. Windows of a text are evenly spaced, half of them in each half of the text, so that no
    character is in both.
    """
    task, subset = run.task, run.task.splits["test"].subset
    if isinstance(task, WindowSampling):
        half, needed = task.count_rows(subset) // 2, task.max_length + 1
        if half < needed:
            return None
        places = np.linspace(0, half - needed, SEQUENCES // 2).astype(np.int32)
        rows = task.gather(jnp.asarray(np.concatenate([places, half + places])), task.max_length, subset)
        batch = task.collate(rows, task.max_length, task.max_length)
    else:
        batch = sample_test_batch(run, SEQUENCES)
    whole = np.asarray(batch.segments == 1).all(axis=1)  # without padding, on which a state stands still
    return np.asarray(batch.inputs)[whole] if whole.sum() > 1 else None


def _probe_block(state: Any, tokens: Int[np.ndarray, "B T"], task: Any) -> ProbeResult | None:
    memory = flatten_memory(state)
    if memory is None:
        return None
    probe = probe_state(memory, tokens)
    token, vectors = units.line_break_token(getattr(task, "names", ())), units.unit_states(state)
    if token is None or not vectors:
        return probe
    counts = units.steps_since(tokens, token, from_start=False)
    return probe._replace(line_correlations=units.unit_correlations(next(iter(vectors.values())), counts))


def flatten_memory(state: Mapping[str, Any]) -> Float[np.ndarray, "B T F"] | None:
    """The numbers of a streamed state side by side; None where there are none."""
    leaves = [np.asarray(leaf) for leaf in state.values()]
    parts = [part for leaf in leaves for part in ((np.real(leaf), np.imag(leaf)) if np.iscomplexobj(leaf) else (leaf,))]
    return np.concatenate([part.reshape(*part.shape[:2], -1) for part in parts], axis=-1) if parts else None


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
    gram = cho_factor(fitted.T @ fitted + RIDGE * len(fitted) * np.eye(fitted.shape[1]))  # once for all distances
    accuracy = {}
    for distance in distances:
        if distance > longest:
            continue
        targets = classes[:, longest - distance : tokens.shape[1] - distance]
        weights = cho_solve(gram, fitted.T @ np.eye(len(known))[targets[train].ravel()])
        accuracy[distance] = float(((scored @ weights).argmax(axis=1) == targets[~train].ravel()).mean())
    frequent = np.bincount(classes[train].ravel()).argmax()
    baseline = float((classes[~train][:, longest:] == frequent).mean())
    return ProbeResult(accuracy, baseline, len(states))
