"""Word problems: the product so far of a sequence of elements of a group.

Merrill, Petty and Sabharwal 2024, "The Illusion of State in State-Space Models" (arXiv 2404.08819), Fig. 3.
A recurrence of one layer multiplies at any length. Attention, and recurrences that only scale their state, need more
layers the longer the sequence, in a group such as A5 that can't be taken apart into commutative ones.
"""

from collections.abc import Mapping
from functools import lru_cache
from itertools import combinations, permutations
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PRNGKeyArray

from tasks.base import Batch, Split, Task, positions_and_segments, static

_GROUP_ORDER = 60  # every group here has as many elements
_BEGIN = _GROUP_ORDER + 1  # the token before the first element

# A group is a table of products: table[a, b] is a·b. Element 0 is the one that changes nothing.


def _cyclic_group(order: int) -> Int[np.ndarray, "N N"]:
    """Numbers, added modulo `order`."""
    return np.add.outer(np.arange(order), np.arange(order)) % order


def _alternating_group(letters: int) -> Int[np.ndarray, "N N"]:
    """Even permutations, sorted as words are; (a·b)(i) is a(b(i)). The first one leaves all in place."""
    even = [p for p in permutations(range(letters)) if sum(x > y for x, y in combinations(p, 2)) % 2 == 0]
    number = {p: i for i, p in enumerate(even)}
    return np.array([[number[tuple(a[i] for i in b)] for b in even] for a in even])


def _direct_product(one: Int[np.ndarray, "M M"], other: Int[np.ndarray, "N N"]) -> Int[np.ndarray, "MN MN"]:
    """Pairs of an element of each, multiplied apart; (a, b) is number N·a + b."""
    size = len(one) * len(other)
    return (len(other) * one[:, None, :, None] + other[None, :, None, :]).reshape(size, size)


GROUPS = {
    "a5": lambda: _alternating_group(5),  # simple, and not commutative: the hard one
    "z60": lambda: _cyclic_group(60),  # commutative: a sum will do
    "a4xz5": lambda: _direct_product(
        _alternating_group(4), _cyclic_group(5)
    ),  # not commutative, yet made of commutative ones
}


@lru_cache
def multiplication_table(group: str) -> Int[np.ndarray, "60 60"]:
    """The table of one of `GROUPS`."""
    table = GROUPS[group]().astype(np.int32)
    table.setflags(write=False)  # all who ask are given this one
    return table


class WordProblem(Task):
    """Multiply the elements of a group, one after the other.

    A row is `begin x₁ … x_k`, of uniformly drawn elements of `group`; the target at x_t is the product x₁·x₂ … x_t. A
    row of `length` tokens holds k = length − 1 elements, at most `max_items` in training. Token 0 is padding, 1 + e the
    element e, and 61 the token `begin`, at which nothing is asked. (The paper's code has that token as its own target
    there, and counts it.) Loss and score count every element alike: what is lost late in a row shows in a test set of
    longer ones. `eval_lengths` adds such sets, of so many elements.

    Example:

        input   ^ g0 g32 g13 g11 g27 g12
        target    g0 g32 g42 g41 g53 g23
    """

    group: str = static("a5")
    max_items: int = static(12)
    eval_lengths: tuple[int, ...] = static(())

    def validate(self) -> None:
        self.require("group", self.group in GROUPS, f"must be one of {', '.join(GROUPS)}")
        self.require("max_items", self.max_items >= 1, "must be 1 or more")
        self.require(
            "eval_lengths",
            all(isinstance(n, int) and n >= 1 for n in self.eval_lengths),
            "must be whole numbers of elements, 1 or more each",
        )

    @property
    def max_length(self) -> int:
        return self.max_items + 1

    min_length = 2
    vocabulary = _BEGIN + 1
    outputs = _GROUP_ORDER
    chance = 1 / _GROUP_ORDER

    @property
    def baseline(self) -> tuple[str, float]:
        """Right at the first element, and at others where the product before them is the one that changes nothing."""
        return "each element alone", (1 + (self.max_items - 1) / _GROUP_ORDER) / self.max_items

    @property
    def extra_splits(self) -> Mapping[str, Split]:
        return {f"test_{n}": Split(length=n + 1, examples=512) for n in self.eval_lengths}

    def sample(
        self, key: PRNGKeyArray, batch: int, max_length: int, length: Int[Array, ""] | int, subset: str = "train"
    ) -> Batch:
        """See `Task.sample`. `subset` makes no difference: every draw is fresh."""
        table = jnp.asarray(multiplication_table(self.group))
        positions, segments = positions_and_segments(batch, max_length, length)
        begins = positions == 0
        elements = jnp.where(begins, 0, jax.random.randint(key, (batch, max_length), 0, _GROUP_ORDER))
        products = jax.lax.associative_scan(lambda a, b: table[a, b], elements, axis=1)
        inputs = jnp.where(begins, _BEGIN, 1 + elements) * segments
        counts = segments * ~begins
        return Batch(inputs, products * counts, counts.astype(jnp.float32), positions, segments)

    @classmethod
    def example(cls) -> Task:
        return cls(max_items=6)

    def input_symbol(self, value: Any) -> str:
        return {0: "·", _BEGIN: "^"}.get(int(value), f"g{int(value) - 1}")

    def target_symbol(self, value: Any) -> str:
        return f"g{int(value)}"
