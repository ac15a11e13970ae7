from functools import partial

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.base import Batch
from tasks.synthetic.flip_flop import FlipFlop

NAMES = " wri01"


@partial(jax.jit, static_argnames=("batch", "subset"))
def sample(task: FlipFlop, seed: int, length: int, batch: int = 8, subset: str = "train") -> Batch:
    return task.sample(jax.random.key(seed), batch, task.max_length, length, subset)


def remembered(text: str) -> dict[int, str]:
    """What must follow at each place where a bit is read: the reader keeps the bit that was written last."""
    bit, found = "", {}
    for place in range(0, len(text), 2):
        if text[place] == "w":
            bit = text[place + 1]
        elif text[place] == "r":
            found[place] = bit
    return found


@settings(deadline=None, max_examples=30)
@given(
    st.sampled_from([(4, 0.8), (60, 0.8), (60, 0.0), (60, 1.0)]),
    st.sampled_from(["train", "98", "10"]),
    st.integers(0, 2**31 - 1),
    st.data(),
)
def test_every_sequence_obeys_the_definition(sizes: tuple[int, float], subset: str, seed: int, data: st.DataObject):
    task = FlipFlop(*sizes)
    length = data.draw(st.integers(4, task.max_length))
    batch = sample(task, seed, length, subset=subset)
    even = length // 2 * 2
    np.testing.assert_array_equal(np.asarray(batch.segments).sum(axis=1), even)
    for row, targets, weights in zip(*(np.asarray(a).tolist() for a in batch[:3]), strict=True):
        text = "".join(NAMES[token] for token in row[:even])
        assert set(text[::2]) <= set("wri")
        assert set(text[1::2]) <= set("01")
        assert text[0] == "w"
        assert text[-2] == "r"
        due = remembered(text)
        assert {place: NAMES[targets[place]] for place in range(task.max_length) if weights[place]} == due
        assert all(text[place + 1] == bit for place, bit in due.items())
        assert not any(target for place, target in enumerate(targets) if place not in due)
    right = 9.0 * jax.nn.one_hot(batch.targets, task.outputs)
    assert (task.score(right, batch), task.score(-right, batch)) == (0, 1)


@pytest.mark.parametrize(("subset", "ignored"), [("test", 0.8), ("98", 0.98), ("10", 0.1)])
def test_instructions_have_their_shares_and_bits_are_fair(subset: str, ignored: float):
    task = FlipFlop(200)
    tokens = np.asarray(sample(task, 0, 200, 500, subset).inputs)
    kinds, bits = tokens[:, 2:-2:2], tokens[:, 1::2]
    for token, share in ((3, ignored), (1, (1 - ignored) / 2), (2, (1 - ignored) / 2)):
        assert (kinds == token).mean() == pytest.approx(share, abs=0.006)
    assert (bits[:, 0] == 5).mean() == pytest.approx(0.5, abs=0.1)
    assert (bits[:, 1:-1][kinds == 3] == 5).mean() == pytest.approx(0.5, abs=0.01)


def test_chance_and_baseline():
    task = FlipFlop(64)
    batch = sample(task, 0, 64, 4000)
    zeros = 9.0 * jax.nn.one_hot(np.full(batch.targets.shape, 4), task.outputs)
    assert task.score(zeros, batch) == pytest.approx(task.baseline[1], abs=0.02)


def test_test_sets_are_sparse_and_dense_too():
    splits = FlipFlop(64, examples=700).splits
    found = {name: (split.subset, split.examples) for name, split in splits.items()}
    tests = {"test": ("test", 700), "test_98": ("98", 700), "test_10": ("10", 700)}
    assert found == {"validation": ("test", 512), **tests}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"max_length": 5}, "task.max_length=5: must be an even number, 4 or more"),
        ({"max_length": 2}, "must be an even number, 4 or more"),
        ({"ignores": 1.1}, "task.ignores=1.1: must be a share, from 0 to 1"),
        ({"examples": 0}, "task.examples=0: must be 1 or more"),
    ],
)
def test_bad_input(fields: dict, said: str):
    with pytest.raises(ValueError, match=said):
        FlipFlop(**fields)
