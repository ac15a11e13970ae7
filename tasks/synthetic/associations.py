"""Associations: which value came with this key? As many pairs as it takes to find where a memory is full.

Schlag, Irie and Schmidhuber 2021, "Linear Transformers Are Secretly Fast Weight Programmers" (arXiv 2102.11174), §6.1,
their settings 1 (each key once) and 2 (keys come again, with another value), drawn as in the authors' code
(ischlag/fast-weight-transformers, synthetic/associativeRetrievalDataset.py).
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from tasks.base import Batch, Split, Task, accuracy, positions_and_segments, static, weighted_mean

_EVAL_SEQUENCES = 20  # of an evaluation
MAX_QUERIES = 200  # the most keys that are asked for in one of them


class Associations(Task):
    """Name the value of one key, after as many pairs as fill a memory.

    A row is `k₁ v₁ … k_P v_P q` and its target, one per row, is the value of the query q. With S = `pairs`, tokens
    1 … S are keys, S+1 … 2S values, and 0 fills. Without `with_replacement` each key and each value appears once and
    P = S; with it, P = 2S keys and values are drawn with replacement and the last value of a key is the right one. A
    row of `length` tokens holds at most (length − 1) // 2 pairs, and its last token is the query.

    In training the query is the key of a uniformly drawn pair, so that repeated keys are asked for more often. In any
    other subset, min(S, 200) consecutive rows hold the same pairs and ask for their keys one by one, in the order of
    the keys; where there are fewer keys than rows, the last rows hold no query and weigh nothing.

    The loss is half the squared distance to the value's one-hot vector, and so is the score, as published.

    Example:

        input   k1 v4 k2 v2 k3 v1 k4 v3 k3
        target  v1
    """

    pairs: int = static(20)
    with_replacement: bool = static(False)

    def validate(self) -> None:
        self.require("pairs", self.pairs >= 2, "must be 2 or more, for there to be something to mistake")

    @property
    def max_pairs(self) -> int:
        """The most pairs in a row."""
        return self.pairs * (2 if self.with_replacement else 1)

    @property
    def max_length(self) -> int:
        return 2 * self.max_pairs + 1

    @property
    def vocabulary(self) -> int:
        return 2 * self.pairs + 1

    @property
    def outputs(self) -> int:
        return self.pairs

    min_length = 3  # a pair and its query
    target_level = "sequence"
    metric = "squared error"  # half of it, as it was published
    metric_mode = "min"

    @property
    def chance(self) -> float:
        """1/S for every value."""
        return (1 - 1 / self.pairs) / 2

    baseline = ("nothing at all", 0.5)

    @property
    def splits(self) -> Mapping[str, Split]:
        """Rows of S pairs in both settings, as the authors' are, whose rows of training are twice as long with
        `with_replacement`.

        Their evaluation is drawn anew each time, and is 20 sequences too.
        """
        split = Split(length=2 * self.pairs + 1, examples=_EVAL_SEQUENCES * min(self.pairs, MAX_QUERIES))
        return {"validation": split, "test": split}  # the same distribution, other draws

    def sample(
        self, key: PRNGKeyArray, batch: int, max_length: int, length: Int[Array, ""] | int, subset: str = "train"
    ) -> Batch:
        """See `Task.sample`. `subset` says who is asked for: in "train" one key, else all."""
        asked = 1 if subset == "train" else min(self.pairs, MAX_QUERIES)
        one = partial(
            self._sample_sequence, asked=asked, all_keys=subset != "train", max_length=max_length, length=length
        )
        drawn = jax.vmap(one)(jax.random.split(key, -(-batch // asked)))
        inputs, targets, weights = (x.reshape(-1, *x.shape[2:])[:batch] for x in drawn)
        positions, segments = positions_and_segments(batch, max_length, length)
        return Batch(inputs, targets, weights, positions, segments)

    def _sample_sequence(
        self, key: PRNGKeyArray, *, asked: int, all_keys: bool, max_length: int, length: Int[Array, ""] | int
    ) -> tuple[Int[Array, "Q T"], Int[Array, "Q"], Float[Array, "Q"]]:
        """One sequence, once for each of the `asked` queries; targets and weights."""
        for_keys, for_values, for_query = jax.random.split(key, 3)
        keys, values = self._sample_items(for_keys), self._sample_items(for_values)
        pairs = jnp.minimum(self.max_pairs, (length - 1) // 2)
        place = jnp.arange(self.max_pairs)
        nowhere = self.pairs  # writes to this key are dropped
        last = jnp.full(self.pairs, -1).at[jnp.where(place < pairs, keys, nowhere)].max(place, mode="drop")

        in_order = jnp.argsort(last < 0)[:asked]  # stable: the keys that there are, and then the others
        query = in_order if all_keys else keys[jax.random.randint(for_query, (1,), 0, pairs)]
        exists = last[query] >= 0

        tokens = jnp.stack([1 + keys, 1 + self.pairs + values], axis=1).reshape(-1)
        tokens = jnp.pad(tokens, (0, max(0, max_length - len(tokens))))[:max_length]
        step = jnp.arange(max_length)
        row = jnp.where(step < 2 * pairs, tokens, 0)
        inputs = jnp.where(step == length - 1, jnp.where(exists, 1 + query, 0)[:, None], row)
        return inputs, jnp.where(exists, values[last[query]], 0), exists.astype(jnp.float32)

    def _sample_items(self, key: PRNGKeyArray) -> Int[Array, "P"]:
        """Keys, or values, of the pairs of one sequence, from 0 up."""
        if self.with_replacement:
            return jax.random.randint(key, (self.max_pairs,), 0, self.pairs)
        return jax.random.permutation(key, self.pairs)

    def loss(self, outputs: Float[Array, "B O"], batch: Batch) -> Float[Array, ""]:
        error = jnp.square(outputs.astype(jnp.float32) - jax.nn.one_hot(batch.targets, self.outputs)).sum(axis=-1)
        return weighted_mean(error / 2, batch.weights)

    def score(self, outputs: Float[Array, "B O"], batch: Batch) -> Float[Array, ""]:
        return self.loss(outputs, batch)

    def accuracy(self, outputs: Float[Array, "B O"], batch: Batch) -> Float[Array, ""]:
        """Share of the queries whose value the largest output names, which the paper does not give."""
        return accuracy(outputs, batch)

    @classmethod
    def example(cls) -> Task:
        return cls(pairs=4)

    def input_symbol(self, value: Any) -> str:
        token = int(value)
        return "·" if token == 0 else f"k{token}" if token <= self.pairs else f"v{token - self.pairs}"

    def target_symbol(self, value: Any) -> str:
        return f"v{int(value) + 1}"
