"""Tasks on stored rows: which rows a key draws, the rows themselves, and the batch that they make.

The three are apart, so that rows may lie in memory or on a disk. Where they are in memory, `sample` does all of it in
one jitted program. Where they are not, the training loop draws on the host, reads there, and puts only `collate` into
its program. Both give the same batch for the same key.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Int64, Integer, PRNGKeyArray

from tasks.base import Batch, sample_rows

PAGED_FROM = 2**31  # so many places are too many for 32 bits: they are drawn as pages and places in these
PAGE_SIZE = 2**24
MAX_DISTINCT_ROWS = 2**16  # of more rows a batch is drawn with replacement: a permutation of them all takes too long


class RowSampling:
    """Mixin for a `tasks.base.Task` that states `draw`, `gather` and `collate` in place of `sample`."""

    train_size: int
    """Rows of the training split, or places in it, where they stay on disk; 0 where they are all in memory."""

    def count_rows(self, subset: str) -> int:
        """Rows of a subset, or places in it, that are in memory."""
        raise NotImplementedError

    def draw(
        self, key: PRNGKeyArray, batch: int, length: Int[Array, ""] | int, available: int, subset: str = "train"
    ) -> Int[Array, "B"] | Int[Array, "B 2"]:
        """Draw which rows make a batch, out of `available` ones; as pages and places where 32 bits are too few."""
        raise NotImplementedError

    def gather(self, rows: Int[Array, "B"], max_length: int, subset: str = "train") -> Any:
        """The rows of these numbers, from memory; arrays with a leading axis [B]."""
        raise NotImplementedError

    def collate(self, rows: Any, max_length: int, length: Int[Array, ""] | int) -> Batch:
        """The batch that rows make."""
        raise NotImplementedError

    def sample(
        self, key: PRNGKeyArray, batch: int, max_length: int, length: Int[Array, ""] | int, subset: str = "train"
    ) -> Batch:
        """See `Task.sample`. Of a training split that is on disk, only what is in memory is drawn from."""
        rows = self.draw(key, batch, length, self.count_rows(subset), subset)
        return self.collate(self.gather(rows, max_length, subset), max_length, length)


def draw_places(
    key: PRNGKeyArray, batch: int, available: int, kept: Int[Array, ""] | int = 0
) -> Int[Array, "B"] | Int[Array, "B 2"]:
    """Draw `batch` places uniformly, with replacement, out of `available` ones but the last `kept`.

    From 2³¹ places on they are drawn as pages of `PAGE_SIZE` and places in them, from all but the last whole page.
    """
    if available < PAGED_FROM:
        return jax.random.randint(key, (batch,), 0, available - kept)
    page_key, place_key = jax.random.split(key)
    pages = jax.random.randint(page_key, (batch,), 0, available // PAGE_SIZE - 1)
    return jnp.stack([pages, jax.random.randint(place_key, (batch,), 0, PAGE_SIZE)], axis=-1)


def draw_rows(key: PRNGKeyArray, batch: int, available: int, rows_name: str) -> Int[Array, "B"] | Int[Array, "B 2"]:
    """Draw `batch` rows: distinct ones of up to `MAX_DISTINCT_ROWS`, with replacement of more.

    Raises ValueError for too few rows.
    """
    if available > MAX_DISTINCT_ROWS:
        return draw_places(key, batch, available)
    return sample_rows(key, batch, available, rows_name)


def row_numbers(drawn: Integer[np.ndarray, "..."], available: int) -> Int64[np.ndarray, "..."]:
    """The numbers of the rows that were drawn out of `available` ones."""
    numbers = np.asarray(drawn, np.int64)
    return numbers if available < PAGED_FROM else numbers[..., 0] * PAGE_SIZE + numbers[..., 1]
