"""Schedules of the learning rate: each equals optax's own where it has one."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests import tiny_config
from training import optimizer

STEPS = 40


def rates(schedule: str, warmup_steps: int, **fields: Any) -> np.ndarray:
    """The factor at every step of 40."""
    changed = {"optimizer.schedule": schedule, "optimizer.warmup_steps": warmup_steps, "training.steps": STEPS}
    config = tiny_config(fields={**changed, **{f"optimizer.{name}": value for name, value in fields.items()}}).to_dict()
    return np.asarray(optimizer.learning_rate_schedule(config, jnp.arange(STEPS)))


def warmed_up(after: optax.Schedule, warmup_steps: int) -> np.ndarray:
    """optax's `after`, which begins with step 0, behind optax's linear rise to 1."""
    if warmup_steps:
        rising = optax.linear_schedule(1 / warmup_steps, 1, max(warmup_steps - 1, 1))
        after = optax.join_schedules([rising, after], [warmup_steps])
    return np.asarray(after(jnp.arange(STEPS)))


@pytest.mark.parametrize("warmup_steps", [0, 1, 10])
@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant", "wsd"])
def test_a_schedule_is_optaxs_behind_a_linear_warm_up(schedule: str, warmup_steps: int):
    left = STEPS - warmup_steps
    stable = optax.join_schedules([optax.constant_schedule(1), optax.linear_schedule(1, 0, 10)], [left - 10])
    expected = {
        "cosine": optax.cosine_decay_schedule(1, left),
        "linear": optax.linear_schedule(1, 0, left),
        "constant": optax.constant_schedule(1),
        "wsd": stable,
    }
    ours = rates(schedule, warmup_steps, decay_share=0.25)
    np.testing.assert_allclose(ours, warmed_up(expected[schedule], warmup_steps), atol=1e-6)


def test_the_inverse_square_root_goes_on_from_the_warm_up():
    """Vaswani et al. 2017, §5.3: min(t^−½, t·w^−1.5), here with its peak at 1."""
    count = np.arange(1, STEPS + 1)
    np.testing.assert_allclose(
        rates("inverse_sqrt", 10), np.minimum(count**-0.5, count * 10**-1.5) * 10**0.5, rtol=1e-6
    )
    np.testing.assert_allclose(rates("inverse_sqrt", 0), count**-0.5, rtol=1e-6)


@pytest.mark.parametrize("schedule", optimizer.SCHEDULES)
def test_a_schedule_is_never_above_one_nor_below_zero(schedule: str):
    for warmup_steps in (0, 1, 10):
        ours = rates(schedule, warmup_steps)
        assert ours.max() == 1
        assert ours.min() > 0
        assert ours[max(warmup_steps - 1, 0)] == 1


def test_a_warm_up_longer_than_the_run_only_rises():
    for schedule in ("cosine", "linear", "constant", "inverse_sqrt"):
        np.testing.assert_allclose(rates(schedule, 100), np.arange(1, STEPS + 1) / 100, rtol=1e-6)


def test_wsd_is_at_its_peak_until_its_last_share():
    ours = rates("wsd", 4, decay_share=0.5)
    assert (ours[3:21] == 1).all()
    assert (np.diff(ours[20:]) < 0).all()
    assert ours[-1] == pytest.approx(1 / 20)
    assert (rates("wsd", 4, decay_share=0.0)[3:] == 1).all()  # of the last step at the most
