"""Language modelling on a user's own text, by whatever tokens: what comes next?"""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Integer

from tasks.base import Batch, Task, cross_entropy, static
from tasks.real import tokenization
from tasks.real.characters import WindowSampling, validate_window
from tasks.real.ngrams import cached_ngram_bits

END_OF_DOCUMENT = 0  # the token
_MAX_COUNTED = 2**22  # tokens that the baseline counts; of a text that stays on disk no more are in memory
_MAX_TRIGRAM_VOCABULARY = 4096  # above it trigrams of a text of this size are mostly new, and bigrams say more


class Text(WindowSampling, Task):
    """Predict the next token of a text.

    `text` holds one long array of indices into `names` for each subset, "train", "validation" and "test": documents one
    after the other, each with token 0, the end of a document, behind it. A row is `length` consecutive tokens from a
    uniformly drawn place, and the target of each is the token after it. With `reset_at_documents` each document in a
    row is a segment of its own, which begins with the end of the one before: no state and no attention goes across.

    The loss is in nats per token. Where `token_bytes` says how many bytes of UTF-8 each token stands for, the score is
    in bits per byte, which does not depend on the tokens; otherwise it is the perplexity. `tokenizer` describes how a
    text becomes tokens (see `tasks.real.tokenization`). If the training text stays on disk, `text["train"]` is its
    beginning and `train_size` is how long it is.

    Example:

        input   h e ␣ q u i c k ␣ b r o w n ␣ f
        target  e ␣ q u i c k ␣ b r o w n ␣ f o
    """

    text: Any
    token_bytes: Any
    names: tuple[str, ...] = static()
    tokenizer: str = static("characters")
    max_length: int = static(128)
    reset_at_documents: bool = static(False)
    train_size: int = static(0)

    def validate(self) -> None:
        if len(self.names) < 2:
            raise ValueError(f"names={self.names}: must be two tokens or more")
        self.require(
            "reset_at_documents",
            not self.reset_at_documents or self.tokenizer != tokenization.NO_TOKENIZER,
            "a corpus of tokens of its own says nothing of where its documents end; use False",
        )
        validate_window(self.text, self.max_length)

    @property
    def metric(self) -> str:
        return "perplexity" if self.token_bytes is None else "bits per byte"

    @property
    def chance(self) -> float:
        """The score of a uniform guess at the tokens of the test text."""
        return self._score_of_bits(math.log2(self.vocabulary), np.asarray(self.text["test"]))

    @property
    def baseline(self) -> tuple[str, float]:
        """`ngram_bits` of the test text, counted on the training text, both up to their first `_MAX_COUNTED` tokens."""
        order = 3 if self.vocabulary <= _MAX_TRIGRAM_VOCABULARY else 2
        train, test = (np.asarray(self.text[subset][:_MAX_COUNTED]).astype(np.int32) for subset in ("train", "test"))
        bits = cached_ngram_bits(train.tobytes(), test.tobytes(), self.vocabulary, order=order)
        return f"{'trigram' if order == 3 else 'bigram'} counts", self._score_of_bits(bits, test[order - 1 :])

    def _score_of_bits(self, bits: float, tokens: Integer[np.ndarray, "N"]) -> float:
        """The score of so many bits per token, on average over these tokens."""
        if self.token_bytes is None:
            return 2.0**bits
        return bits * len(tokens) / max(1, int(np.asarray(self.token_bytes)[tokens].sum()))

    def collate(self, rows: Integer[Array, "B W"], max_length: int, length: Int[Array, ""] | int) -> Batch:
        batch = super().collate(rows, max_length, length)
        if not self.reset_at_documents:
            return batch
        begins = (batch.inputs == END_OF_DOCUMENT) & (batch.segments > 0)
        begins = begins.at[:, 0].set(True)
        starts = jax.lax.cummax(jnp.where(begins, batch.positions, 0), axis=1)
        return batch._replace(
            positions=batch.positions - starts,
            segments=jnp.cumsum(begins, axis=1, dtype=jnp.int32) * batch.segments,
        )

    @property
    def score_parts(self) -> str:
        return "geometric mean" if self.token_bytes is None else "mean"

    def score_weights(self, batch: Batch) -> Float[Array, "B T"]:
        """The bytes of each target, or its weight where these are not known."""
        if self.token_bytes is None:
            return batch.weights
        return jnp.asarray(self.token_bytes)[batch.targets] * batch.weights

    def score(self, outputs: Float[Array, "B T O"], batch: Batch) -> Float[Array, ""]:
        nats = cross_entropy(outputs, batch)
        if self.token_bytes is None:
            return jnp.exp(nats)
        read = self.score_weights(batch).sum()
        return nats * batch.weights.sum() / jnp.maximum(read, 1) / math.log(2)

    def encode(self, text: str) -> list[int]:
        """The tokens of a text. Raises ValueError where it is empty, or holds what the tokens can't spell."""
        tokens = tokenization.encode_text(text, self.tokenizer, self.names)
        if not tokens:
            raise ValueError(f"{text!r}: has no tokens")
        return tokens

    def decode(self, tokens: Sequence[int]) -> str:
        """The text that tokens spell; the end of a document is an empty line."""
        return tokenization.decode_tokens(tokens, self.tokenizer, self.names)

    @classmethod
    def example(cls) -> Task:
        lines = {
            "train": "the quick brown fox jumps over the lazy dog.␄a quick dog.␄",
            "validation": "a lazy fox and a quick dog.␄",
            "test": "the dog jumps over the fox.␄",
        }
        names = ("␄", *sorted(set("".join(lines.values())) - {"␄"}))
        text = {name: np.array([names.index(letter) for letter in line], np.uint8) for name, line in lines.items()}
        token_bytes = np.array([len(name.encode()) for name in names], np.int32)
        token_bytes[END_OF_DOCUMENT] = 0
        return cls(text=text, names=names, token_bytes=token_bytes, max_length=16)
