"""Parameters spread over devices: where they lie, which meshes fit, and the numbers and bytes on eight devices."""

import json
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.ops.spreading import MIN_SPREAD_SIZE, param_axis
from tests import QUICK_XLA_FLAGS, ROOT, assert_close, assert_same, tiny_config
from tests.training import refusal_line, test_carried_state, test_stream
from training import (
    builder,
    ensemble,
    estimates,
    files,
    loop,
    metrics,
    runtime,
    sharding,
    trainer,
    validation,
    workdir,
)

WIDE = {"model.width": 64, "training.batch_size": 8, "task.max_length": 16}
ENSEMBLE = {**WIDE, "ensemble.seeds": (0, 1), "ensemble.mode": "vmap"}


def fields_of_mesh(*mesh: int) -> dict[str, int]:
    return dict(zip(("mesh.ensemble", "mesh.batch", "mesh.params"), mesh, strict=True))


# ---- on eight devices, in a process of its own ----------------------------------------------------------------------


def measure_eight(root: Path) -> dict[str, Any]:
    """What the tests below are about, measured where there are eight devices."""
    from experiments.benchmarks import sharded

    found: dict[str, Any] = {}
    for mixer, fields, meshes in (("attention", WIDE, [(1, 1, 8)]), ("lstm", ENSEMBLE, [(2, 2, 2)])):
        runs = {
            mesh: sharded.Training(builder.build_run(tiny_config(mixer, {**fields, **fields_of_mesh(*mesh)})))
            for mesh in [(1, 1, 1), *meshes]
        }
        for mesh, training in runs.items():
            found[f"share of {mixer} on {mesh}"] = training.share_of_state()
            found[f"losses of {mixer} on {mesh}"] = training.train(2).tolist()
            leaves = jax.tree.leaves((training.states.params, training.states.optimizer))
            found[f"bytes of {mixer} on {mesh}"] = [
                sum(leaf.addressable_shards[0].data.nbytes for leaf in leaves), sum(leaf.nbytes for leaf in leaves)
            ]  # fmt: skip
    run = builder.build_run(tiny_config("attention", {**ENSEMBLE, **fields_of_mesh(2, 1, 4)}))
    plan = ensemble.plan_ensemble(run.config)
    mesh = ensemble.make_mesh(plan)
    spread, usual = ensemble.init_spread_ensemble(run, plan, mesh), ensemble.init_ensemble(run, plan, mesh)
    assert_close(spread, usual, 1e-6)
    assert [leaf.sharding for leaf in jax.tree.leaves(spread)] == [leaf.sharding for leaf in jax.tree.leaves(usual)]
    train_and_move(root)
    found |= carry_on_eight()
    streamed = {"model.width": 64, "training.batch_size": 8}
    on_meshes = [
        test_stream.final_states(test_stream.make_run(True, {**streamed, **fields_of_mesh(*mesh)}))
        for mesh in ((1, 1, 1), (1, 2, 4))
    ]
    test_stream.assert_close(*reversed(on_meshes))
    needed = ensemble.jit_spread_init(run, plan, mesh).lower(0, 1e-2).compile().memory_analysis()
    whole = sum(leaf.nbytes for leaf in jax.tree.leaves(usual)) // 2
    found["share of one member in its initialization"] = needed.output_size_in_bytes / whole
    found["share of one member beside it"] = needed.temp_size_in_bytes / whole
    return found


def train_and_move(root: Path) -> None:
    """Train on eight devices, and again from the last checkpoint but one on four of them, which must be allowed."""
    spread = {**WIDE, "training.steps": 20}
    at = root / "moved"
    config = tiny_config("attention", {**spread, **fields_of_mesh(1, 1, 8)})
    whole = loop.train(config, at, tensorboard=False, save_seconds=0)
    losses = [row["loss"] for row in metrics.read_metrics(at / "metrics.jsonl")]
    assert files.read_json(at / "group.json")["params"] == 8
    shutil.rmtree(at / "checkpoints" / "20")
    (at / "result.json").unlink()
    fewer = tiny_config("attention", {**spread, **fields_of_mesh(1, 1, 4)})
    with pytest.raises(ValueError, match="begun on a mesh of 1 × 1 × 8 devices"):
        loop.train(fewer, at, tensorboard=False)
    moved = loop.train(fewer, at, tensorboard=False, allow_fewer_devices=True)
    assert files.read_json(at / "group.json")["params"] == 4
    assert moved["key"] == whole["key"]
    np.testing.assert_allclose([row["loss"] for row in metrics.read_metrics(at / "metrics.jsonl")], losses, rtol=1e-5)


def carry_on_eight() -> dict[str, Any]:
    """A run whose state is carried from window to window, on one device, on eight, and begun on eight and moved."""
    from experiments.benchmarks import sharded

    def train_on(*mesh: int) -> sharded.Training:
        fields = {f"mesh__{name}": size for name, size in zip(("ensemble", "batch", "params"), mesh, strict=True)}
        task = test_carried_state.make_task(reset=True)
        run = test_carried_state.make_run("gru", task, model__width=64, training__batch_size=8, **fields)
        return sharded.Training(run)

    def evaluate(training: sharded.Training) -> dict[str, list[float]]:
        function = partial(trainer.evaluate_split, training.run, training.run.task.splits["test"])
        mapped = jax.jit(ensemble.map_over_ensemble(function, training.plan, training.mesh))
        return jax.tree.map(lambda score: score.tolist(), mapped(training.states, training.task, 0))

    alone, spread, fewer = train_on(1, 1, 1), train_on(1, 2, 4), train_on(1, 1, 4)
    losses = [training.train(sharded.CALLS).tolist() for training in (alone, spread)]
    for leaf in jax.tree.leaves(spread.states.stream):
        assert leaf.addressable_shards[0].data.shape == (1, 1, *leaf.shape[2:])  # one of eight rows
    scores = [evaluate(training) for training in (alone, spread)]
    losses.append(sharded.continue_elsewhere(spread, fewer).tolist())
    return {"losses of carried states": losses, "scores of carried states": scores}


CODE = """
import json, sys
from pathlib import Path
from tests.training.test_sharding import measure_eight
print(json.dumps(measure_eight(Path(sys.argv[1]))))
"""


@pytest.fixture(scope="module")
def eight(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    root = tmp_path_factory.mktemp("eight")
    flags = {"XLA_FLAGS": f"--{runtime.HOST_DEVICES_FLAG}=8 {QUICK_XLA_FLAGS}"}
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(root)], cwd=ROOT, env={**os.environ, **flags},
        capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("mixer", "mesh"), [("attention", (1, 1, 8)), ("lstm", (2, 2, 2))])
def test_spread_parameters_give_the_losses_of_one_device(eight: dict[str, Any], mixer: str, mesh: tuple[int, ...]):
    """The process of `eight` also trains from disk, and moves a run to fewer devices."""
    ours, alone = (eight[f"losses of {mixer} on {of}"] for of in (mesh, (1, 1, 1)))
    np.testing.assert_allclose(ours, alone, rtol=1e-5)


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_device_holds_an_eighth_of_parameters_and_optimizer_state(eight: dict[str, Any]):
    ours, whole = eight["bytes of attention on (1, 1, 8)"]
    assert ours <= 1.2 * whole / 8
    assert eight["share of attention on (1, 1, 8)"] <= 1.2 / 8  # by XLA's memory analysis of the compiled steps
    assert eight["share of attention on (1, 1, 1)"] == pytest.approx(1, abs=0.01)
    assert eight["share of lstm on (2, 2, 2)"] <= 1.2 / 4  # members over two devices, and parameters over two


@pytest.mark.long
@pytest.mark.timeout(300)
def test_carried_states_lie_with_their_rows_and_give_the_losses_and_scores_of_one_device(eight: dict[str, Any]):
    alone, spread, moved = eight["losses of carried states"]
    np.testing.assert_allclose(spread, alone, rtol=1e-5)
    np.testing.assert_allclose(moved, alone, rtol=1e-5)
    ours, theirs = eight["scores of carried states"]
    assert_close(theirs, ours)


@pytest.mark.long
@pytest.mark.timeout(300)
def test_no_device_makes_a_whole_member(eight: dict[str, Any]):
    assert eight["share of one member in its initialization"] <= 1.2 / 4
    assert eight["share of one member beside it"] <= 0.25


# ---- where arrays lie -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "axis"),
    [
        ((64, 256), 1),
        ((256, 64), 0),
        ((64, 64), 0),  # the first of equal ones
        ((27, 64), 1),  # the largest that eight divide
        ((4, 2048, 16), 1),
        ((2048,), 0),
        ((27, 63), None),
        ((64,), None),  # a small one
        ((), None),
    ],
)
def test_an_array_is_split_along_its_largest_axis_that_the_devices_divide(shape: tuple[int, ...], axis: int | None):
    assert param_axis(shape, 8) == axis
    assert param_axis(shape, 1) is None


def test_arrays_below_a_size_are_whole_everywhere():
    assert param_axis((MIN_SPREAD_SIZE,), 8) == 0
    assert param_axis((MIN_SPREAD_SIZE - 8,), 8) is None


# ---- which meshes fit -----------------------------------------------------------------------------------------------


@pytest.fixture
def eight_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that believes that it has eight devices, which are one CPU's."""
    jax.devices()  # makes the real ones, before XLA would read the flag
    monkeypatch.setattr(jax, "devices", lambda: list(range(8)))
    monkeypatch.setenv("XLA_FLAGS", f"--{runtime.HOST_DEVICES_FLAG}=8")


@pytest.mark.usefixtures("eight_devices")
@pytest.mark.parametrize(
    ("seeds", "asked", "mesh"),
    [
        (1, (0, 0, 0), (1, 8, 1)),
        (2, (0, 0, 2), (2, 2, 2)),
        (1, (0, 0, 8), (1, 1, 8)),
        (1, (0, 1, 4), (1, 1, 4)),
        (4, (2, 0, 4), (2, 1, 4)),
        (4, (1, 2, 0), (1, 2, 1)),
        (8, (0, 8, 0), (1, 8, 1)),
    ],
)
def test_what_a_config_leaves_open_is_filled_in(seeds: int, asked: tuple[int, ...], mesh: tuple[int, ...]):
    fields = {"ensemble.seeds": tuple(range(seeds)), "training.batch_size": 32, **fields_of_mesh(*asked)}
    assert sharding.fit_mesh(tiny_config(fields=fields), seeds) == mesh


@pytest.mark.usefixtures("eight_devices")
@pytest.mark.parametrize(
    ("asked", "batch", "message"),
    [
        ((0, 0, 16), 16, r"mesh.ensemble, .batch and .params: 1 × 1 × 16 are 16 devices, and this run has 8"),
        ((0, 2, 8), 16, r"1 × 2 × 8 are 16 devices, and this run has 8"),
        ((3, 0, 0), 12, r"mesh.ensemble=3: must divide the 2 members"),
        ((1, 1, 8), 12, r"mesh.batch=1 and mesh.params=8: 8 devices can't share 12 sequences evenly"),
    ],
)
def test_a_mesh_that_does_not_fit_is_refused_in_one_line(asked: tuple[int, ...], batch: int, message: str):
    fields = {"ensemble.seeds": (0, 1), "training.batch_size": batch, **fields_of_mesh(*asked)}
    with pytest.raises(ValueError, match=message) as error:
        ensemble.plan_ensemble(tiny_config(fields=fields))
    assert "\n" not in str(error.value)


@pytest.mark.usefixtures("eight_devices")
def test_devices_share_the_part_of_a_batch_that_goes_through_at_once():
    fields = {"training.batch_size": 16, "training.accumulate_steps": 4, **fields_of_mesh(1, 1, 8)}
    with pytest.raises(
        ValueError, match=r"8 devices can't share 4 sequences evenly; give a mesh whose product divides"
    ):
        ensemble.plan_ensemble(tiny_config(fields=fields))


def test_a_run_on_too_few_devices_ends_before_anything_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    line = refusal_line(tiny_config(fields={"mesh.params": 4, **WIDE}), tmp_path / "run", capsys)
    assert "1 × 1 × 4 are 4 devices, and this run has 1; XLA_FLAGS=--xla_force_host_platform_device_count=4" in line
    assert not (tmp_path / "run" / "group.json").exists()


@pytest.mark.parametrize("value", [-1, True, 1.5])
def test_a_mesh_is_of_numbers_of_devices(value: Any):
    config = tiny_config().to_dict()
    config["mesh"]["params"] = value
    with pytest.raises(ValueError, match=r"mesh.params=.*: must be a number of devices, or 0 to leave it open"):
        validation.validate_config(config)


# ---- keys and files -------------------------------------------------------------------------------------------------


def test_the_mesh_is_in_no_key_and_whole_parameters_in_no_group_file():
    config, spread = tiny_config().to_dict(), tiny_config(fields={"mesh.params": 8, "mesh.batch": 1}).to_dict()
    assert builder.run_fingerprint(config) == builder.run_fingerprint(spread)
    del config["mesh"]  # as in a config.json of older code
    assert builder.run_fingerprint(config) == builder.run_fingerprint(spread)
    plan = ensemble.EnsemblePlan("map", 1, (0,), (1e-2,), 2)
    assert set(ensemble.plan_to_json(plan)) == {"mode", "devices", "seeds", "learning_rates", "shards"}
    spread_plan = plan._replace(params=4)
    assert workdir.plan_from_json(ensemble.plan_to_json(spread_plan)) == spread_plan
    assert workdir.plan_from_json(ensemble.plan_to_json(plan)) == plan


@pytest.mark.usefixtures("eight_devices")
def test_a_run_keeps_its_mesh_unless_told_otherwise(tmp_path: Path):
    run = builder.build_run(tiny_config(fields={**WIDE, "mesh.params": 8}))
    begun = ensemble.EnsemblePlan("map", 1, (0,), (1e-2,), 1, params=8)
    files.write_json(tmp_path / "group.json", ensemble.plan_to_json(begun))
    assert workdir.restore_plan(tmp_path, run, allow_fewer_devices=False) == begun
    without = builder.build_run(tiny_config(fields=WIDE))
    assert workdir.restore_plan(tmp_path, without, allow_fewer_devices=False) == begun
    other = builder.build_run(tiny_config(fields={**WIDE, "mesh.params": 4, "mesh.batch": 2}))
    with pytest.raises(ValueError, match=r"begun on a mesh of 1 × 1 × 8 .* the config's is 1 × 2 × 4; leave out"):
        workdir.restore_plan(tmp_path, other, allow_fewer_devices=False)


# ---- memory and precision -------------------------------------------------------------------------------------------


def run_loss_and_gradient(run: builder.Run) -> Any:
    params = trainer.init_params(run, jnp.uint32(0))
    batch = trainer.sample_longest(run.task, 4)
    return jax.jit(jax.value_and_grad(lambda p: run.task.loss(trainer.apply_model(run, p, batch), batch)))(params)


def assert_same_but_rounding(ours: Any, theirs: Any) -> None:
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)  # the gradient of a bias of keys is 0


@pytest.mark.parametrize("mixer", ["attention", "gru"])
def test_a_block_computed_again_gives_the_same_numbers(mixer: str):
    kept, again = (builder.build_run(tiny_config(mixer, {"model.remat": remat})) for remat in (False, True))
    assert_same_but_rounding(run_loss_and_gradient(again), run_loss_and_gradient(kept))
    assert_same(trainer.init_params(again, jnp.uint32(0)), trainer.init_params(kept, jnp.uint32(0)))


def test_blocks_around_a_bridge_are_computed_again_too():
    from configs import translation

    numbers = []
    for remat in (False, True):
        config: Any = translation.get_config("gru")
        config.model.update(width=8, remat=remat)
        config.training.batch_size = 4
        run = builder.build_run(config)
        numbers.append(run_loss_and_gradient(run))
        params = jax.eval_shape(lambda r=run: trainer.init_params(r, jnp.uint32(0)))
        numbers.append(estimates.count_activation_bytes(run, params, 4))
    assert_same_but_rounding(numbers[2], numbers[0])
    assert numbers[3] < numbers[1]


@pytest.mark.parametrize("mixer", ["attention", "lstm"])
def test_products_in_bfloat16_leave_parameters_optimizer_and_losses_in_float32(mixer: str):
    run = builder.build_run(tiny_config(mixer, {"model.dtype": "bfloat16"}))
    state = jax.eval_shape(lambda: trainer.init_train_state(run, 0, 1e-2))
    after, metrics = jax.eval_shape(lambda s: trainer.train_step(run, run.task, s), state)
    for leaf in jax.tree.leaves((state.params, state.optimizer, after.params, after.optimizer, metrics)):
        assert leaf.dtype in (jnp.float32, jnp.int32)
    batch = trainer.sample_longest(run.task, 4)
    jaxpr = str(jax.make_jaxpr(lambda p: trainer.apply_model(run, p, batch))(state.params))
    assert "bf16" in jaxpr
    losses = jax.make_jaxpr(lambda p: run.task.loss(trainer.apply_model(run, p, batch), batch))(state.params)
    exponentials = [
        line for line in str(losses).splitlines() if " = exp" in line or " = log" in line or "reduce_max" in line
    ]
    assert exponentials
    assert not [line for line in exponentials if ":bf16" in line]
