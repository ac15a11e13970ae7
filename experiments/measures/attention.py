"""What attention looks at: alignments, similar tokens, how weights depend on each other, how heads differ."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy import stats

import tasks
from experiments.measures.common import Evaluate, MeasureValue, apply_to_batch, sample_test_batch
from models.seq2seq import split_source_target
from tasks.synthetic.translation import FIRST_WORD, word_alignment
from training import builder, trainer

MIN_PAIRS = 5  # of tokens that a rank correlation is computed from


def attention_weights(run: builder.Run, params: Any, batch: tasks.Batch) -> list[Float[Array, "B H T S"]]:
    """The weights of each block: of the cross-attention in an encoder–decoder, else of the mixers.

    Raises ValueError for a model without attention.
    """
    _, variables = apply_to_batch(run, params, batch, mutable="intermediates")
    sown = variables.get("intermediates", {})
    names = sorted(name for name in sown if name.startswith(("bridges_", "mixer_")) and "weights" in sown[name])
    if not names:
        raise ValueError("a measure of attention's weights needs attention in the model")
    return [sown[name]["weights"][0] for name in names]


# ---- alignments -----------------------------------------------------------------------------------------------------


def alignment_accuracy(run: builder.Run) -> Evaluate:
    """The share of words whose largest weight (mean over heads, the best of the blocks) is on the source word that
    they translate; chance is one in the number of words."""
    batch = sample_test_batch(run, sequences=128)
    split_halves = partial(split_source_target, separator=run.task.separator, halves=True)
    pair = jax.vmap(split_halves)(batch.inputs, batch.positions, batch.segments)
    words = (batch.inputs.shape[1] - 1) // 2
    truth = jax.vmap(word_alignment, (0, None))(pair.source - FIRST_WORD, words)[:, :words]

    @jax.jit
    def accuracy(params: Any) -> Array:
        by_block = [w.mean(axis=1)[:, :words].argmax(axis=-1) == truth for w in attention_weights(run, params, batch)]
        return jnp.stack([hits.mean() for hits in by_block]).max()

    return lambda params, seed: float(accuracy(params))


def alignment_error(run: builder.Run) -> Evaluate:
    """The alignment error rate of cross-attention (Och and Ney 2003, eq. 8): 1 − 2 |predicted ∩ true| / (|predicted| +
    |true|), over the test pairs of a task with links, which all count as sure. Predicted is, for each target word, the
    source word with the largest weight (mean over heads, the best of the blocks) just before the word is written."""
    batch, is_word, true = linked_pairs(run)
    split_halves = partial(split_source_target, separator=run.task.separator, halves=True)
    longest = true.shape[1]

    @jax.jit
    def predict_by_block(params: Any) -> list[Array]:
        pair = jax.vmap(split_halves)(batch.inputs, batch.positions, batch.segments)
        is_source = (pair.source_segments != 0)[:, None, :longest]
        return [
            jnp.where(is_source, w.mean(axis=1)[:, :longest, :longest], -1).argmax(axis=-1)
            for w in attention_weights(run, params, batch)
        ]

    def evaluate(params: Any, seed: int) -> MeasureValue:
        return min(alignment_error_rate(np.asarray(block), is_word, true) for block in predict_by_block(params))

    return evaluate


def diagonal_error(run: builder.Run) -> Evaluate:
    """The alignment error rate of a rule that reads no word: the source word at the target word's relative position."""
    error = _diagonal_error_rate(run)
    return lambda params, seed: error


def alignment_gain(run: builder.Run) -> Evaluate:
    """The diagonal's alignment error less that of cross-attention."""
    error_of_model, error_of_diagonal = alignment_error(run), _diagonal_error_rate(run)
    return lambda params, seed: error_of_diagonal - error_of_model(params, seed)  # pyright: ignore[reportOperatorIssue]


def _diagonal_error_rate(run: builder.Run) -> float:
    _, is_word, true = linked_pairs(run)
    sources = (np.asarray(run.task.sources["test"]) > 0).sum(axis=1)[:, None]
    targets = is_word.sum(axis=1)[:, None]
    relative = (np.arange(is_word.shape[1]) + 0.5) * sources / np.maximum(targets, 1)
    return alignment_error_rate(np.minimum(relative, sources - 1).astype(int), is_word, true)


def linked_pairs(run: builder.Run) -> tuple[tasks.Batch, np.ndarray, np.ndarray]:
    """The test set of a task with links, one pair of sentences per row: the batch, which target positions hold a word
    [N, T], and the links [N, T, S]. Raises ValueError for a task without links."""
    if getattr(run.task, "links", None) is None:
        raise ValueError("a measure of alignment needs a task with links, as that of the data set verses")
    true = np.asarray(run.task.links["test"])
    batch = run.task.build_rows(jnp.arange(len(true))[:, None], run.task.pair_length, 1, "test")
    return batch, np.asarray(run.task.targets["test"]) > 0, true


def alignment_error_rate(predicted: np.ndarray, is_word: np.ndarray, true: np.ndarray) -> float:
    """The error rate of one predicted source position [N, T] for each word of the target."""
    hits = np.take_along_axis(true, predicted[..., None], axis=-1)[..., 0] & is_word
    return 1 - 2 * float(hits.sum()) / float(is_word.sum() + true.sum())


# ---- similar tokens -------------------------------------------------------------------------------------------------


def trained_similarity(run: builder.Run) -> Evaluate:
    """The rank correlation of token similarity and attention weight in the trained model."""
    return lambda params, seed: _similarity_correlation(run, params)


def initial_similarity(run: builder.Run) -> Evaluate:
    """The same in the model before training."""
    return lambda params, seed: _similarity_correlation(run, trainer.init_params(run, jnp.uint32(seed)))


def similarity_gain(run: builder.Run) -> Evaluate:
    """What training added to it."""
    trained, initial = trained_similarity(run), initial_similarity(run)
    return lambda params, seed: trained(params, seed) - initial(params, seed)  # pyright: ignore[reportOperatorIssue]


def _similarity_correlation(run: builder.Run, params: Any) -> float:
    """Spearman's rank correlation of two tokens' similarity (cosine of their embeddings) with the weight that one
    gives to the other in the first block, mean over heads, over all pairs of different tokens in a causal order."""
    batch = sample_test_batch(run, sequences=8)
    embedded = params["embed"]["embedding"][batch.inputs]
    unit = embedded / jnp.linalg.norm(embedded, axis=-1, keepdims=True)
    similarity = jnp.einsum("btd,bsd->bts", unit, unit)
    weights = attention_weights(run, params, batch)[0].mean(axis=1)
    steps = jnp.arange(similarity.shape[1])
    pairs = (steps[:, None] > steps) & (batch.inputs[:, :, None] != batch.inputs[:, None, :])
    pairs &= (batch.inputs[:, :, None] != 0) & (batch.inputs[:, None, :] != 0)  # 0 is padding
    rows = (np.asarray(x).reshape(-1, len(steps)) for x in (similarity, weights, pairs))
    # Query by query: the more keys a query has, the smaller are its weights.
    correlations = [
        stats.spearmanr(s[p], w[p]).statistic  # pyright: ignore[reportAttributeAccessIssue]
        for s, w, p in zip(*rows, strict=True)
        if p.sum() >= MIN_PAIRS
    ]
    return float(np.nanmean(correlations))


# ---- weights and heads ----------------------------------------------------------------------------------------------


def weight_coupling(run: builder.Run) -> Evaluate:
    """How much the other weights of a query move when one key changes, relative to that key's own weight: Σ|Δ others| /
    Σ|Δ own|, in the first block, where no other score can have changed."""
    batch = sample_test_batch(run)
    place = batch.inputs.shape[1] // 4
    changed_inputs = batch.inputs.at[:, place].set((batch.inputs[:, place] + 1) % run.task.vocabulary)

    @jax.jit
    def coupling(params: Any) -> Array:
        before, after = (
            attention_weights(run, params, batch._replace(inputs=inputs))[0]
            for inputs in (batch.inputs, changed_inputs)
        )
        change = jnp.abs(after - before)[:, :, place + 1 :]  # of the queries that see the key and are not it
        own = change[..., place].sum()
        return (change.sum() - own) / jnp.maximum(own, 1e-9)

    return lambda params, seed: float(coupling(params))


def head_diversity(run: builder.Run) -> Evaluate:
    """How differently the heads of a block look: the total variation distance of two heads' weights, mean over pairs of
    heads, steps and blocks. 0: all alike; 1: no two look at the same token."""
    batch = sample_test_batch(run)

    @jax.jit
    def mean_distance(params: Any) -> Array:
        by_block = []
        for weights in attention_weights(run, params, batch):
            heads = weights.shape[1]
            distances = 0.5 * jnp.abs(weights[:, :, None] - weights[:, None]).sum(axis=-1).mean(axis=(0, 3))
            by_block.append(distances.sum() / max(heads * (heads - 1), 1))
        return jnp.stack(by_block).mean()

    return lambda params, seed: float(mean_distance(params))
