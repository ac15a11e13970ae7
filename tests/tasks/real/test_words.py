import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tasks.base import Batch
from tasks.real.ngrams import ngram_bits
from tasks.real.words import Words, split_words

NAMES = ("<unk>", "the", "cat", ",", "sat", "42")
RANDOM = np.random.default_rng(0)
TEXT = {name: RANDOM.integers(0, 6, n, np.int32) for name, n in {"train": 400, "validation": 60, "test": 90}.items()}
TASK = Words(TEXT, NAMES, max_length=8)


def test_windows_of_the_text_with_the_next_word_as_target():
    batch = TASK.sample(jax.random.key(0), 16, 8, 5, "test")
    windows = {tuple(TEXT["test"][i : i + 6].tolist()) for i in range(len(TEXT["test"]) - 5)}
    for inputs, targets in zip(np.asarray(batch.inputs), np.asarray(batch.targets), strict=True):
        assert (*inputs[:5].tolist(), int(targets[4])) in windows
        np.testing.assert_array_equal(inputs[1:5], targets[:4])
    np.testing.assert_array_equal(np.asarray(batch.weights), np.tile(np.arange(8) < 5, (16, 1)))


def test_perplexity_is_e_to_the_loss():
    batch = TASK.sample(jax.random.key(0), 4, 8, 8)
    uniform = jnp.zeros((4, 8, 6))
    assert TASK.score(uniform, batch) == pytest.approx(6, rel=1e-5) == TASK.chance
    certain = 100.0 * jax.nn.one_hot(batch.targets, 6)
    assert TASK.score(certain, batch) == pytest.approx(1)
    none = Batch(*batch)._replace(weights=jnp.zeros((4, 8)))
    assert TASK.score(uniform, none) == 1


def test_the_baseline_is_a_trigram_model():
    name, perplexity = TASK.baseline
    assert name == "trigram counts"
    assert perplexity == pytest.approx(2 ** ngram_bits(TEXT["train"], TEXT["test"], 6, 3))


def test_words_numbers_and_signs():
    assert split_words("The cat's 42 cats, ‘don’t’ -- SIT!") == [
        *("the", "cat's", "42", "cats", ",", "‘", "don’t", "’", "-", "-", "sit", "!")
    ]


def test_encode():
    assert TASK.encode("The CAT, dog sat 42") == [1, 2, 3, 0, 4, 5]
    with pytest.raises(ValueError, match=r"^'  ': has no words$"):
        TASK.encode("  ")


def test_bad_values():
    with pytest.raises(ValueError, match=r"^names=\('a', 'a'\)…: must be two or more distinct words$"):
        Words(TEXT, ("a", "a"))
    with pytest.raises(ValueError, match=r"^task.max_length=60: must be 1 to 59, one less than the shortest text has$"):
        Words(TEXT, NAMES, max_length=60)
