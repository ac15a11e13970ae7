"""Formal languages: what a fixed memory can compute of a string, and what needs a counter, a stack or a tape.

Delétang et al. 2022, "Neural Networks and the Chomsky Hierarchy" (arXiv 2207.02098), Table 2. Trained on short
strings and tested on longer ones, recurrent networks solve the first four below, and attention one of these.
"""

import itertools
import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PRNGKeyArray

from tasks.base import Batch, Split, Task, positions_and_segments, static

_MINUS, _TIMES = 6, 7  # symbols of `_answer_modular_arithmetic`; 0 … 4 are digits and 5 is +

# A language's answer, for strings x that are 0 from their n-th symbol on, at each place of it: in every one of the
# steps asked for, the first being place 0, or the same in all of them. What it says of other places is not looked at.


def _answer_parity(x: Int[Array, "B N"], n: Int[Array, ""] | int, place: Int[Array, "T"]) -> Int[Array, "B 1"]:
    """Of bits: 1 if the number of ones is odd."""
    return x.sum(axis=1, keepdims=True) % 2


def _answer_even_pairs(x: Int[Array, "B N"], n: Int[Array, ""] | int, place: Int[Array, "T"]) -> Int[Array, "B 1"]:
    """Of bits: 0 if 01 and 10 come an even number of times in all, which is to say if the first bit is the last."""
    return jnp.bitwise_xor(x[:, 0], x[:, n - 1])[:, None]


def _answer_cycle(x: Int[Array, "B N"], n: Int[Array, ""] | int, place: Int[Array, "T"]) -> Int[Array, "B 1"]:
    """Of moves 0 (stay), 1 (go on) and 2 (go back): which of five places in a circle they lead to, from place 0."""
    return ((x + 1) % 3 - 1).sum(axis=1, keepdims=True) % 5


def _answer_modular_arithmetic(
    x: Int[Array, "B N"], n: Int[Array, ""] | int, place: Int[Array, "T"]
) -> Int[Array, "B 1"]:
    """Of digits 0 … 4 with 5 (+), 6 (−) or 7 (×) between: the value modulo 5, products first."""
    digits = x[:, ::2].T
    operators = jnp.pad(x[:, 1::2], [(0, 0), (1, 0)]).T[: len(digits)]  # what is neither − nor × counts as +

    def read(done, symbols):
        total, term = done  # of the terms before this one, and of this one so far, with its sign
        operator, digit = symbols
        times = operator == _TIMES
        total = jnp.where(times, total, total + term) % 5
        term = jnp.where(times, term * digit, jnp.where(operator == _MINUS, -digit, digit)) % 5
        return (total, term), None

    (total, term), _ = jax.lax.scan(read, (jnp.zeros_like(x[:, 0]), jnp.zeros_like(x[:, 0])), (operators, digits))
    return ((total + term) % 5)[:, None]


def _answer_bucket_sort(x: Int[Array, "B N"], n: Int[Array, ""] | int, place: Int[Array, "T"]) -> Int[Array, "B T"]:
    """Of symbols 0 … 4: the same ones, sorted."""
    return jnp.sort(jnp.where(jnp.arange(x.shape[1]) < n, x, 5), axis=1)[:, place]


def _answer_reverse(x: Int[Array, "B N"], n: Int[Array, ""] | int, place: Int[Array, "T"]) -> Int[Array, "B T"]:
    """Of bits: the same ones from the last to the first."""
    return x[:, n - 1 - place]


def _answer_duplicate(x: Int[Array, "B N"], n: Int[Array, ""] | int, place: Int[Array, "T"]) -> Int[Array, "B T"]:
    """Of bits: the same ones, twice over."""
    return x[:, place % n]


def _cycle_zero_probability(n: int) -> float:
    """How often a walk of `n` random moves ends where it began: the mean over five turns of what one move averages."""
    return sum(((1 + 2 * math.cos(2 * math.pi * turn / 5)) / 3) ** n for turn in range(5)) / 5


def _modular_zero_probability(n: int) -> float:
    """How often the value is 0, from how likely each total and term is after each operator and its digit."""
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
    """How often the likeliest symbol at each place of `n` sorted ones is there."""
    from scipy import special  # which takes as long to import as all tasks together

    place = np.arange(n)[:, None]
    least = special.bdtr(place, n, np.arange(6) / 5)  # that place holds s or more: at most `place` symbols are below s
    return float((least[:, :-1] - least[:, 1:]).max(axis=1).mean())


class Language(NamedTuple):
    """`alphabet_size` in its alphabet and as many `num_classes` an answer is one of; the answer is as long as the
    string `answer_copies` times, or has one token (0). `baseline_score` says what a simple rule scores in strings of n
    symbols."""

    alphabet_size: int
    num_classes: int
    answer_copies: int
    answer: Callable[..., Int[Array, "B ..."]]
    baseline_score: Callable[[int], float]
    baseline_rule: str = "always 0"


LANGUAGES = {
    "parity": Language(2, 2, 0, _answer_parity, lambda n: 1 / 2),
    "even_pairs": Language(2, 2, 0, _answer_even_pairs, lambda n: 1 / 2 if n > 1 else 1.0),
    "cycle": Language(3, 5, 0, _answer_cycle, _cycle_zero_probability),
    "modular": Language(8, 5, 0, _answer_modular_arithmetic, _modular_zero_probability),
    "bucket_sort": Language(5, 5, 1, _answer_bucket_sort, _sorted_mode_accuracy, "the likeliest symbol at each place"),
    "reverse": Language(2, 2, 1, _answer_reverse, lambda n: 1 / 2),
    "duplicate": Language(2, 2, 2, _answer_duplicate, lambda n: 1 / 2),
}


def _string_length(language: str, n: Int[Array, ""] | int) -> Int[Array, ""] | int:
    """The string that is drawn where one of `n` symbols is asked for: `_answer_modular_arithmetic` has an odd number,
    one less if even."""
    return n - (n + 1) % 2 if language == "modular" else n


def row_length(language: str, n: Int[Array, ""] | int) -> Int[Array, ""] | int:
    """The length of a row that holds a string of `n` symbols and its answer: n + 1, 2n or 3n tokens."""
    n, copies = _string_length(language, n), LANGUAGES[language].answer_copies
    return n + copies * n if copies else n + 1


def max_string_length(language: str, length: Int[Array, ""] | int) -> Int[Array, ""] | int:
    """The symbols of the longest string that fits into a row of `length` tokens with its answer."""
    copies = LANGUAGES[language].answer_copies
    return _string_length(language, length // (1 + copies) if copies else length - 1)


class FormalLanguage(Task):
    """A string of n random symbols, then as many blanks as its answer has tokens, at which the answer is read.

    `language` is one of these; what the functions of the same names say of a string is the answer:

        parity, even_pairs, cycle, modular      one token     regular: a fixed memory will do
        reverse                                 n tokens      context-free: needs a stack
        bucket_sort, duplicate                  n, 2n         context-sensitive: need counters, or a tape

    Token 0 is padding, 1 + s the symbol s, and the last one, `blank`, asks for the answer, whose tokens all count for
    the same, in loss and score. A row of `length` tokens holds a string of `max_string_length(language, length)`
    symbols, at most `max_items` in training, and padding where that leaves steps over. `eval_length_multipliers` asks
    for test sets of strings of so many times `max_items` symbols.

    The paper's attention looks both ways. Its strings have 1 … 40 symbols, each number as often; here it is rows that
    have each length as often, so that the longest string is rarer than others where two or three lengths hold the same.
    """

    language: str = static("parity")
    max_items: int = static(40)
    eval_length_multipliers: tuple[int | float, ...] = static(())

    def validate(self) -> None:
        if self.language not in LANGUAGES:
            raise ValueError(f"task.language={self.language}: must be one of {', '.join(LANGUAGES)}")
        if self.max_items < 1:
            raise ValueError(f"task.max_items={self.max_items}: must be 1 or more")
        if any(round(t * self.max_items) < 1 for t in self.eval_length_multipliers):
            raise ValueError(
                f"task.eval_length_multipliers={self.eval_length_multipliers}: times {self.max_items} "
                f"symbols must be 1 or more each"
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
        """Without a look at the string, in strings as long as training has them."""
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
        """Random symbols, each as likely as any other; of `_answer_modular_arithmetic`, digits and operators in
        turn."""
        if self.language != "modular":
            return jax.random.randint(key, shape, 0, LANGUAGES[self.language].alphabet_size)
        for_digits, for_operators = jax.random.split(key)
        digits, operators = jax.random.randint(for_digits, shape, 0, 5), jax.random.randint(for_operators, shape, 5, 8)
        return jnp.where(jnp.arange(shape[1]) % 2 == 0, digits, operators)
