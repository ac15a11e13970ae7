import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tasks.real.pixels import Pixels


def pixels(classes: int = 3, **sizes: int) -> Pixels:
    """Images that say which they are: image i of a subset is i + 1 everywhere, its label i mod `classes`."""
    sizes = {"train": 50, "validation": 6, "test": 20} | sizes
    inputs = {
        name: np.tile(np.arange(1, n + 1, dtype=np.float32)[:, None, None], (1, 9, 1)) for name, n in sizes.items()
    }
    return Pixels(inputs, {name: np.arange(n, dtype=np.int32) % classes for name, n in sizes.items()}, classes)


@pytest.mark.parametrize("subset", ["train", "validation", "test"])
@pytest.mark.parametrize("length", [1, 4, 9])
def test_a_batch_is_distinct_images_with_their_labels(subset: str, length: int):
    task = pixels()
    batch = task.sample(jax.random.key(length), 6, task.max_length, length, subset)
    images = np.asarray(batch.inputs)[:, 0, 0]
    assert len(set(images.tolist())) == 6
    np.testing.assert_array_equal(batch.inputs[..., 0], images[:, None] * (np.arange(9) < length))
    np.testing.assert_array_equal(batch.targets, (images - 1) % 3)
    cut = task.sample(jax.random.key(length), 6, length, length, subset)
    np.testing.assert_array_equal(cut.inputs, batch.inputs[:, :length])


def test_the_splits_are_their_whole_subsets():
    task = pixels()
    assert {name: split.examples for name, split in task.splits.items()} == {"validation": 6, "test": 20}
    for split in task.splits.values():
        batch = task.sample(jax.random.key(0), split.examples, split.length, split.length, split.subset)
        assert sorted(np.asarray(batch.inputs)[:, 0, 0].tolist()) == list(range(1, split.examples + 1))


def test_images_are_drawn_uniformly():
    task = pixels(train=5)
    draw = jax.jit(jax.vmap(lambda key: task.sample(key, 2, 9, 9).inputs[:, 0, 0]))
    drawn = np.asarray(draw(jax.random.split(jax.random.key(0), 4_000))).astype(int)
    np.testing.assert_allclose(np.bincount(drawn.ravel(), minlength=6)[1:] / 8_000, 0.2, atol=0.02)


def test_scores_of_a_solver_the_baseline_and_a_guess():
    task = pixels(train=52, test=3_000)  # 52 = 3 · 17 + 1: class 0 is the most frequent
    batch = task.sample(jax.random.key(0), 3_000, 9, 9, "test")
    solved = 99.0 * jax.nn.one_hot((np.asarray(batch.inputs)[:, 0, 0] - 1) % 3, 3)
    assert task.score(solved, batch) == 1
    assert task.loss(solved, batch) < 1e-5
    assert task.score(-solved, batch) == 0
    assert task.baseline == ("the most frequent class", pytest.approx(1 / 3))
    assert task.score(jnp.tile(jnp.array([1.0, 0, 0]), (3_000, 1)), batch) == pytest.approx(task.baseline[1])
    guess = jax.random.uniform(jax.random.key(1), (3_000, 3))
    assert task.score(guess, batch) == pytest.approx(task.chance, abs=0.03)


def test_the_baseline_learns_from_training_and_is_scored_on_the_test():
    labels = {
        "train": np.array([1, 1, 0], np.int32),
        "validation": np.array([0], np.int32),
        "test": np.array([0, 0, 0, 1], np.int32),
    }
    inputs = {name: np.zeros((len(label), 4, 1), np.float32) for name, label in labels.items()}
    assert Pixels(inputs, labels, 2).baseline[1] == 0.25


def test_bad_values():
    with pytest.raises(ValueError, match=r"^batch=7: the validation images are 6, so give that many or fewer$"):
        pixels().sample(jax.random.key(0), 7, 9, 9, "validation")
    with pytest.raises(ValueError, match=r"^max_length=10: an image has 9 steps, so give that or fewer$"):
        pixels().sample(jax.random.key(0), 2, 10, 9)
    with pytest.raises(ValueError, match=r"^task\.classes=1: must be 2 or more$"):
        pixels(classes=1)


def test_permuted_images_have_the_same_pixels_in_one_order_for_all():
    """And that order is the same in every subset and every process."""
    task = pixels()
    inputs = {
        name: np.tile(np.arange(9, dtype=np.float32)[None, :, None], (n, 1, 1))
        for name, n in (("train", 8), ("test", 5))
    }
    made = Pixels(inputs, {name: np.zeros(len(x), np.int32) for name, x in inputs.items()}, 3, permuted=True)
    train, test = (made.sample(jax.random.key(0), 5, 9, 9, name).inputs[..., 0] for name in ("train", "test"))
    np.testing.assert_array_equal(train, test)
    assert len({tuple(row.tolist()) for row in np.asarray(train)}) == 1
    assert sorted(train[0].tolist()) == list(range(9))
    assert train[0].tolist() == [4, 5, 2, 6, 3, 8, 7, 0, 1] != list(range(9))
    assert not task.permuted


def test_patches_are_squares_of_an_image():
    image = np.arange(36, dtype=np.float32).reshape(1, 36, 1)
    every = {name: np.tile(image, (4, 1, 1)) for name in ("train", "validation", "test")}
    task = Pixels(every, {name: np.zeros(4, np.int32) for name in every}, 2, patch=2)
    assert (task.max_length, task.channels) == (9, 4)
    batch = task.sample(jax.random.key(0), 2, 9, 9)
    square = image.reshape(6, 6)
    expected = [square[i : i + 2, j : j + 2].ravel() for i in (0, 2, 4) for j in (0, 2, 4)]
    np.testing.assert_array_equal(batch.inputs, [expected, expected])
    moved = Pixels(every, task.labels, 2, permuted=True, patch=2).sample(jax.random.key(0), 2, 9, 9)
    np.testing.assert_array_equal(np.asarray(moved.inputs)[0][np.argsort(moved.inputs[0, :, 0])], expected)
    with pytest.raises(ValueError, match=r"^task.patch=4: must divide the 6 pixels of an image's side, or be 1$"):
        Pixels(every, task.labels, 2, patch=4)


def test_whole_numbers_are_of_255():
    every = {name: np.full((4, 9, 1), 51, np.uint8) for name in ("train", "validation", "test")}
    batch = Pixels(every, {name: np.zeros(4, np.int32) for name in every}, 2).sample(jax.random.key(0), 2, 9, 9)
    np.testing.assert_allclose(batch.inputs, 0.2, rtol=1e-6)
