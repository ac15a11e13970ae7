from functools import cache

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tasks.real.needle import Needle

LETTERS = "abcdefg"
MARK, ASK = 10, 11  # behind 7 letters and 3 facts


@cache
def needle() -> Needle:
    random = np.random.default_rng(0)
    sizes = {"train": 400, "validation": 60, "test": 50}
    text = {name: random.integers(0, 7, n).astype(np.uint8) for name, n in sizes.items()}
    return Needle(text, LETTERS, max_length=15, facts=3, eval_distances=(5, 50))


@cache
def sampler(subset: str, batch: int = 8):
    task = needle()
    return jax.jit(lambda seed, length: task.sample(jax.random.key(seed), batch, 15, length, subset))


@settings(deadline=None, max_examples=30)
@given(st.sampled_from(["train", "validation", "test"]), st.integers(0, 2**31 - 1), st.integers(4, 15))
def test_a_row_is_a_window_of_the_text_with_a_fact_in_it_and_a_question_behind(subset: str, seed: int, length: int):
    task, batch = needle(), sampler(subset)(seed, length)
    text = bytes(task.text[subset])
    for row, targets, weights in zip(*(np.asarray(part).tolist() for part in batch[:3]), strict=True):
        padding = [0] * (15 - length)
        assert row[length - 1 :] == [ASK, *padding]
        place = row.index(MARK)
        assert place == 0 or subset == "train"
        assert place < length - 3, "there is text between the fact and the question"
        fact = row[place + 1] - 7
        assert 0 <= fact < 3
        assert bytes(row[:place] + row[place + 2 : length - 1]) in text
        assert targets == [0] * (length - 1) + [fact, *padding]
        assert weights == [0.0] * (length - 1) + [1.0] + [0.0] * len(padding)
    np.testing.assert_array_equal(np.asarray(batch.segments).sum(axis=1), length)


def test_facts_and_places_are_uniform_and_the_whole_text_is_read():
    batch = sampler("train", 6_000)(0, 15)
    inputs = np.asarray(batch.inputs)
    assert stats.chisquare(np.bincount((inputs == MARK).argmax(axis=1), minlength=12)).pvalue > 1e-4
    assert stats.chisquare(np.bincount(np.asarray(batch.targets)[:, -1], minlength=3)).pvalue > 1e-4
    text = np.arange(8, dtype=np.uint8)
    task = Needle({"train": text, "validation": text, "test": text}, "abcdefgh", max_length=7, facts=2)
    first = np.asarray(task.sample(jax.random.key(0), 4_000, 7, 7, "test").inputs)[:, 2]
    assert stats.chisquare(np.bincount(first, minlength=8)[:5]).pvalue > 1e-4
    assert first.max() == 4


def test_a_solver_is_right_and_distances_ask_for_test_sets():
    task, batch = needle(), sampler("test")(0, 15)
    right = 99.0 * jax.nn.one_hot(batch.targets, task.outputs)
    assert (task.score(right, batch), task.score(-right, batch)) == (1, 0)
    lengths = {name: split.length for name, split in task.splits.items()}
    assert lengths == {"validation": 15, "test": 15, "test_5": 8, "test_50": 53}
    assert {split.subset for name, split in task.splits.items() if name != "validation"} == {"test"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"facts": 1}, r"^task\.facts=1: must be 2 or more$"),
        ({"max_length": 3}, r"^task\.max_length=3: must be 4 to 53, three more than the shortest text has characters$"),
        ({"max_length": 54}, r"^task\.max_length=54: must be 4 to 53, three more"),
        (
            {"eval_distances": (51,)},
            r"^task\.eval_distances=\(51,\): must be whole numbers of characters, 1 to 50 each$",
        ),
        ({"alphabet": "aab"}, r"^alphabet='aab': must be 2 to 256 distinct characters$"),
    ],
)
def test_bad_fields(fields: dict, message: str):
    task = needle()
    with pytest.raises(ValueError, match=message):
        Needle(**{"text": task.text, "alphabet": LETTERS, "max_length": 15, **fields})
