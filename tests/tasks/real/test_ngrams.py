from collections import Counter
from math import log2

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.real.ngrams import cached_ngram_bits, ngram_bits

ALPHABET = "abcdefg"


def slow_ngram_bits(train: str, test: str, symbols: int, order: int) -> float:
    """`ngram_bits` as its docstring writes it, one character at a time."""
    counts = Counter(train[i : i + n] for n in range(1, order + 1) for i in range(len(train) - n + 1))

    def p(context: str, character: str) -> float:
        shorter = p(context[1:], character) if context else 1 / symbols
        following = [counts[context + c] for c in ALPHABET[:symbols] if counts[context + c]]
        if not following:
            return shorter
        return (counts[context + character] + len(following) * shorter) / (sum(following) + len(following))

    bits = [-log2(p(test[i - order + 1 : i], test[i])) for i in range(order - 1, len(test))]
    return sum(bits) / len(bits)


@settings(deadline=None, max_examples=60)
@given(st.integers(2, 7), st.integers(1, 4), st.data())
def test_ngram_bits_against_its_definition(symbols: int, order: int, data: st.DataObject):
    letters = st.integers(0, symbols - 1)
    train = data.draw(st.lists(letters, min_size=order, max_size=40))
    test = data.draw(st.lists(letters, min_size=order, max_size=40))
    as_string = ["".join(ALPHABET[i] for i in text) for text in (train, test)]
    bits = ngram_bits(np.array(train), np.array(test), symbols, order)
    assert bits == pytest.approx(slow_ngram_bits(as_string[0], as_string[1], symbols, order))


def test_remembered_is_the_same():
    train, test = np.array([0, 1, 2, 0, 1, 2, 1], np.int32), np.array([2, 0, 1], np.int32)
    assert cached_ngram_bits(train.tobytes(), test.tobytes(), 3, 2) == ngram_bits(train, test, 3, 2)


def test_grams_that_can_not_be_numbered():
    text = np.arange(10)
    with pytest.raises(ValueError, match=r"^order=5: grams of 10000 symbols can't be numbered; use a smaller one$"):
        ngram_bits(text, text, 10_000, 5)
