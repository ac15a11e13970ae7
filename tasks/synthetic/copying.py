"""Copying: say again what was read, after a silence, out of noise, or at once and letter by letter.

CopyMemory     Hochreiter and Schmidhuber 1997; as in Bai, Kolter and Koltun 2018 (arXiv 1803.01271), §4.1
SelectiveCopy  Gu and Dao 2023 (arXiv 2312.00752), §4.1.1; as the code of S4 draws it, with variable=True
CopyString     Jelassi et al. 2024 (arXiv 2402.01032), §3, one string a row
"""

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from tasks.base import Batch, Split, Task, count_sequences, positions_and_segments, sequence_accuracy, static

_DIGITS_TO_COPY = 10  # how many are to be held
_GO = 9  # the token that asks for them


class CopyMemory(Task):
    """Repeat ten digits after a silence of `delay` steps.

    A row is ten digits from 1 … 8, `delay` − 1 zeros and eleven nines (the signal to answer), `delay + 20` tokens in
    all. The target is zeros and then the ten digits. The loss is the cross-entropy over all steps; the score is the
    accuracy on the ten digits alone.

    Example:

        input   6 1 1 6 4 4 1 8 6 4 · · · ? ? ? ? ? ? ? ? ? ? ?
        target  · · · · · · · · · · · · · · 6 1 1 6 4 4 1 8 6 4
    """

    delay: int = static(80)

    def validate(self) -> None:
        self.require("delay", self.delay >= 1, "must be 1 or more")

    @property
    def max_length(self) -> int:
        return self.delay + 2 * _DIGITS_TO_COPY

    min_length = 2 * _DIGITS_TO_COPY + 1
    vocabulary = 10
    outputs = 10
    chance = 1 / 8

    @property
    def baseline(self) -> tuple[str, float]:
        """Zeros, then random digits: this scores 1/8, with the loss of `guess_loss`."""
        return "zeros, then random digits", 1 / 8

    @property
    def guess_loss(self) -> float:
        """The loss, in nats, of knowing when to speak and nothing of what to say: 10·ln 8 / (delay + 20)."""
        return _DIGITS_TO_COPY * math.log(8) / (self.delay + 2 * _DIGITS_TO_COPY)

    def sample(
        self, key: PRNGKeyArray, batch: int, max_length: int, length: Int[Array, ""] | int, subset: str = "train"
    ) -> Batch:
        """See `Task.sample`. `subset` makes no difference: every draw is fresh."""
        digits = jax.random.randint(key, (batch, _DIGITS_TO_COPY), 1, 9)
        positions, segments = positions_and_segments(batch, max_length, length)
        step = positions[0]
        go = (step >= length - _DIGITS_TO_COPY - 1) & (step < length)
        inputs = jnp.broadcast_to(jnp.where(go, _GO, 0), (batch, max_length)).at[:, :_DIGITS_TO_COPY].set(digits)
        back = step - (length - _DIGITS_TO_COPY)  # 0 … 9 where the digits are due
        due = (back >= 0) & (back < _DIGITS_TO_COPY)
        targets = jnp.where(due, digits[:, jnp.clip(back, 0, _DIGITS_TO_COPY - 1)], 0)
        return Batch(inputs, targets, segments.astype(jnp.float32), positions, segments)

    def score_weights(self, batch: Batch) -> Float[Array, "B T"]:
        return batch.weights * (batch.targets > 0)

    @classmethod
    def example(cls) -> Task:
        return cls(delay=4)

    def input_symbol(self, value: Any) -> str:
        return {0: "·", _GO: "?"}.get(int(value), str(int(value)))


class SelectiveCopy(Task):
    """Repeat, in order, the symbols that were scattered among blanks.

    A row holds `data` symbols at uniformly drawn places among `noise` blanks, and then as many markers, at which the
    symbols are due: `noise + 2·data` tokens; a shorter row has less noise. Token 0 is the blank, symbols − 1 the
    marker, and 1 … symbols − 2 are drawn. Loss and score count the markers alone.

    With `layout` "mad" a row is as in Poli et al. 2024 (arXiv 2403.17844): each blank stands before a uniformly drawn
    symbol, so that the last symbol has none behind it; one marker says that the symbols are due, and at the blanks
    behind it they are: `noise + 2·data + 1` tokens. (The paper: noise 223, data 16, symbols 16.)

    Example:

        input   · · 2 · · · · 6 · 2 · ? ? ?
        target                        2 6 2
    """

    noise: int = static(64)
    data: int = static(8)
    symbols: int = static(16)
    layout: str = static("markers")

    def validate(self) -> None:
        for name, least in (("noise", 0), ("data", 1), ("symbols", 4)):
            self.require(name, getattr(self, name) >= least, f"must be {least} or more")
        self.require("layout", self.layout in ("markers", "mad"), "must be one of markers, mad")

    @property
    def max_length(self) -> int:
        return self.noise + self.min_length

    @property
    def min_length(self) -> int:
        return 2 * self.data + (self.layout == "mad")

    @property
    def vocabulary(self) -> int:
        return self.symbols

    @property
    def outputs(self) -> int:
        return self.symbols

    @property
    def chance(self) -> float:
        return 1 / (self.symbols - 2)

    @property
    def baseline(self) -> tuple[str, float]:
        return "always the same symbol", self.chance

    def sample(
        self, key: PRNGKeyArray, batch: int, max_length: int, length: Int[Array, ""] | int, subset: str = "train"
    ) -> Batch:
        """See `Task.sample`. `subset` makes no difference: every draw is fresh."""
        for_symbols, for_places = jax.random.split(key)
        symbols = jax.random.randint(for_symbols, (batch, self.data), 1, self.symbols - 1)
        positions, segments = positions_and_segments(batch, max_length, length)
        step = positions[0]
        if self.layout == "mad":
            before = jax.random.randint(for_places, (batch, max_length), 0, self.data)  # which symbol a blank is before
            before = jnp.where(step < length - self.min_length, before, self.data)  # only so many are blanks
            blanks = (before[:, None] <= jnp.arange(self.data)[None, :, None]).sum(axis=2)
            places = blanks + jnp.arange(self.data)[None]
        else:
            scores = jnp.where(step < length - self.data, jax.random.uniform(for_places, (batch, max_length)), -1.0)
            places = jnp.sort(jax.lax.top_k(scores, self.data)[1], axis=1)  # every set of places as likely as any other
        inputs = jax.vmap(lambda at, values: jnp.zeros(max_length, jnp.int32).at[at].set(values))(places, symbols)
        back = step - (length - self.data)
        due = (back >= 0) & (back < self.data)
        marked = back == -1 if self.layout == "mad" else due
        inputs = jnp.where(marked, self.symbols - 1, inputs)
        targets = jnp.where(due, symbols[:, jnp.clip(back, 0, self.data - 1)], 0)
        weights = jnp.broadcast_to(due, targets.shape).astype(jnp.float32)
        return Batch(inputs, targets, weights, positions, segments)

    @classmethod
    def example(cls) -> Task:
        return cls(noise=8, data=3, symbols=8)

    def input_symbol(self, value: Any) -> str:
        return {0: "·", self.symbols - 1: "?"}.get(int(value), str(int(value)))


_ALPHABET_SIZE = 26
_BEGIN, _COPY_MARK, END = _ALPHABET_SIZE + 1, _ALPHABET_SIZE + 2, _ALPHABET_SIZE + 3  # $ | and .


class CopyString(Task):
    """Repeat a string of letters, token by token.

    A row is `$ x | x`, and the targets are the second x and a full stop. A row of `length` tokens holds a string of
    n = (length − 2) // 2 letters, at most `max_items` in training. The loss counts all targets. The score is the share
    of strings with every letter right, each predicted from the true letters before it; it does not count the full stop
    (both as in the authors' code, sjelassi/transformers_ssm_copy). `eval_length_multipliers` adds test sets of strings
    of so many times `max_items` letters.

    The paper packs several strings into rows of 220 tokens, where each sees those before it; here a row holds one.

    Example:

        input   $ t w u v j n | t w u v j n
        target                t w u v j n .
    """

    VERSION: ClassVar[int] = 2  # 1 scored the full stop too

    max_items: int = static(20)
    eval_length_multipliers: tuple[float | int, ...] = static(())

    def validate(self) -> None:
        self.require("max_items", self.max_items >= 1, "must be 1 or more")
        self.require(
            "eval_length_multipliers",
            all(round(t * self.max_items) >= 1 for t in self.eval_length_multipliers),
            f"times {self.max_items} letters must be 1 or more each",
        )

    @property
    def max_length(self) -> int:
        return 2 * self.max_items + 2

    min_length = 4
    vocabulary = END + 1
    outputs = END + 1
    next_tokens = True

    @property
    def chance(self) -> float:
        """Of a whole string, guessed letter by letter."""
        return _ALPHABET_SIZE**-self.max_items

    @property
    def baseline(self) -> tuple[str, float]:
        return "every letter guessed", self.chance

    @property
    def extra_splits(self) -> Mapping[str, Split]:
        sizes = {t: 2 * round(t * self.max_items) + 2 for t in self.eval_length_multipliers}
        return {f"test_{t:g}": Split(length=size, examples=512) for t, size in sizes.items()}

    def sample(
        self, key: PRNGKeyArray, batch: int, max_length: int, length: Int[Array, ""] | int, subset: str = "train"
    ) -> Batch:
        """See `Task.sample`; of an odd `length` the last step is padding. `subset` makes no difference: every draw is
        fresh."""
        n = (length - 2) // 2
        positions, segments = positions_and_segments(batch, max_length, 2 * n + 2)
        step = positions[:1]
        letters = jax.random.randint(key, (batch, max_length), 1, _ALPHABET_SIZE + 1)
        inputs = jnp.where(step <= n, jnp.roll(letters, 1, axis=1), jnp.roll(letters, n + 2, axis=1))
        inputs = jnp.where(step == 0, _BEGIN, jnp.where(step == n + 1, _COPY_MARK, inputs)) * segments
        targets = jnp.roll(inputs, -1, axis=1).at[:, -1].set(0)
        targets = jnp.where(step == 2 * n + 1, END, targets) * (step > n) * segments
        return Batch(inputs, targets, (targets > 0).astype(jnp.float32), positions, segments)

    def score_weights(self, batch: Batch) -> Float[Array, "B"]:
        return count_sequences(self._letter_weights(batch))

    def score(self, outputs: Float[Array, "B T O"], batch: Batch) -> Float[Array, ""]:
        return sequence_accuracy(outputs, batch._replace(weights=self._letter_weights(batch)))

    def _letter_weights(self, batch: Batch) -> Float[Array, "B T"]:
        return batch.weights * (batch.targets != END)

    @classmethod
    def example(cls) -> Task:
        return cls(max_items=6)

    def input_symbol(self, value: Any) -> str:
        return "·abcdefghijklmnopqrstuvwxyz$|."[int(value)]
