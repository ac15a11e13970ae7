"""Language modelling by character: what comes next?"""

import functools
import math
from collections.abc import Mapping
from typing import Any, ClassVar

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from tasks.batch import Batch, Split, cross_entropy, unpacked

WINDOWS = 256  # in an evaluation


@flax.struct.dataclass
class Characters:
    """`text` holds one long array of indices into `alphabet` by subset: "train", "validation" and "test".

    A sequence is `length` consecutive characters from a uniformly drawn place, and the target of each is the character
    after it. The loss is in nats, the score in bits per character.
    """

    VERSION: ClassVar[int] = 1

    text: Any
    alphabet: str = flax.struct.field(pytree_node=False)
    max_length: int = flax.struct.field(default=128, pytree_node=False)

    def __post_init__(self):
        if not 2 <= len(set(self.alphabet)) == len(self.alphabet) <= 256:
            raise ValueError(f"alphabet={self.alphabet!r}: must be 2 to 256 distinct characters")
        # Where JAX rebuilds a task, anything may stand in for its arrays.
        shapes = [shape for leaf in jax.tree.leaves(self.text) if (shape := getattr(leaf, "shape", ()))]
        most = min((shape[-1] for shape in shapes), default=2**31) - 1
        if not 1 <= self.max_length <= most:
            raise ValueError(
                f"task.max_length={self.max_length}: must be 1 to {most}, one less than the shortest text has"
            )

    @property
    def vocabulary(self) -> int:
        return len(self.alphabet)

    @property
    def outputs(self) -> int:
        return len(self.alphabet)

    @property
    def names(self) -> tuple[str, ...]:
        """What each token looks like."""
        return tuple(self.alphabet)

    def encode(self, text: str) -> list[int]:
        """The tokens of a text. Raises ValueError, naming them, for characters that are not in the alphabet."""
        known = {character: token for token, character in enumerate(self.alphabet)}
        if unknown := [character for character in dict.fromkeys(text) if character not in known]:
            raise ValueError(f"the alphabet has no {', '.join(map(repr, unknown))}")
        return [known[character] for character in text]

    min_length = 1
    channels = 0
    per = "token"
    next_tokens = True
    metric = "bits per character"
    best = "min"

    @property
    def chance(self) -> float:
        return math.log2(len(self.alphabet))

    @property
    def baseline(self) -> tuple[str, float]:
        """Bits per character of `ngram_bits` at order 3, counted on the training text and measured on the test's."""
        train, test = (np.asarray(self.text[subset]).astype(np.uint8).tobytes() for subset in ("train", "test"))
        return "trigram counts", trigram_bits(train, test, len(self.alphabet))

    @property
    def splits(self) -> Mapping[str, Split]:
        return {subset: Split(self.max_length, WINDOWS, subset) for subset in ("validation", "test")}

    def sample(
        self, key: PRNGKeyArray, batch: int, max_length: int, length: Int[Array, ""] | int, subset: str = "train"
    ) -> Batch:
        """See `Task.sample`. Raises ValueError where the subset's text is shorter than a window."""
        text = jnp.asarray(self.text[subset])
        if max_length >= text.shape[0]:
            raise ValueError(f"max_length={max_length}: the {subset} text allows {text.shape[0] - 1} at most")
        positions, segments = unpacked(batch, max_length, length)
        start = jax.random.randint(key, (batch, 1), 0, text.shape[0] - length)  # the last target is still in the text
        window = text.at[start + jnp.arange(max_length + 1)].get(mode="fill", fill_value=0).astype(jnp.int32)
        inputs, targets = window[:, :-1] * segments, window[:, 1:] * segments
        return Batch(inputs, targets, segments.astype(jnp.float32), positions, segments)

    def loss(self, outputs: Float[Array, "B T O"], batch: Batch) -> Float[Array, ""]:
        return cross_entropy(outputs, batch)

    def score(self, outputs: Float[Array, "B T O"], batch: Batch) -> Float[Array, ""]:
        return cross_entropy(outputs, batch) / math.log(2)


@functools.lru_cache(maxsize=4)
def trigram_bits(train: bytes, test: bytes, symbols: int) -> float:
    """`ngram_bits` at order 3 of texts with one byte a character, remembered: arrays can't be looked up, bytes can."""
    return ngram_bits(np.frombuffer(train, np.uint8), np.frombuffer(test, np.uint8), symbols, order=3)


def ngram_bits(train: np.ndarray, test: np.ndarray, symbols: int, order: int) -> float:
    """Bits per character of `test` (from its character number `order` on) under counts of `order`-grams in `train`.

    Witten and Bell 1991, interpolated: p(c | h) = (n(h c) + d(h) p(c | h′)) / (n(h) + d(h)), where n counts, d(h) is
    how many different characters followed h, and h′ is h without its first character; where nothing followed h it is
    p(c | h′), and p without any h′ is uniform. The tables have `symbols ** order` entries.
    """
    p = np.full((1, symbols), 1 / symbols)
    for n in range(1, order + 1):
        counts = np.bincount(grams(train, n, symbols), minlength=symbols**n).reshape(-1, symbols)
        followers = np.count_nonzero(counts, axis=1, keepdims=True)
        seen = np.maximum(counts.sum(axis=1, keepdims=True) + followers, 1)
        shorter = np.tile(p, (len(counts) // len(p), 1))  # row h′ at each h
        p = np.where(followers > 0, (counts + followers * shorter) / seen, shorter)
    return float(-np.log2(p.ravel()[grams(test, order, symbols)]).mean())


def grams(text: np.ndarray, n: int, symbols: int) -> np.ndarray:
    """The number, in base `symbols`, that each run of `n` characters spells."""
    spelt = np.zeros(len(text) - n + 1, np.intp)
    for i in range(n):
        spelt = spelt * symbols + text[i : len(spelt) + i]
    return spelt
