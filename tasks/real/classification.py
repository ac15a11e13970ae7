"""Sequences of tokens with a class: is this peptide antimicrobial, is there a splice site, which work is this from?"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Integer, PRNGKeyArray

from tasks.base import Batch, Split, Task, accuracy, static
from tasks.real.class_metrics import auroc, balanced_accuracy, macro_f1
from tasks.real.rows import MAX_DISTINCT_ROWS, RowSampling, draw_rows
from tasks.real.words import UNKNOWN, is_byte_level, is_character_level, split_words

_CLASS_SCORES = {"balanced accuracy": balanced_accuracy, "macro F1": macro_f1, "AUROC": auroc}
METRICS = ("accuracy", *_CLASS_SCORES)
_BASELINE_RULES = ("most", "first", "places", "nearest")
_RUN_LENGTH = 4  # tokens that the nearest neighbour is found by


class Classification(RowSampling, Task):
    """Name the class of a sequence of tokens.

    `inputs` are indices into `names`, `[N, max_length]` for each subset, "train", "validation" and "test", with 0 after
    a sequence's end; `labels` `[N]` are indices into `classes`. A batch is distinct, uniformly drawn sequences of its
    subset, so that one of all `N` is the whole subset. The model sees the first `length` tokens of each.

    `rule` is the baseline: "most", the most frequent class in training; "first", the most frequent one with the same
    first token; "places", naive Bayes over the places (counts + 1); "nearest", the class of the training sequence that
    shares the most runs of 4 tokens. `sites` are, for each class, the places that are known to decide it, for measures
    of where a model looks; empty where nothing is known.

    `metric` is one of `METRICS`; AUROC is for two classes. With `extra_metrics` the others are `extra_scores`.
    `class_weights`, one for each class, are how much its sequences count in the loss; empty, all count alike. Of a
    split of more than `eval_examples` sequences that many are evaluated, the same ones always; 0: all. With
    `split_at_blanks` the names are of what stands between blanks in a text.

    Example:

        input   A C G T A C
        target  with GT
    """

    inputs: Any
    labels: Any
    names: tuple[str, ...] = static()
    classes: tuple[str, ...] = static()
    rule: str = static("most")
    sites: tuple[tuple[int, ...], ...] = static(())
    train_size: int = static(0)
    class_weights: tuple[float, ...] = static(())
    metric: str = static("accuracy")
    extra_metrics: bool = static(False)
    eval_examples: int = static(0)
    split_at_blanks: bool = static(False)

    EXTRA_METRICS = METRICS

    def validate(self) -> None:
        self.require("rule", self.rule in _BASELINE_RULES, f"must be one of {', '.join(_BASELINE_RULES)}")
        self.require("metric", self.metric in METRICS, f"must be one of {', '.join(METRICS)}")
        count = len(self.classes)
        self.require("metric", self.metric in self._defined_metrics(), f"is for two classes, and these are {count}")
        fits = not self.class_weights or (len(self.class_weights) == count and min(self.class_weights) > 0)
        self.require("class_weights", fits, f"must be {count} numbers above 0, one for each class, or none")
        self.require("eval_examples", self.eval_examples >= 0, "must be 0 or more")

    def _defined_metrics(self) -> tuple[str, ...]:
        return METRICS if len(self.classes) == 2 else METRICS[:-1]

    @property
    def max_length(self) -> int:
        return self.inputs["train"].shape[1]

    rows_end_early = True

    @property
    def vocabulary(self) -> int:
        return len(self.names)

    @property
    def outputs(self) -> int:
        return len(self.classes)

    target_level = "sequence"

    @property
    def chance(self) -> float:
        """Of a uniform guess; of macro F1 with the shares of the classes in the test set."""
        if self.metric == "AUROC":
            return 0.5
        guess = 1 / len(self.classes)
        if self.metric != "macro F1":
            return guess
        shares = np.bincount(np.asarray(self.labels["test"]), minlength=len(self.classes)) / len(self.labels["test"])
        return float(np.mean(2 * shares * guess / (shares + guess)))

    @property
    def baseline(self) -> tuple[str, float]:
        words = {
            "most": "the most frequent class",
            "first": "the first token alone",
            "places": "naive Bayes, place by place",
            "nearest": f"the nearest neighbour by runs of {_RUN_LENGTH}",
        }
        # Where evaluations are of a part, so is this, of rows at even distances.
        some = {"train": slice(None), "test": slice(None)}
        if self.eval_examples:
            limits = {"train": MAX_DISTINCT_ROWS, "test": self.eval_examples}
            some = {subset: slice(None, None, -(-len(self.labels[subset]) // most)) for subset, most in limits.items()}
        train, test = (np.asarray(self.inputs[subset])[rows] for subset, rows in some.items())
        answers = [np.asarray(self.labels[subset])[rows] for subset, rows in some.items()]
        if self.rule == "nearest":
            scores = np.eye(len(self.classes))[nearest_neighbor(train, answers[0], test)]
        else:
            places = {"most": 0, "first": 1, "places": train.shape[1]}[self.rule]
            train, test, sizes = train[:, :places], test[:, :places], (len(self.names), len(self.classes))
            scores = naive_bayes_scores(train, answers[0], test, *sizes)
        if self.metric == "accuracy":
            return words[self.rule], float(np.mean(scores.argmax(axis=1) == answers[1]))
        grade = _CLASS_SCORES[self.metric]
        return words[self.rule], float(grade(jnp.asarray(scores), jnp.asarray(answers[1]), jnp.ones(len(test))))

    @property
    def splits(self) -> Mapping[str, Split]:
        return {
            subset: Split(length=self.max_length, examples=min(self.eval_examples or count, count), subset=subset)
            for subset, count in ((subset, len(self.labels[subset])) for subset in ("validation", "test"))
        }

    def loss_weights(self, batch: Batch) -> Float[Array, "B"]:
        """The batch's weights, times those of the classes."""
        if not self.class_weights:
            return batch.weights
        return batch.weights * jnp.asarray(self.class_weights, jnp.float32)[batch.targets]

    def score(self, outputs: Float[Array, "B O"], batch: Batch) -> Float[Array, ""]:
        return self._grade(self.metric, outputs, batch)

    def extra_scores(self, outputs: Float[Array, "B O"], batch: Batch) -> dict[str, Array]:
        others = [name for name in self._defined_metrics() if name != self.metric] if self.extra_metrics else []
        return {name: self._grade(name, outputs, batch) for name in others}

    def _grade(self, metric: str, outputs: Float[Array, "B O"], batch: Batch) -> Float[Array, ""]:
        if metric == "accuracy":
            return accuracy(outputs, batch)
        return _CLASS_SCORES[metric](outputs, batch.targets, batch.weights)

    def count_rows(self, subset: str) -> int:
        return self.inputs[subset].shape[0]

    def draw(
        self, key: PRNGKeyArray, batch: int, length: Int[Array, ""] | int, available: int, subset: str = "train"
    ) -> Int[Array, "B"] | Int[Array, "B 2"]:
        """See `rows.draw_rows`. Raises ValueError where the subset holds fewer sequences."""
        return draw_rows(key, batch, available, f"{subset} sequences")

    def gather(
        self, rows: Int[Array, "B"], max_length: int, subset: str = "train"
    ) -> tuple[Integer[Array, "B T"], Integer[Array, "B"]]:
        """Sequences, cut at `max_length`, and labels. Raises ValueError where sequences are shorter than that."""
        if max_length > self.max_length:
            raise ValueError(f"max_length={max_length}: sequences have {self.max_length} tokens, so give that or fewer")
        return jnp.asarray(self.inputs[subset])[rows, :max_length], jnp.asarray(self.labels[subset])[rows]

    def collate(
        self,
        rows: tuple[Integer[Array, "B T"], Integer[Array, "B"]],
        max_length: int,
        length: Int[Array, ""] | int,
    ) -> Batch:
        sequences, labels = rows
        batch = len(labels)
        positions = jnp.broadcast_to(jnp.arange(max_length), (batch, max_length))
        tokens = sequences.astype(jnp.int32) * (positions < length)
        segments = ((tokens != 0) | (positions == 0)).astype(jnp.int32)  # a sequence without tokens is one blank
        return Batch(tokens, labels, jnp.ones(batch), positions, segments)

    def encode(self, text: str) -> list[int]:
        """Tokens of a text: of each letter where names are letters, of each byte where they are bytes, else of each
        word, or of what stands between blanks. What has no name is the unknown token; where there is none, it is left
        out.

        Raises ValueError where nothing is known.
        """
        if is_byte_level(self.names):
            return [1 + byte for byte in text.encode()]
        known = [name for name in self.names if name != UNKNOWN]
        parts = self.split_text(text)
        number = {name: i for i, name in enumerate(self.names) if name}
        found = [number[part] if part in known else number[UNKNOWN]
                 for part in parts if part in known or UNKNOWN in number]  # fmt: skip
        if not any(part in known for part in parts):
            raise ValueError(f"{text!r}: none of it is known; known are {', '.join(self.names[1:6])} and so on")
        return found

    def split_text(self, text: str) -> Sequence[str]:
        """A text cut into what names are of: characters, words, or what stands between blanks."""
        if is_character_level(self.names):
            return [character for character in text.strip() if not character.isspace() or character in self.names]
        return text.split() if self.split_at_blanks else split_words(text)

    @classmethod
    def example(cls) -> Task:
        sequences = {
            "train": ("ACGTAC", "CAGT", "GATTACA", "TGTG", "GGTAC", "TTCAA"),
            "validation": ("AGTC", "CCATT", "GTAAC", "TTA"),
            "test": ("CGTA", "ATATA", "GGGT", "CTAA"),
        }
        names = ("", *"ACGT")
        inputs = {
            subset: np.array([[names.index(letter) for letter in row] + [0] * (8 - len(row)) for row in rows], np.uint8)
            for subset, rows in sequences.items()
        }
        labels = {subset: np.array(["GT" in row for row in rows], np.int32) for subset, rows in sequences.items()}
        return cls(inputs, labels, names, classes=("without GT", "with GT"))

    def target_symbol(self, value: Any) -> str:
        return self.classes[int(value)]


def naive_bayes_scores(
    train: Integer[np.ndarray, "N P"],
    labels: Integer[np.ndarray, "N"],
    test: Integer[np.ndarray, "M P"],
    tokens: int,
    classes: int,
) -> Float[np.ndarray, "M {classes}"]:
    """log p(class) + Σ_places log p(token | class, place) of each test row and class, from counts in the training rows
    with one added to each. The class with the largest is naive Bayes's answer."""
    prior = np.bincount(labels, minlength=classes)
    scores = np.tile(np.log(prior + 1.0), (len(test), 1))
    for place in range(train.shape[1]):
        counts = np.ones((classes, tokens))
        np.add.at(counts, (labels, train[:, place]), 1)
        scores += np.log(counts / counts.sum(axis=1, keepdims=True)).T[test[:, place]]
    return scores


def nearest_neighbor(
    train: Integer[np.ndarray, "N P"], labels: Integer[np.ndarray, "N"], test: Integer[np.ndarray, "M Q"]
) -> Int[np.ndarray, "M"]:
    """The class of the training row whose set of runs of `_RUN_LENGTH` tokens is nearest to each test row's: with the
    largest |both| / |either|, and of equal ones the first. The most frequent class where no run is shared."""

    def runs(row: np.ndarray) -> set[bytes]:
        tokens = row[row > 0]
        return {tokens[i : i + _RUN_LENGTH].tobytes() for i in range(max(1, len(tokens) - _RUN_LENGTH + 1))}

    holders: dict[bytes, list[int]] = {}
    known = [runs(row) for row in train]
    for i, some in enumerate(known):
        for run in some:
            holders.setdefault(run, []).append(i)
    sizes = np.array([len(some) for some in known])
    said = np.full(len(test), np.bincount(labels).argmax())
    for i, row in enumerate(test.astype(train.dtype)):
        mine = runs(row)
        rows = [at for run in mine for at in holders.get(run, ())]
        if rows:
            both = np.bincount(rows, minlength=len(train))
            said[i] = labels[(both / (sizes + len(mine) - both)).argmax()]
    return said
