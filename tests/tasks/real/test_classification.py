import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import metrics as peer

from tasks.real.classification import METRICS, Classification, naive_bayes_scores, nearest_neighbor

RANDOM = np.random.default_rng(0)
SIZES = {"train": 50, "validation": 8, "test": 20}


def made(rule: str = "most", longest: int = 6) -> Classification:
    lengths = {name: RANDOM.integers(1, longest + 1, (n, 1)) for name, n in SIZES.items()}
    inputs = {
        name: RANDOM.integers(1, 5, (n, longest)) * (np.arange(longest) < lengths[name]) for name, n in SIZES.items()
    }
    labels = {name: (rows[:, 0] > 2).astype(np.int32) for name, rows in inputs.items()}  # the first token decides
    return Classification(inputs, labels, ("", *"abcd"), ("low", "high"), rule)


def test_a_batch_is_distinct_sequences_with_their_labels():
    task = made()
    batch = task.sample(jax.random.key(0), 20, 6, 6, "test")
    order = np.lexsort(np.asarray(batch.inputs).T)
    expected = np.lexsort(task.inputs["test"].T)
    np.testing.assert_array_equal(np.asarray(batch.inputs)[order], task.inputs["test"][expected])
    np.testing.assert_array_equal(np.asarray(batch.targets), np.asarray(batch.inputs)[:, 0] > 2)


def test_segments_end_where_the_sequence_does_or_the_length():
    batch = made().sample(jax.random.key(0), 20, 6, 3, "test")
    tokens = np.asarray(batch.inputs)
    assert not tokens[:, 3:].any()
    np.testing.assert_array_equal(batch.segments, tokens != 0)


def test_a_sequence_without_tokens_is_one_blank():
    task = made()
    empty = Classification({**task.inputs, "test": np.zeros((20, 6), int)}, task.labels, task.names, task.classes)
    np.testing.assert_array_equal(
        empty.sample(jax.random.key(0), 20, 6, 6, "test").segments, np.tile([1, 0, 0, 0, 0, 0], (20, 1))
    )


def test_rules_to_be_held_against():
    """The first token decides here, so that a rule of it is always right, and naive Bayes nearly."""
    assert made("first").baseline == ("the first token alone", 1.0)
    name, share = made("places").baseline
    assert name == "naive Bayes, place by place"
    assert share > 0.8
    task = made()
    most = np.bincount(task.labels["train"]).argmax()
    assert task.baseline == ("the most frequent class", np.mean(task.labels["test"] == most))


def test_bayes_against_its_definition():
    train, labels = RANDOM.integers(0, 3, (30, 2)), RANDOM.integers(0, 2, 30)
    test = np.array([[a, b] for a in range(3) for b in range(3)])
    for row, said in zip(test, naive_bayes_scores(train, labels, test, 3, 2).argmax(axis=1), strict=True):
        scores = []
        for c in range(2):
            mine = train[labels == c]
            likely = [(np.sum(mine[:, i] == row[i]) + 1) / (len(mine) + 3) for i in range(2)]
            scores.append(np.log(len(mine) + 1) + np.log(likely).sum())
        assert said == np.argmax(scores)


def test_the_nearest_neighbour():
    train = np.array([[1, 2, 3, 4, 5, 0], [1, 2, 3, 4, 1, 2], [3, 3, 0, 0, 0, 0], [5, 5, 5, 5, 5, 5]], np.uint8)
    labels = np.array([0, 1, 1, 2])
    test = np.array(
        [[1, 2, 3, 4, 0, 0], [9, 1, 2, 3, 4, 1], [5, 5, 5, 5, 0, 0], [3, 3, 0, 0, 0, 0], [8, 8, 8, 8, 8, 8]]
    )
    # Half of the first's runs, which are fewer than the second's; two of four; all; the same short one; none.
    assert nearest_neighbor(train, labels, test).tolist() == [0, 1, 2, 1, 1]
    name, share = made("nearest").baseline
    assert name == "the nearest neighbour by runs of 4"
    assert 0 < share < 1


def test_encode_by_letter_or_by_word():
    assert made().encode("abxd") == [1, 2, 4]
    words = Classification(made().inputs, made().labels, ("", "king", "the", "pound", "x"), ("a", "b"))
    assert words.encode("The king's king") == [2, 1]
    with pytest.raises(ValueError, match=r"^'xyz': none of it is known; known are a, b, c, d and so on$"):
        made().encode("xyz")


def test_bad_values():
    with pytest.raises(ValueError, match=r"^task.rule=last: must be one of most, first, places, nearest$"):
        made("last")
    for settings, message in [
        ({"metric": "F1"}, r"^task.metric=F1: must be one of accuracy, balanced accuracy, macro F1, AUROC$"),
        ({"metric": "AUROC", "classes": ("a", "b", "c")}, r"^task.metric=AUROC: is for two classes, and these are 3$"),
        ({"class_weights": (1.0,)}, r"^task.class_weights=\(1.0,\): must be 2 numbers above 0, one for each class, or"),
        ({"class_weights": (1.0, 0.0)}, r"^task.class_weights=\(1.0, 0.0\): must be 2 numbers above 0, one for each"),
        ({"eval_examples": -1}, r"^task.eval_examples=-1: must be 0 or more$"),
    ]:
        with pytest.raises(ValueError, match=message):
            with_settings(made(), **settings)
    with pytest.raises(ValueError, match=r"^batch=9: the validation sequences are 8, so give that many or fewer$"):
        made().sample(jax.random.key(0), 9, 6, 6, "validation")
    with pytest.raises(ValueError, match=r"^max_length=7: sequences have 6 tokens, so give that or fewer$"):
        made().sample(jax.random.key(0), 2, 7, 6)


def with_settings(task: Classification, **settings) -> Classification:
    return dataclasses.replace(task, **settings)


def test_the_chance_of_each_metric_is_that_of_a_guess():
    task = made()
    labels = np.asarray(task.labels["test"])
    guesses = RANDOM.integers(0, 2, (2000, len(labels)))
    for metric in METRICS:
        grade = {
            "accuracy": lambda said: np.mean(said == labels),
            "balanced accuracy": lambda said: peer.balanced_accuracy_score(labels, said),
            "macro F1": lambda said: peer.f1_score(labels, said, average="macro"),
            "AUROC": lambda said: peer.roc_auc_score(labels, said),
        }[metric]
        mean = np.mean([grade(said) for said in guesses[:300]])
        assert with_settings(task, metric=metric).chance == pytest.approx(mean, abs=0.02)


@pytest.mark.parametrize("metric", METRICS[1:])
def test_the_baseline_has_the_score_of_its_metric(metric: str):
    task = with_settings(made("first"), metric=metric)
    assert task.baseline == ("the first token alone", 1.0)
    labels = np.asarray(task.labels["test"])
    most = np.full(len(labels), np.bincount(task.labels["train"]).argmax())
    expected = {"balanced accuracy": 0.5, "macro F1": peer.f1_score(labels, most, average="macro"), "AUROC": 0.5}
    assert with_settings(task, rule="most").baseline[1] == pytest.approx(expected[metric])


def test_class_weights_are_how_much_a_sequence_counts_in_the_loss():
    task = made()
    batch = task.sample(jax.random.key(0), 20, 6, 6, "test")
    outputs = jnp.asarray(RANDOM.normal(size=(20, 2)), jnp.float32)
    assert with_settings(task, class_weights=(2.0, 2.0)).loss(outputs, batch) == pytest.approx(
        task.loss(outputs, batch)
    )
    nats = -np.asarray(jax.nn.log_softmax(outputs))[np.arange(20), batch.targets]
    weights = np.array([1.0, 3.0])[batch.targets]
    loss = with_settings(task, class_weights=(1.0, 3.0)).loss(outputs, batch)
    assert loss == pytest.approx(np.sum(weights * nats) / weights.sum(), rel=1e-5)


def test_extra_scores_are_the_metrics_that_are_not_the_score():
    task = made()
    batch = task.sample(jax.random.key(0), 20, 6, 6, "test")
    outputs = jnp.asarray(RANDOM.normal(size=(20, 2)), jnp.float32)
    assert task.extra_scores(outputs, batch) == {}
    for metric in METRICS:
        graded = with_settings(task, metric=metric, extra_metrics=True)
        found = graded.extra_scores(outputs, batch)
        assert set(found) == set(METRICS) - {metric} <= set(Classification.EXTRA_METRICS)
        for name, score in found.items():
            assert score == with_settings(task, metric=name).score(outputs, batch)
    three = Classification(task.inputs, task.labels, task.names, ("a", "b", "c"), extra_metrics=True)
    assert set(three.extra_scores(jnp.zeros((20, 3)), batch)) == {"balanced accuracy", "macro F1"}


def test_an_evaluation_may_be_of_fewer_sequences():
    whole = made("first")
    task = with_settings(whole, eval_examples=10)
    assert {name: split.examples for name, split in task.splits.items()} == {"validation": 8, "test": 10}
    wrong = np.where(np.arange(20) % 2, 1 - whole.labels["test"], whole.labels["test"]).astype(np.int32)
    task = with_settings(task, labels={**whole.labels, "test": wrong})
    assert task.baseline[1] == 1, "the baseline is of every second row, as many as are evaluated"


def test_a_solver_scores_all():
    task = made()
    batch = task.sample(jax.random.key(0), 20, 6, 6, "test")
    answers = jax.nn.one_hot((batch.inputs[:, 0] > 2).astype(jnp.int32), 2)
    assert task.score(answers, batch) == 1
