"""Word problems: the product so far of a sequence of elements of a group, which is to track a state.

Merrill, Petty and Sabharwal 2024, "The Illusion of State in State-Space Models" (arXiv 2404.08819), Fig. 3; the groups
also as in Grazzi et al. 2024 (arXiv 2411.12537), §5, and Siems et al. 2025 (arXiv 2502.10297), §5.1.
A nonlinear recurrence of one layer can multiply at any length. Attention, and recurrences that only scale their state,
need more layers the longer the sequence (unless TC⁰ = NC¹), in a group such as A5 that can't be taken apart into
commutative ones. Transitions with
negative eigenvalues solve Z2, which is parity; products of several reflections solve rotations, and so Zm and more.
"""

import math
import re
from collections.abc import Callable, Mapping
from functools import lru_cache, reduce
from itertools import combinations, permutations
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PRNGKeyArray

from tasks.base import Batch, Split, Task, positions_and_segments, static

# A group is a table of products: table[a, b] is a·b. Element 0 is the one that changes nothing.


def _cyclic_group(order: int) -> Int[np.ndarray, "N N"]:
    """Numbers, added modulo `order`."""
    return np.add.outer(np.arange(order), np.arange(order)) % order


def _permutation_group(kept: list[tuple[int, ...]]) -> Int[np.ndarray, "N N"]:
    """The permutations that are `kept`, in their order; (a·b)(i) is a(b(i)). The first one leaves all in place."""
    number = {p: i for i, p in enumerate(kept)}
    return np.array([[number[tuple(a[i] for i in b)] for b in kept] for a in kept])


def _symmetric_group(letters: int) -> Int[np.ndarray, "N N"]:
    """All permutations, sorted as words are."""
    return _permutation_group(list(permutations(range(letters))))


def _alternating_group(letters: int) -> Int[np.ndarray, "N N"]:
    """Even permutations, sorted as words are."""
    return _permutation_group(
        [p for p in permutations(range(letters)) if sum(x > y for x, y in combinations(p, 2)) % 2 == 0]
    )


def _direct_product(one: Int[np.ndarray, "M M"], other: Int[np.ndarray, "N N"]) -> Int[np.ndarray, "MN MN"]:
    """Pairs of an element of each, multiplied apart; (a, b) is number N·a + b."""
    size = len(one) * len(other)
    return (len(other) * one[:, None, :, None] + other[None, :, None, :]).reshape(size, size)


_FAMILIES: dict[str, tuple[Callable[[int], Int[np.ndarray, "N N"]], Callable[[int], int]]] = {
    "z": (_cyclic_group, lambda n: n),  # letter: the table of the group of that number, and how many elements it has
    "s": (_symmetric_group, math.factorial),
    "a": (_alternating_group, lambda n: math.factorial(n) // 2),
}
_LARGEST_ORDER = 120  # that of S5


def _parse_group(group: str) -> list[tuple[str, int]]:
    """The factors of a group's name, as [("a", 4), ("z", 5)]; none for what is no name of one."""
    factors = [re.fullmatch(r"([zsa])([2-9]|[1-9]\d{1,2})", factor) for factor in group.split("x")]
    return [(found[1], int(found[2])) for found in factors if found] if all(factors) else []


def group_order(group: str) -> int:
    """How many elements a group has; 0 for what is no name of one."""
    factors = _parse_group(group)
    return math.prod(_FAMILIES[family][1](number) for family, number in factors) if factors else 0


@lru_cache
def multiplication_table(group: str) -> Int[np.ndarray, "N N"]:
    """The table of products of a group, such as "z2", "s5" or "a4xz5"."""
    table = reduce(_direct_product, (_FAMILIES[family][0](number) for family, number in _parse_group(group)))
    table = table.astype(np.int32)
    table.setflags(write=False)  # all who ask are given this one
    return table


class WordProblem(Task):
    """Multiply the elements of a group, one after the other.

    A row is `begin x₁ … x_k`, of uniformly drawn elements of `group`; the target at x_t is the product x₁·x₂ … x_t. A
    row of `length` tokens holds k = length − 1 elements, at most `max_items` in training. Token 0 is padding, 1 + e the
    element e, and the last token is `begin`, at which nothing is asked. (The paper's code has that token as its own
    target there, and counts it.) Loss and score count every element alike: what is lost late in a row shows in a test
    set of longer ones, and in the measure `whole rows`. `eval_lengths` adds such sets, of so many elements.

    A group is named by a letter and a number: `zM` are the numbers modulo M, of which z2 is parity; `sN` all
    permutations of N letters, `aN` the even ones; and an x between two makes pairs, as in a4xz5.

    Example:

        input   ^ g0 g32 g13 g11 g27 g12
        target    g0 g32 g42 g41 g53 g23
    """

    group: str = static("a5")
    max_items: int = static(12)
    eval_lengths: tuple[int, ...] = static(())

    def validate(self) -> None:
        order = group_order(self.group)
        self.require(
            "group",
            2 <= order <= _LARGEST_ORDER,
            f"must be a group of 2 to {_LARGEST_ORDER} elements: z2 (parity), z7, s3, a5, or a product as a4xz5",
        )
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

    @property
    def begin(self) -> int:
        """The token before the first element."""
        return self.outputs + 1

    @property
    def vocabulary(self) -> int:
        return self.begin + 1

    @property
    def outputs(self) -> int:
        return group_order(self.group)

    @property
    def chance(self) -> float:
        return 1 / self.outputs

    @property
    def baseline(self) -> tuple[str, float]:
        """Right at the first element, and at others where the product before them is the one that changes nothing."""
        return "each element alone", (1 + (self.max_items - 1) / self.outputs) / self.max_items

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
        elements = jnp.where(begins, 0, jax.random.randint(key, (batch, max_length), 0, self.outputs))
        products = jax.lax.associative_scan(lambda a, b: table[a, b], elements, axis=1)
        inputs = jnp.where(begins, self.begin, 1 + elements) * segments
        counts = segments * ~begins
        return Batch(inputs, products * counts, counts.astype(jnp.float32), positions, segments)

    @classmethod
    def example(cls) -> Task:
        return cls(max_items=6)

    def input_symbol(self, value: Any) -> str:
        return {0: "·", self.begin: "^"}.get(int(value), f"g{int(value) - 1}")

    def target_symbol(self, value: Any) -> str:
        return f"g{int(value)}"
