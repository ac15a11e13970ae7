"""Formal languages: what a fixed memory can compute of a string, and what needs a counter, a stack or a tape.

Delétang et al. 2022, "Neural Networks and the Chomsky Hierarchy" (arXiv 2207.02098), Table 2. Trained on short
strings and tested on longer ones, recurrent networks solve the first four below, and attention one of these.
"""

import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PRNGKeyArray

from tasks.base import Batch, Split, Task, positions_and_segments, static

_MINUS, _TIMES = 6, 7  # symbols of `_answer_modular_arithmetic`; 0 … 4 are digits and 5 is +

# An answer function gets strings x of n symbols (0 from the n-th on) and the places of the answer that are asked for,
# counted from 0. It returns the answer at each place, or one column for all; places outside the answer are ignored.


def _answer_parity(x: Int[Array, "B N"], n: Int[Array, ""] | int, place: Int[Array, "T"]) -> Int[Array, "B 1"]:
    """1 if the number of ones in a bit string is odd."""
    return x.sum(axis=1, keepdims=True) % 2


def _answer_even_pairs(x: Int[Array, "B N"], n: Int[Array, ""] | int, place: Int[Array, "T"]) -> Int[Array, "B 1"]:
    """0 if 01 and 10 together occur an even number of times in a bit string, that is, if its first bit is its last."""
    return jnp.bitwise_xor(x[:, 0], x[:, n - 1])[:, None]


def _answer_cycle(x: Int[Array, "B N"], n: Int[Array, ""] | int, place: Int[Array, "T"]) -> Int[Array, "B 1"]:
    """Position on a circle of five places after moves 0 (stay), 1 (forward) and 2 (back), from place 0."""
    return ((x + 1) % 3 - 1).sum(axis=1, keepdims=True) % 5


def _answer_modular_arithmetic(
    x: Int[Array, "B N"], n: Int[Array, ""] | int, place: Int[Array, "T"]
) -> Int[Array, "B 1"]:
    """Value modulo 5 of digits 0 … 4 with operators 5 (+), 6 (−) and 7 (×) between them, products first."""
    digits = x[:, ::2].T
    operators = jnp.pad(x[:, 1::2], [(0, 0), (1, 0)]).T[: len(digits)]  # what is neither − nor × counts as +

    def add_symbol(done, symbols):
        total, term = done  # of the terms before this one, and of this one so far, with its sign
        operator, digit = symbols
        times = operator == _TIMES
        total = jnp.where(times, total, total + term) % 5
        term = jnp.where(times, term * digit, jnp.where(operator == _MINUS, -digit, digit)) % 5
        return (total, term), None

    (total, term), _ = jax.lax.scan(add_symbol, (jnp.zeros_like(x[:, 0]), jnp.zeros_like(x[:, 0])), (operators, digits))
    return ((total + term) % 5)[:, None]


def _answer_bucket_sort(x: Int[Array, "B N"], n: Int[Array, ""] | int, place: Int[Array, "T"]) -> Int[Array, "B T"]:
    """The string's symbols 0 … 4, sorted."""
    return jnp.sort(jnp.where(jnp.arange(x.shape[1]) < n, x, 5), axis=1)[:, place]


def _answer_reverse(x: Int[Array, "B N"], n: Int[Array, ""] | int, place: Int[Array, "T"]) -> Int[Array, "B T"]:
    """The bit string backwards."""
    return x[:, n - 1 - place]


def _answer_duplicate(x: Int[Array, "B N"], n: Int[Array, ""] | int, place: Int[Array, "T"]) -> Int[Array, "B T"]:
    """The bit string twice."""
    return x[:, place % n]


def _cycle_zero_probability(n: int) -> float:
    """P(return to 0) after n uniform steps {−1, 0, 1} on Z₅, by Fourier inversion."""
    return sum(((1 + 2 * math.cos(2 * math.pi * turn / 5)) / 3) ** n for turn in range(5)) / 5


def _modular_zero_probability(n: int) -> float:
    """P(value = 0) of a random expression of n symbols, by dynamic programming over (sum so far, current term)."""
    likely = np.zeros((5, 5))
    likely[0] = 1 / 5
    for _ in range(n // 2):
        after = np.zeros((5, 5))
        for total, term, digit in itertools.product(range(5), repeat=3):
            after[total, term * digit % 5] += likely[total, term] / 3 / 5
            after[(total + term) % 5, digit] += likely[total, term] * 2 / 3 / 5  # −digit is as random as digit
        likely = after
    return float(sum(likely[-term, term] for term in range(5)))


def _sorted_mode_accuracy(n: int) -> float:
    """Mean over places of P(most likely symbol at that place) in n sorted uniform symbols."""
    from scipy import special  # imported here: it takes as long as all tasks together

    place = np.arange(n)[:, None]
    least = special.bdtr(place, n, np.arange(6) / 5)  # that place holds s or more: at most `place` symbols are below s
    return float((least[:, :-1] - least[:, 1:]).max(axis=1).mean())


class Language(NamedTuple):
    """A question about strings of `letters`: `answer` is one of `num_classes` at each of its tokens.

    The answer is as long as the string `answer_copies` times, or has one token (0). `baseline_score(n)` is the accuracy
    of `baseline_rule` on strings of n symbols.
    """

    letters: str
    num_classes: int
    answer_copies: int
    answer: Callable[..., Int[Array, "B ..."]]
    baseline_score: Callable[[int], float]
    baseline_rule: str = "always 0"

    @property
    def alphabet_size(self) -> int:
        return len(self.letters)


def _one_half(n: int) -> float:
    """Accuracy of a constant answer where both answers are equally likely."""
    return 1 / 2


def _even_pairs_zero_probability(n: int) -> float:
    """P(first bit = last bit) in a string of n."""
    return 1 / 2 if n > 1 else 1.0


LANGUAGES = {
    "parity": Language("01", 2, 0, _answer_parity, _one_half),
    "even_pairs": Language("01", 2, 0, _answer_even_pairs, _even_pairs_zero_probability),
    "cycle": Language("0+-", 5, 0, _answer_cycle, _cycle_zero_probability),
    "modular": Language("01234+-×", 5, 0, _answer_modular_arithmetic, _modular_zero_probability),
    "bucket_sort": Language(
        "01234", 5, 1, _answer_bucket_sort, _sorted_mode_accuracy, "the likeliest symbol at each place"
    ),
    "reverse": Language("01", 2, 1, _answer_reverse, _one_half),
    "duplicate": Language("01", 2, 2, _answer_duplicate, _one_half),
}


def _string_length(language: str, n: Int[Array, ""] | int) -> Int[Array, ""] | int:
    """Length of the string drawn where `n` symbols are asked for: an expression of `modular` has an odd number."""
    return n - (n + 1) % 2 if language == "modular" else n


def row_length(language: str, n: Int[Array, ""] | int) -> Int[Array, ""] | int:
    """Length of a row that holds a string of `n` symbols and its answer: n + 1, 2n or 3n tokens."""
    n, copies = _string_length(language, n), LANGUAGES[language].answer_copies
    return n + copies * n if copies else n + 1


def max_string_length(language: str, length: Int[Array, ""] | int) -> Int[Array, ""] | int:
    """Length of the longest string that fits into a row of `length` tokens together with its answer."""
    copies = LANGUAGES[language].answer_copies
    return _string_length(language, length // (1 + copies) if copies else length - 1)


class FormalLanguage(Task):
    """Answer a question about a string of random symbols.

    After the string come as many blanks as the answer has tokens, and the answer is read at these. `language` is one
    of the following; `LANGUAGES` has its question:

        parity, even_pairs, cycle, modular      one token     regular: a fixed memory will do
        reverse                                 n tokens      context-free: needs a stack
        bucket_sort, duplicate                  n, 2n         context-sensitive: need counters, or a tape

    Token 0 is padding, 1 + s the symbol s, and the last token, `blank`, asks for the answer; all of its tokens count
    alike in loss and score. A row of `length` tokens holds a string of `max_string_length(language, length)` symbols,
    at most `max_items` in training, and padding where that leaves steps over. `eval_length_multipliers` adds test sets
    of strings of so many times `max_items` symbols.

    The paper's attention looks both ways. Its strings have 1 … 40 symbols, each number equally often; here each row
    length is equally often drawn, so that the longest string is rarer where two or three lengths hold the same.

    Example:

        input   1 0 0 1 1 1 0 1 ?
        target                  1
    """

    language: str = static("parity")
    max_items: int = static(40)
    eval_length_multipliers: tuple[int | float, ...] = static(())

    def validate(self) -> None:
        self.require("language", self.language in LANGUAGES, f"must be one of {', '.join(LANGUAGES)}")
        self.require("max_items", self.max_items >= 1, "must be 1 or more")
        self.require(
            "eval_length_multipliers",
            all(round(t * self.max_items) >= 1 for t in self.eval_length_multipliers),
            f"times {self.max_items} symbols must be 1 or more each",
        )

    @property
    def max_length(self) -> int:
        return int(row_length(self.language, self.max_items))

    @property
    def min_length(self) -> int:
        return int(row_length(self.language, 1))

    @property
    def blank(self) -> int:
        return 1 + LANGUAGES[self.language].alphabet_size

    @property
    def vocabulary(self) -> int:
        return self.blank + 1

    @property
    def outputs(self) -> int:
        return LANGUAGES[self.language].num_classes

    @property
    def chance(self) -> float:
        return 1 / self.outputs

    @property
    def baseline(self) -> tuple[str, float]:
        """Accuracy of an answer without a look at the string, on the longest training strings."""
        language = LANGUAGES[self.language]
        return language.baseline_rule, language.baseline_score(int(_string_length(self.language, self.max_items)))

    @property
    def extra_splits(self) -> Mapping[str, Split]:
        sizes = {t: int(row_length(self.language, round(t * self.max_items))) for t in self.eval_length_multipliers}
        return {f"test_{t:g}": Split(length=size, examples=512) for t, size in sizes.items()}

    def sample(
        self, key: PRNGKeyArray, batch: int, max_length: int, length: Int[Array, ""] | int, subset: str = "train"
    ) -> Batch:
        """See `Task.sample`; what a string and its answer leave of `length` is padding. `subset` makes no difference:
        every draw is fresh."""
        n = max_string_length(self.language, length)
        positions, segments = positions_and_segments(batch, max_length, row_length(self.language, n))
        step = jnp.arange(max_length)
        string = jnp.where(step < n, self._sample_symbols(key, (batch, max_length)), 0)
        answer = LANGUAGES[self.language].answer(string, n, step - n)
        inputs = jnp.where(step < n, 1 + string, self.blank) * segments
        asked = segments * (step >= n)[None]
        return Batch(inputs, answer * asked, asked.astype(jnp.float32), positions, segments)

    def _sample_symbols(self, key: PRNGKeyArray, shape: tuple[int, int]) -> Int[Array, "B T"]:
        """Uniform random symbols; for `modular`, digits and operators in turn."""
        if self.language != "modular":
            return jax.random.randint(key, shape, 0, LANGUAGES[self.language].alphabet_size)
        for_digits, for_operators = jax.random.split(key)
        digits, operators = jax.random.randint(for_digits, shape, 0, 5), jax.random.randint(for_operators, shape, 5, 8)
        return jnp.where(jnp.arange(shape[1]) % 2 == 0, digits, operators)

    @classmethod
    def example(cls) -> Task:
        return cls(max_items=8)

    def input_symbol(self, value: Any) -> str:
        return ("·" + LANGUAGES[self.language].letters + "?")[int(value)]

    def target_symbol(self, value: Any) -> str:
        return str(int(value))
