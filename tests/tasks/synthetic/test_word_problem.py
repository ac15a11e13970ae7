import itertools
import math
from collections import Counter
from functools import partial
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tasks.base import Batch
from tasks.synthetic.word_problem import WordProblem, multiplication_table

ORDERS = {"z2": 2, "z5": 5, "z60": 60, "s3": 6, "s4": 24, "s5": 120, "a4": 12, "a5": 60, "a4xz5": 60, "z2xs3": 12}
NAMES = list(ORDERS)


@partial(jax.jit, static_argnames=("batch", "max_length"))
def sample(task: WordProblem, seed: int, length: int, batch: int = 8, max_length: int = 0) -> Batch:
    return task.sample(jax.random.key(seed), batch, max_length or task.max_length, length)


@jax.jit
def grade(task: WordProblem, answers: jax.Array, batch: Batch):
    """The score and the loss of a model that is sure of `answers`, and the score of one sure of anything else."""
    outputs = 99.0 * jax.nn.one_hot(answers, task.outputs)
    return task.score(outputs, batch), task.loss(outputs, batch), task.score(-outputs, batch)


# ---- the groups by another way: permutations as matrices, whose determinant tells the even ones ----------------------


def elements(group: str) -> list[Any]:
    if "x" in group:
        return list(itertools.product(*map(elements, group.split("x"))))
    letters = int(group[1:])
    if group[0] == "z":
        return list(range(letters))
    return [
        p
        for p in itertools.permutations(range(letters))
        if group[0] == "s" or np.linalg.det(np.eye(letters)[list(p)]) > 0
    ]


def product(group: str, a: Any, b: Any) -> Any:
    if "x" in group:
        return tuple(map(product, group.split("x"), a, b))
    if group[0] == "z":
        return (a + b) % int(group[1:])
    moves = np.eye(len(a), dtype=int)[list(b)] @ np.eye(len(a), dtype=int)[list(a)]  # of rows: b's, which a then maps
    return tuple(moves.argmax(axis=1).tolist())


@pytest.mark.parametrize("group", NAMES)
def test_the_tables_are_those_of_groups(group: str):
    table, named = multiplication_table(group), elements(group)
    order = ORDERS[group]
    assert table.shape == (order, order)
    assert len(named) == order
    every = np.arange(order)
    for line in (*table, *table.T):  # each product once in every row and column: closed, and with inverses
        np.testing.assert_array_equal(np.sort(line), every)
    np.testing.assert_array_equal(table[0], every)
    np.testing.assert_array_equal(table[:, 0], every)
    np.testing.assert_array_equal(table[table], table[:, table])  # (a·b)·c = a·(b·c)
    random = np.random.default_rng(0)
    for a, b in random.integers(0, order, (300, 2)):
        assert named[table[a, b]] == product(group, named[a], named[b])
    with pytest.raises(ValueError, match="read-only"):
        table[0, 0] = 1


def orders(table: np.ndarray) -> dict[int, int]:
    """How many elements give 0 first at each power."""
    found = Counter()
    for a in range(len(table)):
        power, n = a, 1
        while power:
            power, n = table[power, a], n + 1
        found[n] += 1
    return dict(found)


def commutators(table: np.ndarray, among: set[int]) -> set[int]:
    """The products of all a·b·a⁻¹·b⁻¹: what is left of a group when what commutes is taken out."""
    inverse = table.argmin(axis=1)
    found = {int(table[table[a, b], table[inverse[a], inverse[b]]]) for a in among for b in among}
    while (more := found | {int(table[a, b]) for a in found for b in found}) != found:
        found = more
    return found


def test_the_groups_are_the_ones_they_are_named_after():
    a5, a4xz5, z60 = (multiplication_table(group) for group in ("a5", "a4xz5", "z60"))
    assert orders(a5) == {1: 1, 2: 15, 3: 20, 5: 24}
    assert orders(a4xz5) == {1: 1, 2: 3, 3: 8, 5: 4, 10: 12, 15: 32}
    assert orders(z60) == Counter(60 // math.gcd(60, a) for a in range(60))
    every = set(range(60))
    assert commutators(a5, every) == every, "not solvable"
    first = commutators(a4xz5, every)
    assert (len(first), len(commutators(a4xz5, first))) == (4, 1), "solvable in two steps, not commutative"
    assert commutators(z60, every) == {0}, "commutative"


@pytest.mark.parametrize(("group", "series"), [("z2", (1,)), ("s3", (3, 1)), ("s4", (12, 4, 1)), ("s5", (60, 60))])
def test_what_is_left_of_a_group_when_what_commutes_is_taken_out(group: str, series: tuple[int, ...]):
    """S4 is solvable in three steps, and S5 is not."""
    table = multiplication_table(group)
    left = set(range(len(table)))
    for size in series:
        left = commutators(table, left)
        assert len(left) == size


def test_the_cyclic_group_of_two_is_parity():
    batch = sample(WordProblem("z2", max_items=20), 0, 21)
    ones = np.asarray(batch.inputs)[:, 1:] - 1
    np.testing.assert_array_equal(np.asarray(batch.targets)[:, 1:], np.cumsum(ones, axis=1) % 2)


# ---- sequences ------------------------------------------------------------------------------------------------------


def obeys(task: WordProblem, batch: Batch, length: int) -> None:
    named = elements(task.group)
    order = len(named)
    for row, targets, weights in zip(*(np.asarray(part).tolist() for part in batch[:3]), strict=True):
        padding = [0] * (len(row) - length)
        assert row[0] == order + 1 == task.vocabulary - 1
        assert all(1 <= token <= order for token in row[1:length])
        assert row[length:] == padding
        so_far, products = named[0], []
        for token in row[1:length]:
            so_far = product(task.group, so_far, named[token - 1])
            products.append(named.index(so_far))
        assert targets == [0, *products, *padding]
        assert weights == [0.0] + [1.0] * (length - 1) + [float(p) for p in padding]
    np.testing.assert_array_equal(np.asarray(batch.segments).sum(axis=1), length)


@settings(deadline=None, max_examples=30)
@given(st.sampled_from(NAMES), st.integers(0, 2**31 - 1), st.data())
def test_every_sequence_obeys_the_definition(group: str, seed: int, data: st.DataObject):
    task = WordProblem(group)
    length = data.draw(st.integers(2, task.max_length))
    batch = sample(task, seed, length)
    obeys(task, batch, length)
    right, loss, wrong = grade(task, batch.targets, batch)
    assert (right, wrong) == (1, 0)
    assert loss < 1e-5


def test_longer_sequences_than_the_task_trains_on():
    task = WordProblem("a5", max_items=4)
    for length in (2, 5, 30, 41):
        obeys(task, sample(task, 0, length, max_length=41), length)


@pytest.mark.parametrize("group", NAMES)
def test_elements_and_products_are_uniform_and_say_nothing_of_each_other(group: str):
    task, order = WordProblem(group, max_items=3), ORDERS[group]
    batch = sample(task, 0, 4, 20_000)
    inputs, targets = np.asarray(batch.inputs) - 1, np.asarray(batch.targets)
    for found in (*inputs.T[1:], *targets.T[1:]):
        assert stats.chisquare(np.bincount(found, minlength=order)).pvalue > 1e-4
    for one, other in ((inputs[:, 3], targets[:, 3]), (targets[:, 2], targets[:, 3]), (inputs[:, 1], inputs[:, 2])):
        assert stats.chisquare(np.bincount(one * order + other, minlength=order**2)).pvalue > 1e-4


@pytest.mark.parametrize("longest", [1, 2, 12])
@pytest.mark.parametrize("group", NAMES)
def test_baseline_and_chance_are_what_the_rules_score(group: str, longest: int):
    task = WordProblem(group, longest)
    batch = sample(task, 0, task.max_length, 8_000)
    rule = np.asarray(batch.inputs) - 1
    assert float(grade(task, rule, batch)[0]) == pytest.approx(task.baseline[1], abs=0.02)
    guess = np.random.default_rng(0).integers(0, ORDERS[group], rule.shape)
    assert float(grade(task, guess, batch)[0]) == pytest.approx(task.chance, abs=0.02)


def test_loss_and_score_count_every_element_and_not_the_begin_token():
    task = WordProblem("z60", max_items=4)
    batch = sample(task, 0, 5)
    wrong = np.asarray(batch.targets).copy()
    wrong[:, 0] = 7
    assert grade(task, wrong, batch)[0] == 1
    wrong[:, 4] = (wrong[:, 4] + 1) % 60
    score, loss, _ = grade(task, wrong, batch)
    assert score == 3 / 4
    assert loss == pytest.approx(99 / 4, rel=1e-5)


def test_lengths_ask_for_test_sets():
    task = WordProblem(max_items=4, eval_lengths=(2, 30))
    assert {name: split.length for name, split in task.splits.items()} == {
        "validation": 5,
        "test": 5,
        "test_2": 3,
        "test_30": 31,
    }


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        *(
            (
                {"group": name},
                rf"^task\.group={name}: must be a group of 2 to 120 elements: z2 \(parity\), z7, s3, a5, or",
            )
            for name in ("s6", "z1", "a2", "a5xz5", "parity", "x", "z2x", "")
        ),
        ({"max_items": 0}, r"^task\.max_items=0: must be 1 or more$"),
        ({"eval_lengths": (3, 0)}, r"^task\.eval_lengths=\(3, 0\): must be whole numbers of elements, 1 or more each$"),
    ],
)
def test_bad_fields(fields: dict, message: str):
    with pytest.raises(ValueError, match=message) as caught:
        WordProblem(**fields)
    assert "\n" not in str(caught.value)
