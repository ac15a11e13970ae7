"""Scores of a classifier beside accuracy, for classes of unequal size: balanced accuracy, macro F1, AUROC.

They are pure functions of outputs `[N, K]`, one row for each sequence, targets `[N]` and weights `[N]`, 0 for what does
not count. nan in an output that counts makes the score nan: no answer is not a wrong answer.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def balanced_accuracy(
    outputs: Float[Array, "N K"], targets: Int[Array, "N"], weights: Float[Array, "N"]
) -> Float[Array, ""]:
    """Mean over the classes that occur in the targets of their recall, TP / (TP + FN).

    Source: Brodersen et al. 2010, The balanced accuracy and its posterior distribution; as scikit-learn's
    `balanced_accuracy_score`. 0 if nothing counts.
    """
    counts = _confusion_matrix(outputs, targets, weights)
    of_class = counts.sum(axis=1)
    recall = jnp.diagonal(counts) / jnp.where(of_class > 0, of_class, 1)
    return _unless_nan(recall.sum() / jnp.maximum((of_class > 0).sum(), 1), outputs, weights)


def macro_f1(outputs: Float[Array, "N K"], targets: Int[Array, "N"], weights: Float[Array, "N"]) -> Float[Array, ""]:
    """Mean of F₁ = 2 TP / (2 TP + FP + FN) over the classes that occur in the targets or in the answers.

    Source: Opitz and Burst 2019, Macro F1 and macro F1 (arXiv 1911.03347), eq. 1; as scikit-learn's
    `f1_score(average="macro")`. 0 if nothing counts.
    """
    counts = _confusion_matrix(outputs, targets, weights)
    sizes = counts.sum(axis=1) + counts.sum(axis=0)  # (TP + FN) + (TP + FP)
    f1 = 2 * jnp.diagonal(counts) / jnp.where(sizes > 0, sizes, 1)
    return _unless_nan(f1.sum() / jnp.maximum((sizes > 0).sum(), 1), outputs, weights)


def auroc(outputs: Float[Array, "N 2"], targets: Int[Array, "N"], weights: Float[Array, "N"]) -> Float[Array, ""]:
    """Area under the receiver operating characteristic: the chance that a sequence of class 1 has a larger output₁ −
    output₀ than one of class 0. Equal ones count half, which is ranking ties by their average rank.

    Source: Mann and Whitney 1947, U / (n₀ n₁); Hanley and McNeil 1982; as scikit-learn's `roc_auc_score`. Where a class
    does not occur there is no pair to rank, and the result is 0.5, that of a guess.
    """
    margins = (outputs[:, 1] - outputs[:, 0]).astype(jnp.float32)
    negative, positive = (weights * (targets == label) for label in (0, 1))
    order = jnp.argsort(margins)
    margins, negative, positive = margins[order], negative[order], positive[order]
    before = jnp.concatenate([jnp.zeros(1, negative.dtype), jnp.cumsum(negative)])  # weight of the first i negatives
    below, not_above = (before[jnp.searchsorted(margins, margins, side=side)] for side in ("left", "right"))
    pairs = negative.sum() * positive.sum()
    area = (positive * (below + not_above)).sum() / 2 / jnp.where(pairs > 0, pairs, 1)
    return _unless_nan(jnp.where(pairs > 0, area, 0.5), outputs, weights)


def _confusion_matrix(
    outputs: Float[Array, "N K"], targets: Int[Array, "N"], weights: Float[Array, "N"]
) -> Float[Array, "K K"]:
    """The weight of the sequences of each class (rows) that get each answer (columns), the largest output."""
    classes = outputs.shape[1]
    return jnp.zeros((classes, classes)).at[targets, outputs.argmax(axis=1)].add(weights)


def _unless_nan(score: Float[Array, ""], outputs: Float[Array, "N K"], weights: Float[Array, "N"]) -> Float[Array, ""]:
    return jnp.where((jnp.isnan(outputs).any(axis=1) & (weights > 0)).any(), jnp.nan, score)
