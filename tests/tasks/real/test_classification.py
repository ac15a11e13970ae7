import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tasks.real.classification import Classification, naive_bayes, nearest_neighbor

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
    for row, said in zip(test, naive_bayes(train, labels, test, 3, 2), strict=True):
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
    with pytest.raises(ValueError, match=r"^batch=9: the validation sequences are 8, so give that many or fewer$"):
        made().sample(jax.random.key(0), 9, 6, 6, "validation")
    with pytest.raises(ValueError, match=r"^max_length=7: sequences have 6 tokens, so give that or fewer$"):
        made().sample(jax.random.key(0), 2, 7, 6)


def test_a_solver_scores_all():
    task = made()
    batch = task.sample(jax.random.key(0), 20, 6, 6, "test")
    answers = jax.nn.one_hot((batch.inputs[:, 0] > 2).astype(jnp.int32), 2)
    assert task.score(answers, batch) == 1
