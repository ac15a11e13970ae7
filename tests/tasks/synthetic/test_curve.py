import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tasks.base import Batch
from tasks.synthetic.curve import Curve


@pytest.mark.parametrize("waves", [1, 3])
def test_no_straight_line_beats_the_mean(waves: int):
    """Against least squares over many points: variance 1, of which an affine function explains nothing."""
    task = Curve(waves)
    batch: Batch = jax.jit(lambda: task.sample(jax.random.key(0), 200_000, 1, 1))()
    x, y = np.asarray(batch.inputs[:, 0]), np.asarray(batch.targets[:, 0])
    assert y.mean() == pytest.approx(0, abs=0.01)
    assert y.var() == pytest.approx(1, abs=0.01)
    design = np.c_[x, np.ones(len(x))]
    line = design @ np.linalg.lstsq(design, y, rcond=None)[0]
    assert np.square(y - line).mean() == pytest.approx(task.baseline[1], abs=0.01)
    assert task.score(jnp.zeros((200_000, 1)), batch) == pytest.approx(task.chance, abs=0.01)


def test_a_solver_that_knows_the_curve_makes_no_error():
    task = Curve(2)
    batch = task.sample(jax.random.key(1), 64, 1, 1)
    x1, x2 = np.moveaxis(np.asarray(batch.inputs[:, 0]), -1, 0)
    answers = 2 * np.sin(2 * np.pi * x1) * np.cos(np.pi * x2)
    assert task.score(jnp.asarray(answers[:, None]), batch) < 1e-10
    assert task.loss(jnp.asarray(answers[:, None]) + 0.5, batch) == pytest.approx(0.25, rel=1e-4)
    assert np.abs(x1).max() <= 1


def test_bad_fields():
    with pytest.raises(ValueError, match=r"^task\.waves=0: must be 1 or more$"):
        Curve(waves=0)
