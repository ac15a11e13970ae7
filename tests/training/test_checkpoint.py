import logging
from pathlib import Path

import absl.logging
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import assert_same
from training import checkpoint
from training.trainer import TrainState


def ensemble_state(fill: float = 0.0) -> TrainState:
    """A state of two members with leaves of every kind, special numbers among them."""
    mesh = jax.sharding.Mesh(jax.devices()[:1], ("member",))
    numbers = jnp.array([[1.5, jnp.nan, jnp.inf, -0.0, 1e-40], [fill] * 5], jnp.float32)
    made = TrainState(
        step=jnp.array([3, 3]),
        seed=jnp.array([0, 2**31 - 1], jnp.uint32),
        learning_rate=jnp.array([1e-3, 3e-3]),
        params={"dense": {"kernel": numbers, "bias": numbers.astype(jnp.bfloat16)}},
        optimizer=((), {"mu": numbers}, [jnp.array([7, 7])]),
        best_params={"dense": {"kernel": numbers + 1}},
        best_scores={"test": jnp.array([jnp.nan, 0.25])},
        best_score=jnp.array([-jnp.inf, 0.5]),
        best_step=jnp.array([0, 3]),
        alive=jnp.array([True, False]),
        died_at=jnp.array([-1, 2]),
    )
    return jax.device_put(made, jax.NamedSharding(mesh, jax.P("member")))


def test_reading_says_nothing_of_its_own_and_hides_nothing_of_others(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    first = checkpoint.Checkpoints(tmp_path / "checkpoints")
    first.save(3, ensemble_state())
    first.wait_until_written()
    checkpoint.save_params(tmp_path / "params", {"a": jnp.ones(2)})
    caplog.clear()
    checkpoint.Checkpoints(tmp_path / "checkpoints", read_only=True).restore_numpy()
    checkpoint.load_params(tmp_path / "params")
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    with checkpoint.silence_orbax():
        absl.logging.warning("of another")
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == ["of another"]
    assert not logging.getLogger("absl").filters


def test_what_is_saved_is_restored_bit_for_bit_where_it_was(tmp_path: Path):
    saved = ensemble_state()
    first = checkpoint.Checkpoints(tmp_path / "checkpoints")
    assert first.latest_step() is None
    first.save(3, saved)
    first.wait_until_written()
    again = checkpoint.Checkpoints(tmp_path / "checkpoints")
    assert again.latest_step() == 3
    restored = again.restore(3, ensemble_state(9.0))
    assert_same(jax.device_get(restored), jax.device_get(saved))
    for ours, theirs in zip(jax.tree.leaves(restored), jax.tree.leaves(saved), strict=True):
        assert ours.sharding == theirs.sharding


def test_the_state_may_be_given_away_as_soon_as_save_returns(tmp_path: Path):
    saved = ensemble_state()
    expected = jax.device_get(saved)
    checkpoints = checkpoint.Checkpoints(tmp_path)
    checkpoints.save(5, saved)
    jax.tree.map(lambda leaf: leaf.delete(), saved)  # as donating it to the next call does
    checkpoints.wait_until_written()
    assert_same(jax.device_get(checkpoints.restore(5, ensemble_state())), expected)


def test_the_two_newest_are_kept_and_one_that_exists_is_left_alone(tmp_path: Path):
    checkpoints = checkpoint.Checkpoints(tmp_path)
    for step in (5, 10, 15):
        checkpoints.save(step, ensemble_state(step))
    checkpoints.save(15, ensemble_state(99))
    checkpoints.wait_until_written()
    checkpoints.close()
    assert sorted(int(path.name) for path in tmp_path.iterdir()) == [10, 15]
    for step in (10, 15):
        assert checkpoint.Checkpoints(tmp_path).restore_numpy(step)["params"]["dense"]["kernel"][1, 0] == step


def test_what_a_kill_left_unfinished_is_swept_away(tmp_path: Path):
    checkpoints = checkpoint.Checkpoints(tmp_path)
    checkpoints.save(5, ensemble_state())
    checkpoints.wait_until_written()
    (tmp_path / "10.orbax-checkpoint-tmp" / "default").mkdir(parents=True)
    again = checkpoint.Checkpoints(tmp_path)
    assert again.latest_step() == 5
    again.save(10, ensemble_state())
    again.wait_until_written()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["10", "5"]


def test_arrays_without_elements_come_back(tmp_path: Path):
    """As the past of a convolution of one tap, which Orbax refuses to write."""
    whole = ensemble_state()
    state = whole._replace(params={**whole.params, "past": [jnp.zeros((2, 0, 3)), jnp.ones(2)]})
    checkpoints = checkpoint.Checkpoints(tmp_path)
    checkpoints.save(5, state)
    checkpoints.wait_until_written()
    restored = checkpoints.restore(5, state)
    assert_same(jax.device_get(restored.params), jax.device_get(state.params))
    assert jax.tree.structure(restored) == jax.tree.structure(state)
    assert restored.params["past"][0].shape == (2, 0, 3)


def test_raw_is_plain_numpy_of_the_newest(tmp_path: Path):
    checkpoints = checkpoint.Checkpoints(tmp_path)
    with pytest.raises(ValueError, match="holds no checkpoint yet"):
        checkpoints.restore_numpy()
    for step in (5, 10):
        checkpoints.save(step, ensemble_state(step))
    checkpoints.wait_until_written()
    raw = checkpoints.restore_numpy()
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(raw))
    one = checkpoint.take_member(raw["params"], 1)
    assert_same(one, jax.device_get(jax.tree.map(lambda leaf: leaf[1], ensemble_state(10).params)))


def test_a_state_of_another_shape_is_refused_in_one_line(tmp_path: Path):
    checkpoints = checkpoint.Checkpoints(tmp_path)
    checkpoints.save(5, ensemble_state())
    checkpoints.wait_until_written()
    other = ensemble_state()._replace(params={"dense": {"kernel": jnp.zeros((2, 6)), "weight": jnp.zeros((2, 5))}})
    with pytest.raises(ValueError, match=r"checkpoint .*/5 can't be read \(.*\); delete that directory") as caught:
        checkpoints.restore(5, other)
    assert "\n" not in str(caught.value)


def test_params_are_read_back_as_they_were_written(tmp_path: Path):
    params = jax.tree.map(lambda leaf: leaf[0], ensemble_state().params)
    checkpoint.save_params(tmp_path / "params", params)
    read = checkpoint.load_params(tmp_path / "params")
    assert_same(jax.device_get(read), jax.device_get(params))
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(read))


def test_a_field_that_is_none_is_in_no_checkpoint_so_that_one_added_later_leaves_older_ones_readable(tmp_path: Path):
    state = ensemble_state()
    kept = checkpoint.Checkpoints(tmp_path)
    # As code wrote it whose train state had no further fields.
    older = {name: value for name, value in state._asdict().items() if value is not None}
    kept.manager.save(3, args=kept.ocp.args.StandardSave(older), force=True, custom_metadata={"run": "", "step": 3})
    kept.save(4, state)
    kept.wait_until_written()
    assert state.stream is None
    for step in (3, 4):
        assert_same(kept.restore(step, state), state)
        assert "stream" not in kept.restore_numpy(step)
