from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import metrics as peer

from tasks.real.class_metrics import auroc, balanced_accuracy, macro_f1

RANDOM = np.random.default_rng(0)


def random_case(classes: int, missing: tuple[int, ...] = (), size: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Outputs with many ties, and targets among which some classes are missing."""
    outputs = RANDOM.integers(-3, 4, (size, classes)).astype(np.float32)
    present = [label for label in range(classes) if label not in missing]
    return outputs, RANDOM.choice(present, size, p=RANDOM.dirichlet(np.ones(len(present)))).astype(np.int32)


def grade(score: Callable, outputs: np.ndarray, targets: np.ndarray, weights: np.ndarray | None = None) -> float:
    weights = np.ones(len(targets), np.float32) if weights is None else weights
    return float(score(*map(jnp.asarray, (outputs, targets, weights))))


@pytest.mark.parametrize(("classes", "missing"), [(2, ()), (2, (0,)), (5, ()), (5, (1, 3)), (9, (0, 8))])
@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
def test_balanced_accuracy_and_macro_f1_are_scikit_learns(classes: int, missing: tuple[int, ...]):
    for _ in range(5):
        outputs, targets = random_case(classes, missing)
        outputs[:, -1] = -9  # a class that is never answered
        answers = outputs.argmax(axis=1)
        score = grade(balanced_accuracy, outputs, targets)
        assert score == pytest.approx(peer.balanced_accuracy_score(targets, answers), abs=1e-6)
        score = grade(macro_f1, outputs, targets)
        assert score == pytest.approx(peer.f1_score(targets, answers, average="macro"), abs=1e-6)


def test_auroc_is_scikit_learns_with_ties():
    for _ in range(10):
        outputs, targets = random_case(2)
        expected = peer.roc_auc_score(targets, outputs[:, 1] - outputs[:, 0])
        assert grade(auroc, outputs, targets) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("score", [balanced_accuracy, macro_f1, auroc])
def test_what_has_no_weight_does_not_count(score):
    outputs, targets = random_case(2)
    weights = (np.arange(len(targets)) % 3 > 0).astype(np.float32)
    counted = weights > 0
    expected = grade(score, outputs[counted], targets[counted])
    outputs[~counted] = np.nan
    assert grade(score, outputs, targets, weights) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("score", [balanced_accuracy, macro_f1, auroc])
def test_no_answer_is_no_wrong_answer(score):
    outputs, targets = random_case(2)
    outputs[3, 0] = np.nan
    assert np.isnan(grade(score, outputs, targets))


@pytest.mark.parametrize("score", [balanced_accuracy, macro_f1, auroc])
def test_the_right_answers_score_all_also_in_compiled_batches(score):
    targets = jnp.asarray(RANDOM.integers(0, 2, (3, 50)), jnp.int32)
    found = jax.jit(jax.vmap(score))(jax.nn.one_hot(targets, 2), targets, jnp.ones((3, 50)))
    np.testing.assert_array_equal(found, np.ones(3))


def test_without_pairs_to_rank_auroc_is_a_guess():
    assert auroc(jnp.zeros((4, 2)), jnp.zeros(4, jnp.int32), jnp.ones(4)) == 0.5
