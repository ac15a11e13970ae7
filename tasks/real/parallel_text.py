"""Translation between pairs of real sequences: words and how they are said, verses in two languages."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from tasks.base import Batch, Split, Task, sample_rows, static, validate_batch_size

_MAX_EVAL_EXAMPLES = 512  # the most in an evaluation


class ParallelText(Task):
    """Translate real sequences: words into sounds, Greek verses into English.

    `sources` and `targets` are indices into `names`, `[N, L]` for each subset, with 0 after the end and the same L. A
    row is `x₁ … xₙ separator y₁ … yₘ`; the target at the separator is y₁, and at yₘ the token `end`. The loss counts
    all of these, the score every one but the end.

    `pairs_per_row` pairs make a row, one after the other on either side with the token `between` them, so that a source
    can have any length. A row of `length` steps holds length // 2(L + 1) pairs. `eval_pairs_per_row` adds test sets of
    so many pairs per row.

    `links` [N, L, L] say, for each subset, which token of a target (second axis) people have linked to which of its
    source (third). They serve measures of alignment and need rows of one pair.

    Example:

        input   a _ c a t | A _ C A T
        target            A _ C A T .
    """

    sources: Any
    targets: Any
    names: tuple[str, ...] = static()
    links: Any = None
    between: int = static(0)
    pairs_per_row: int = static(1)
    eval_pairs_per_row: tuple[int, ...] = static(())

    def validate(self) -> None:
        counts = (self.pairs_per_row, *self.eval_pairs_per_row)
        given = f"task.pairs_per_row={self.pairs_per_row}, eval_pairs_per_row={self.eval_pairs_per_row}"
        if any(not isinstance(count, int) or count < 1 for count in counts):
            raise ValueError(f"{given}: must be 1 or more each")
        if max(counts) > 1 and not self.between:
            raise ValueError(f"{given}: these pairs have nothing to stand between them; use 1")

    separator = 1  # a network that has a source and a target tells them apart by it; each takes half of a row
    end = 2
    rows_end_early = True
    next_tokens = True

    @property
    def pair_length(self) -> int:
        """The steps that a row has for one pair."""
        return 2 * (self.sources["train"].shape[1] + 1)

    @property
    def max_length(self) -> int:
        return self.pairs_per_row * self.pair_length

    @property
    def min_length(self) -> int:
        return self.pair_length

    @property
    def vocabulary(self) -> int:
        return len(self.names)

    @property
    def outputs(self) -> int:
        return len(self.names)

    @property
    def chance(self) -> float:
        return 1 / len(self.names)

    @property
    def baseline(self) -> tuple[str, float]:
        """The commonest token of the training targets, everywhere."""
        counts = np.bincount(np.asarray(self.targets["train"]).ravel())
        counts[0] = 0
        test = np.asarray(self.targets["test"])
        return "always the commonest token", float(np.mean(test[test > 0] == counts.argmax()))

    @property
    def splits(self) -> Mapping[str, Split]:
        one = {
            subset: Split(self.max_length, min(_MAX_EVAL_EXAMPLES, len(self.sources[subset])), subset)
            for subset in ("validation", "test")
        }
        more = {f"test_{n}": one["test"]._replace(length=n * self.pair_length) for n in self.eval_pairs_per_row}
        return {**one, **more}

    def sample(
        self, key: PRNGKeyArray, batch: int, max_length: int, length: Int[Array, ""] | int, subset: str = "train"
    ) -> Batch:
        """See `Task.sample`. Pairs are drawn uniformly; rows of one are distinct pairs.

        Raises ValueError where a row has no room for one, or there are fewer pairs than are asked for."""
        pairs, most = self.sources[subset].shape[0], max_length // self.pair_length
        if not most:
            raise ValueError(f"max_length={max_length}: a pair takes {self.pair_length} steps, so give that or more")
        what = f"{subset} pairs"
        if most == 1:
            rows = sample_rows(key, batch, pairs, what)[:, None]
        else:
            validate_batch_size(batch, pairs, what)
            rows = jax.random.randint(key, (batch, most), 0, pairs)
        return self.build_rows(rows, max_length, length // self.pair_length, subset)

    def build_rows(
        self, pair_ids: Int[Array, "B K"], max_length: int, count: Int[Array, ""] | int, subset: str = "train"
    ) -> Batch:
        """The batch whose row b holds the first `count` of the pairs `pair_ids[b]`."""
        there = (jnp.arange(pair_ids.shape[1]) < count)[None, :, None]

        def side(pairs: Any) -> tuple[Array, Array]:
            pieces = jnp.asarray(pairs[subset])[pair_ids].astype(jnp.int32) * there
            return jax.vmap(lambda some: join_pieces(some, self.between, max_length))(pieces)

        (source, n), (target, m) = side(self.sources), side(self.targets)
        n, m, place = n[:, None], m[:, None], jnp.arange(max_length)[None]
        positions = jnp.broadcast_to(place, (len(pair_ids), max_length))
        segments = (place <= n + m).astype(jnp.int32)
        moved = jnp.take_along_axis(target, jnp.clip(place - n - 1, 0), axis=1)
        inputs = jnp.where(place < n, source, jnp.where(place == n, self.separator, moved)) * segments
        targets = jnp.roll(inputs, -1, axis=1).at[:, -1].set(0)
        asked = (place >= n) & (place <= n + m)
        targets = jnp.where(place == n + m, self.end, targets) * asked
        return Batch(inputs, targets, asked.astype(jnp.float32), positions, segments)

    def score_weights(self, batch: Batch) -> Float[Array, "B T"]:
        return batch.weights * (batch.targets > self.end)

    @classmethod
    def example(cls) -> Task:
        names = ("", "|", ".", "_", *"abct", *"ABCT")
        words = {
            "train": ("cat", "bat", "tab", "act", "a"),
            "validation": ("at", "cab", "ta", "ab"),
            "test": ("tact", "ca", "b", "bac"),
        }
        sources, targets = (
            {
                subset: np.array(
                    [[names.index(letter) for letter in case(row)] + [0] * (4 - len(row)) for row in rows], np.int32
                )
                for subset, rows in words.items()
            }
            for case in (str.lower, str.upper)
        )
        return cls(sources, targets, names, between=3, pairs_per_row=2)


def join_pieces(pieces: Int[Array, "K L"], between: int, size: int) -> tuple[Int[Array, "{size}"], Int[Array, ""]]:
    """The tokens of all pieces that are no padding, one piece after the other with `between` in between, and how many
    they are."""
    started = (pieces[:, 0] > 0).astype(jnp.int32)
    flat = jnp.concatenate([pieces, between * started[:, None]], axis=1).ravel()
    order = jnp.argsort(flat == 0, stable=True)
    count = (flat != 0).sum() - (between > 0)  # none behind the last one
    kept = jnp.where(jnp.arange(len(flat)) < count, flat[order], 0)
    return jnp.zeros(size, jnp.int32).at[: len(flat)].set(kept), count
