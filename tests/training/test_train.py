import json
import shutil
import struct
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from tensorboardX.proto import event_pb2

import configs
import data
import tasks
import train
from data import SPLITS
from tasks import Pixels
from tests import (
    ForkedProgram,
    assert_close,
    assert_same,
    read_checkpoint,
    start_training,
    tiny_config,
    tiny_flags,
)
from training import builder, ensemble, export, files, loop, trainer
from training import metrics as metrics_module
from training.result import RunResult

SEEDS, RATES = (0, 1), (1e-2, 3e-3)
FOUR: dict[str, Any] = {"ensemble.seeds": SEEDS, "ensemble.learning_rates": RATES, "ensemble.mode": "map"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunResult]:
    """Four replicas, one after another on one device: the workdir, which is not to be written to, and the result."""
    workdir = tmp_path_factory.mktemp("finished") / "run"
    return workdir, loop.train(tiny_config(fields=FOUR), workdir)


def rows(workdir: Path, split: str) -> list[dict]:
    return [row for row in metrics_module.read_metrics(workdir / "metrics.jsonl") if row["split"] == split]


def bare_state(run: builder.Run, seed: int = 0, step: int = 0) -> trainer.TrainState:
    """A replica for where no model is asked, with next to no parameters."""
    params = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}
    empty = trainer.TrainState(*[jnp.zeros(())] * len(trainer.TrainState._fields))
    return empty._replace(
        step=jnp.int32(step), seed=jnp.uint32(seed), learning_rate=jnp.float32(0.1), params=params,
        optimizer=run.optimizer.init(params), alive=jnp.bool_(True), died_at=jnp.int32(-1),
    )  # fmt: skip


def record_batches(monkeypatch: pytest.MonkeyPatch) -> list[tasks.Batch]:
    """From here on no model is asked, outputs are zeros, and the batches that it would have seen are put here."""
    seen: list[tasks.Batch] = []

    def apply(run: builder.Run, params: Any, batch: tasks.Batch, rng: Any = None) -> jax.Array:
        jax.debug.callback(seen.append, batch, ordered=True)
        return jnp.zeros((*batch.targets.shape, run.task.outputs))

    monkeypatch.setattr(trainer, "apply_model", apply)
    return seen


def score(run: builder.Run, replica: trainer.TrainState, split: str) -> dict[str, jax.Array]:
    program = jax.jit(partial(trainer.evaluate_split, run, run.task.splits[split]))
    return program(replica, run.task, trainer.split_seed(split))


# ---- what a run leaves ----------------------------------------------------------------------------------------------


def test_the_files_say_what_ran_and_where(finished: tuple[Path, RunResult]):
    workdir, _ = finished
    config = files.read_json(workdir / "config.json")
    assert config["model"]["hidden_size"] == 10  # was 0: as many parameters as attention
    assert config["model"]["max_length"] == 8  # was 0: the task's
    assert config["versions"] == {"mixer": 1, "task": tasks.TASKS["recall"].VERSION, "loop": builder.VERSION}
    assert config["task"] == {"name": "recall", "pairs": 2, "symbols": 16, "max_length": 8}
    assert config["ensemble"] == {"seeds": [0, 1], "learning_rates": [1e-2, 3e-3], "mode": "map"}

    (environment,) = files.read_json(workdir / "environment.json")
    assert environment["packages"]["jax"] == jax.__version__
    assert environment["device"] == {"platform": "cpu", "kind": "cpu", "count": 1}
    assert len(environment["revision"]) == 40 or environment["revision"] == "unknown"

    group = files.read_json(workdir / "group.json")
    pairs = list(zip(group["seeds"], group["learning_rates"], strict=True))
    assert pairs == [(0, 1e-2), (1, 1e-2), (0, 3e-3), (1, 3e-3)]
    assert (group["mode"], group["devices"]) == ("map", 1)


def test_the_metrics_have_a_row_a_call_and_a_row_a_split_and_the_loss_falls(finished: tuple[Path, RunResult]):
    workdir, _ = finished
    written = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in written if row["split"] == "train"] == [5, 10, 15, 20, 25, 30, 35, 40]
    for split in ("validation", "test"):
        assert [row["step"] for row in written if row["split"] == split] == [10, 20, 30, 40]
    for row in written:
        assert len(row["loss"]) == len(row["accuracy"]) == 4
        assert row["seconds"] > 0
        assert ("gradient_norm" in row) == (row["split"] == "train")
    first, last = (np.array(rows(workdir, "validation")[at]["loss"][:2]) for at in (0, -1))
    assert (last < first - 0.1).all()
    assert (first < np.log(16) + 1).all()


def test_the_result_has_a_row_a_replica_in_order(finished: tuple[Path, RunResult]):
    workdir, result = finished
    assert result == files.read_json(workdir / "result.json")
    assert (result["status"], result["steps"], result["metric"], result["best"]) == ("finished", 40, "accuracy", "max")
    assert (result["chance"], result["baseline"]) == (1 / 8, ["any value seen in the sequence", 0.5])
    assert result["key"] == files.fingerprint(builder.fingerprint_fields(files.read_json(workdir / "config.json")))
    written = metrics_module.read_metrics(workdir / "metrics.jsonl")
    assert result["seconds"] == pytest.approx(sum(r["seconds"] + r.get("compile_seconds", 0) for r in written))
    assert result["training_seconds"] == pytest.approx(sum(r["seconds"] for r in written if r["split"] == "train"))
    assert [(m["seed"], m["learning_rate"]) for m in result["members"]] == [(s, r) for r in RATES for s in SEEDS]
    params = jax.tree.leaves(read_checkpoint(workdir)["params"])
    assert result["cost"]["parameters"] == sum(leaf[0].size for leaf in params)
    assert all(result["cost"][name] > 0 for name in ("mixer_parameters", "state_floats", "step_flops"))

    validation, test = rows(workdir, "validation"), rows(workdir, "test")
    for index, member in enumerate(result["members"]):
        scores = [row["accuracy"][index] for row in validation]
        at = int(np.flatnonzero(np.equal(scores, max(scores)))[-1])  # the last of the best
        assert member["best_step"] == validation[at]["step"]
        assert member["validation"] == pytest.approx(scores[at])
        assert member["test"] == pytest.approx(test[at]["accuracy"][index])
        assert member["died_at"] is None


def test_tensorboard_has_a_run_for_each_replica_and_a_tag_for_each_split_and_metric(finished: tuple[Path, RunResult]):
    workdir, _ = finished
    names = ["seed0-rate0.01", "seed1-rate0.01", "seed0-rate0.003", "seed1-rate0.003"]
    assert {path.name for path in (workdir / "tensorboard").iterdir()} == set(names)
    event: Any = getattr(event_pb2, "Event")  # noqa: B009
    metrics = metrics_module.read_metrics(workdir / "metrics.jsonl")
    for index, name in enumerate(names):
        (file,) = (workdir / "tensorboard" / name).iterdir()
        data, events = file.read_bytes(), []
        while data:  # length, its checksum, the event, its checksum
            (length,) = struct.unpack("<Q", data[:8])
            events.append(event.FromString(data[12 : 12 + length]))
            data = data[16 + length :]
        curves = {(v.tag, e.step): v.simple_value for e in events for v in e.summary.value}
        assert {tag for tag, _ in curves} == {
            "train/loss", "train/accuracy", "train/gradient_norm", *(
                f"{split}/{metric}" for split in ("validation", "test") for metric in ("loss", "accuracy"))
        }  # fmt: skip
        for row in metrics:
            for value in ("loss", "accuracy"):
                np.testing.assert_allclose(curves[f"{row['split']}/{value}", row["step"]], row[value][index], rtol=1e-6)


def test_the_same_command_again_returns_the_result_and_trains_nothing(
    finished: tuple[Path, RunResult], monkeypatch: pytest.MonkeyPatch
):
    workdir, result = finished
    before = {path: path.stat().st_mtime_ns for path in workdir.rglob("*")}
    monkeypatch.delattr(loop, "init_ensemble")
    assert loop.train(tiny_config(fields=FOUR), workdir) == result
    assert {path: path.stat().st_mtime_ns for path in workdir.rglob("*")} == before


# ---- members ------------------------------------------------------------------------------------------------------


def test_a_member_of_an_ensemble_is_the_one_trained_alone_even_in_a_thread(
    finished: tuple[Path, RunResult], tmp_path: Path
):
    """Optuna's jobs and web apps train in threads; no signal is caught there."""
    workdir, result = finished
    config = tiny_config(fields={"ensemble.seeds": (1,), "optimizer.learning_rate": 3e-3})
    with ThreadPoolExecutor(1) as pool:
        alone = pool.submit(loop.train, config, tmp_path, tensorboard=False).result()
    assert alone["members"] == result["members"][3:]
    assert_close(read_checkpoint(tmp_path), jax.tree.map(lambda leaf: leaf[3:], read_checkpoint(workdir)))


def test_side_by_side_is_one_after_another(finished: tuple[Path, RunResult], tmp_path: Path):
    workdir, result = finished
    vmapped = loop.train(tiny_config(fields={**FOUR, "ensemble.mode": "vmap"}), tmp_path, tensorboard=False)
    assert files.read_json(tmp_path / "group.json")["mode"] == "vmap"
    assert vmapped["members"] == result["members"]
    assert_close(read_checkpoint(tmp_path)["params"], read_checkpoint(workdir)["params"])


@pytest.fixture(scope="module")
def on_four_devices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workdir of `finished`, trained in a process with four devices."""
    workdir = tmp_path_factory.mktemp("devices") / "run"
    process = start_training(*tiny_flags(fields=FOUR), f"--workdir={workdir}", "--notensorboard", devices=4)
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    return workdir


def test_four_devices_are_one_device(finished: tuple[Path, RunResult], on_four_devices: Path):
    workdir, result = finished
    assert files.read_json(on_four_devices / "group.json")["devices"] == 4
    assert files.read_json(on_four_devices / "result.json")["members"] == result["members"]
    assert_close(read_checkpoint(on_four_devices)["params"], read_checkpoint(workdir)["params"])


def test_what_is_exported_from_four_devices_is_read_on_one(on_four_devices: Path, tmp_path: Path):
    export.export_member(on_four_devices, tmp_path / "best", 1, "best")
    run, params = export.load_exported(tmp_path / "best")
    outputs, _ = run.model.apply({"params": params}, jnp.zeros((1, 8), jnp.int32))
    assert np.isfinite(outputs).all()


def test_seeds_differ_and_what_is_varied_beside_them_shares_their_start(
    finished: tuple[Path, RunResult], tmp_path: Path
):
    run = builder.build_run(tiny_config(fields=FOUR))
    group = ensemble.plan_ensemble(run.config)
    begun = ensemble.init_ensemble(run, group, jax.sharding.Mesh(jax.devices()[:1], ("member",)))
    embedding = np.asarray(begun.params["embed"]["embedding"])
    assert np.abs(embedding[0] - embedding[1]).max() > 0.1
    np.testing.assert_array_equal(embedding[:2], embedding[2:])  # the same seeds at the other learning rate
    np.testing.assert_array_equal(begun.seed, [0, 1, 0, 1])
    np.testing.assert_array_equal(begun.learning_rate, np.array([1e-2, 1e-2, 3e-3, 3e-3], np.float32))
    for index in range(4):
        one = jax.jit(partial(trainer.init_train_state, run))(group.seeds[index], group.learning_rates[index])
        assert_same(jax.tree.map(lambda leaf, i=index: leaf[i], jax.device_get(begun)), jax.device_get(one))


def test_a_replica_that_diverges_stops_alone(finished: tuple[Path, RunResult], tmp_path: Path):
    workdir, whole = finished
    fields = {"ensemble.seeds": (0,), "ensemble.learning_rates": (1e-2, 1e30)}
    result = loop.train(tiny_config(fields=fields), tmp_path, tensorboard=False, save_seconds=0)
    assert result["status"] == "finished"
    sane, dead = result["members"]
    assert sane == whole["members"][0]
    assert dead["died_at"] in range(5)
    before, after = read_checkpoint(tmp_path, 35), read_checkpoint(tmp_path, 40)
    assert after["alive"].tolist() == [True, False]
    assert after["died_at"].tolist() == [-1, dead["died_at"]]
    assert after["step"].tolist() == [40, 40]
    for part in ("params", "optimizer", "best_params"):
        frozen = jax.tree.map(lambda leaf: leaf[1], after[part])
        assert_same(frozen, jax.tree.map(lambda leaf: leaf[1], before[part]))
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(frozen))
    assert_close(*(jax.tree.map(lambda leaf: leaf[0], read_checkpoint(at)["params"]) for at in (tmp_path, workdir)))
    # Its rows go on, and say what its frozen parameters measure; null where that is not finite.
    assert all(len(row["loss"]) == 2 for row in metrics_module.read_metrics(tmp_path / "metrics.jsonl"))
    assert rows(tmp_path, "train")[0]["loss"][1] is None


def test_a_run_whose_replicas_all_diverge_ends_early(tmp_path: Path):
    fields = {"ensemble.seeds": (0, 1), "optimizer.learning_rate": 1e30}
    config = tiny_config(fields=fields)
    result = loop.train(config, tmp_path, tensorboard=False)
    assert (result["status"], result["steps"]) == ("diverged", 5)
    assert all(member["died_at"] in range(5) and member["test"] is None for member in result["members"])
    # Killed after its last checkpoint, it takes no further step either.
    (tmp_path / "result.json").unlink()
    assert loop.train(config, tmp_path, tensorboard=False) == result


# ---- steps, batches, schedule ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("best", ["max", "min"])
def test_the_best_parameters_are_those_of_the_best_validation_score(best: str):
    run: Any = type("Run", (), {"task": type("Task", (), {"best": best})})
    validation = [0.3, 0.7, float("nan"), 0.7, 0.1, 0.1, 0.2, 0.9, 0.0]
    worst = jnp.float32(-np.inf if best == "max" else np.inf)
    nothing = trainer.TrainState(*[jnp.zeros(())] * len(trainer.TrainState._fields))
    unknown = {"validation": jnp.float32(np.nan), "test": jnp.float32(np.nan)}
    replica = nothing._replace(best_score=worst, best_scores=unknown, best_step=jnp.int32(0))
    for index, score in enumerate(validation):
        alive = jnp.bool_(index < 7)
        now = replica._replace(params=jnp.float32(index), step=jnp.int32(10 * index), alive=alive)
        replica = trainer.keep_best(run, now, {"validation": jnp.float32(score), "test": jnp.float32(index / 10)})
    expected = 3 if best == "max" else 5  # the later of two that are equal; what diverged is past counting
    assert (replica.best_params, replica.best_step, replica.best_score) == (
        expected,
        10 * expected,
        np.float32(validation[expected]),
    )
    scores = {"validation": np.float32(validation[expected]), "test": np.float32(expected / 10)}
    assert replica.best_scores == scores


def test_the_batch_depends_on_seed_and_step_alone(monkeypatch: pytest.MonkeyPatch):
    seen = record_batches(monkeypatch)
    for mixer, at in [("rnn", [(3, 7), (3, 8), (4, 7)]), ("attention", [(3, 7)])]:
        run = builder.build_run(tiny_config(mixer))
        step = jax.jit(partial(trainer.train_step, run))
        for seed, done in at:
            step(run.task, bare_state(run, seed, done))
            jax.effects_barrier()
    first, other_step, other_seed, other_mixer = (np.asarray(batch.inputs) for batch in seen)
    np.testing.assert_array_equal(first, other_mixer)
    assert (first != other_step).any()
    assert (first != other_seed).any()


@pytest.mark.parametrize(
    ("fields", "draws"), [({}, False), ({"model.dropout": 0.1}, True), ({"model.positions": "randomised"}, True)]
)
def test_what_is_drawn_in_training_gets_a_key(monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], draws: bool):
    told = []

    def apply(run: builder.Run, params: Any, batch: tasks.Batch, rng: Any = None) -> jax.Array:
        told.append(rng is not None)
        return jnp.zeros((*batch.targets.shape, run.task.outputs))

    monkeypatch.setattr(trainer, "apply_model", apply)
    run = builder.build_run(tiny_config("attention", fields=fields))
    jax.eval_shape(partial(trainer.train_step, run), run.task, bare_state(run))
    assert set(told) == {draws}


def test_lengths_are_drawn_from_shortest_to_the_tasks(monkeypatch: pytest.MonkeyPatch):
    seen = record_batches(monkeypatch)
    run = builder.build_run(
        tiny_config(
            fields={
                "training.min_length": 4,
                "training.steps_per_call": 200,
                "training.steps": 200,
                "training.eval_every": 200,
            }
        )
    )
    jax.jit(partial(trainer.train_steps, run))(bare_state(run), run.task)
    jax.effects_barrier()
    lengths = Counter(int(np.asarray(batch.segments).sum(axis=1).max()) for batch in seen)
    assert set(lengths) == {4, 5, 6, 7, 8}
    assert min(lengths.values()) > 20
    assert all(len(set(np.asarray(batch.segments).sum(axis=1))) == 1 for batch in seen)


def test_evaluation_sees_the_same_sequences_whatever_the_model_and_seed(monkeypatch: pytest.MonkeyPatch):
    seen = record_batches(monkeypatch)
    for mixer, seed, split in [("rnn", 0, "test"), ("attention", 5, "test"), ("rnn", 0, "validation")]:
        run = builder.build_run(tiny_config(mixer))
        score(run, bare_state(run, seed), split)
        jax.effects_barrier()
    first, again, other = (np.asarray(batch.inputs) for batch in seen)
    assert first.shape == (512, 8)
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_evaluation_in_several_calls_is_one_of_the_whole_split(monkeypatch: pytest.MonkeyPatch):
    run = builder.build_run(tiny_config("attention"))
    replica = jax.jit(partial(trainer.init_train_state, run))(0, 0.1)
    whole = score(run, replica, "test")
    monkeypatch.setattr(
        trainer, "EVAL_BATCH_SIZE", 200
    )  # 512 sequences are then 3 calls of 171, the last with one to spare
    assert_close(score(run, replica, "test"), whole, within=1e-6)


def test_every_image_of_a_finite_split_is_evaluated_once(monkeypatch: pytest.MonkeyPatch):
    labels = np.arange(50, dtype=np.int32)
    images = {split: np.broadcast_to(labels[:, None, None], (50, 4, 1)).astype(np.float32) for split in SPLITS}
    task = Pixels(images, dict.fromkeys(SPLITS, labels), classes=50)
    run = builder.build_run(tiny_config())._replace(task=task)
    monkeypatch.setattr(trainer, "EVAL_BATCH_SIZE", 16)
    seen = []

    def outputs(run, params, batch, rng=None):
        jax.debug.callback(
            lambda inputs, segments: seen.append(inputs[segments[:, 0] > 0]), batch.inputs, batch.segments
        )
        return jax.nn.one_hot(batch.inputs[:, 0, 0], 50)  # an image says what it is: all are right

    monkeypatch.setattr(trainer, "apply_model", outputs)
    assert float(score(run, bare_state(builder.build_run(tiny_config())), "test")["score"]) == 1
    jax.effects_barrier()
    assert sorted(np.concatenate(seen)[:, 0, 0]) == labels.tolist()


def test_the_schedule_rises_to_one_and_falls_to_nothing():
    config = tiny_config(fields={"optimizer.warmup_steps": 10, "training.steps": 40})
    rates = np.array([trainer.learning_rate_schedule(config, step) for step in jnp.arange(40)])
    np.testing.assert_allclose(rates[:10], np.arange(1, 11) / 10, rtol=1e-6)
    assert rates[10] == 1
    assert (np.diff(rates[10:]) < 0).all()
    assert 0 < rates[39] < 0.01
    assert trainer.learning_rate_schedule(tiny_config(fields={"optimizer.warmup_steps": 0}), jnp.int32(0)) == 1


def test_weight_decay_is_for_matrices_alone(monkeypatch: pytest.MonkeyPatch):
    record_batches(monkeypatch)  # no gradient: whatever moves is moved by the decay
    run = builder.build_run(tiny_config(fields={"optimizer.weight_decay": 0.5, "optimizer.warmup_steps": 0}))
    before = bare_state(run)  # its learning rate is 0.1
    after, _ = jax.jit(partial(trainer.train_step, run))(run.task, before)
    shrunk = jax.tree.map(lambda leaf: leaf * (1 - 0.1 * 0.5) if leaf.ndim > 1 else leaf, before.params)
    assert {leaf.ndim for leaf in jax.tree.leaves(shrunk)} == {1, 2}
    assert_close(after.params, shrunk, within=1e-6)


@pytest.mark.parametrize("mixer", ["s4d", "s6", "rglru", "lru", "lstm"])
def test_weight_decay_leaves_the_rates_of_a_state_alone(mixer: str):
    """What fades and turns a state is no product, whatever the shape it is kept in."""
    run = builder.build_run(tiny_config(mixer))
    params = jax.eval_shape(partial(trainer.init_params, run), jnp.uint32(0))["mixer_0"]
    spared = {path[0].key for path, on in jax.tree.leaves_with_path(builder.weight_decay_mask(params)) if not on}
    rates = {"s4d": {"log_step", "log_rates", "turning_rates"}, "s6": {"log_rates"}, "rglru": {"decay"}}
    rates["lru"] = {"decay", "phase"}
    assert rates.get(mixer, set()) <= spared
    assert all(builder.weight_decay_mask(params)[name]["kernel"] for name in ("input", "output"))


def test_a_field_added_later_leaves_keys_as_they_are_and_a_changed_one_does_not(monkeypatch: pytest.MonkeyPatch):
    config = builder.build_run(tiny_config()).config
    before = builder.fingerprint_fields(config)
    base = configs.base

    def later(mixer: str) -> Any:
        made: Any = base(mixer)
        made.model.invented = 7
        return made

    monkeypatch.setattr(configs, "base", later)
    assert builder.fingerprint_fields(config) == before  # one that was recorded before the field was there
    extended = {**config, "model": {**config["model"], "invented": 7}}
    assert builder.fingerprint_fields(extended) == before
    assert builder.fingerprint_fields({**config, "model": {**config["model"], "invented": 8}}) != before
    assert builder.fingerprint_fields(builder.build_run(tiny_config("gru")).config) != before
    assert before["model.mixer"] == "rnn"
    assert before["versions.loop"] == builder.VERSION


# ---- export, real data ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("index", [0, 3])
def test_an_exported_replica_scores_what_was_logged(finished: tuple[Path, RunResult], tmp_path: Path, index: int):
    workdir, result = finished
    member = result["members"][index]
    export.export_member(workdir, tmp_path / "best", index, "best")
    run, params = export.load_exported(tmp_path / "best")
    replica = trainer.init_train_state(run, member["seed"], member["learning_rate"])._replace(params=params)
    for split in ("validation", "test"):
        scored = score(run, replica, split)
        assert float(scored["score"]) == pytest.approx(member[split], abs=1e-6)
    assert run.config["ensemble"]["seeds"] == [member["seed"]]
    assert run.config["ensemble"]["learning_rates"] == [member["learning_rate"]]


def test_a_run_is_loaded_where_it_lies_as_it_would_be_exported(finished: tuple[Path, RunResult], tmp_path: Path):
    export.export_member(finished[0], tmp_path / "best", 2, "best")
    (ours, params), (theirs, exported) = export.load(finished[0], member=2), export.load(tmp_path / "best")
    assert_same(jax.device_get(params), jax.device_get(exported))
    assert files.to_jsonable(ours.config) == files.to_jsonable(theirs.config)


def test_an_export_leaves_a_half_written_checkpoint_alone(finished: tuple[Path, RunResult], tmp_path: Path):
    workdir = shutil.copytree(finished[0], tmp_path / "run")
    half = workdir / "checkpoints" / "99.orbax-checkpoint-tmp"
    half.mkdir()
    export.export_member(workdir, tmp_path / "best", 0, "best")
    assert half.exists()


def test_an_export_of_another_version_is_refused(finished: tuple[Path, RunResult], tmp_path: Path, monkeypatch: Any):
    export.export_member(finished[0], tmp_path / "best", 0, "best")
    monkeypatch.setattr(builder, "VERSION", builder.VERSION + 1)
    with pytest.raises(ValueError, match=r"was made by versions .*; check out the revision"):
        export.load_exported(tmp_path / "best")


def test_an_export_of_the_last_parameters_is_read_by_orbax_itself(finished: tuple[Path, RunResult], tmp_path: Path):
    workdir, _ = finished
    export.export_member(workdir, tmp_path / "last", 2, "last")
    with ocp.StandardCheckpointer() as checkpointer:
        params = checkpointer.restore((tmp_path / "last" / "params").absolute())
    assert_same(params, jax.tree.map(lambda leaf: leaf[2], read_checkpoint(workdir)["params"]))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"workdir": "nowhere"}, "nowhere holds no run"),
        ({"index": 4}, "--member=4: .* has members 0 to 3"),
        ({"index": -1}, "--member=-1: .* has members 0 to 3"),
    ],
)
def test_an_export_that_cannot_be(finished: tuple[Path, RunResult], tmp_path: Path, flags: dict, message: str):
    workdir = tmp_path / flags["workdir"] if "workdir" in flags else finished[0]
    with pytest.raises(ValueError, match=message):
        export.export_member(workdir, tmp_path / "to", flags.get("index", 0), "best")
    assert not (tmp_path / "to").exists()


def test_an_export_never_overwrites(finished: tuple[Path, RunResult], tmp_path: Path):
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(FileExistsError, match="exists already"):
        export.export_member(finished[0], tmp_path, 0, "best")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_real_images_train(tmp_path: Path, data_dir: Path):
    from configs.digits import get_config

    config: Any = get_config("rnn")
    shrink = {"model.width": 8, "model.depth": 1, "training.steps": 4, "training.batch_size": 8}
    config.update_from_flattened_dict({**shrink, "training.steps_per_call": 2, "training.eval_every": 2})
    result = loop.train(config, tmp_path / "run", data_dir=data_dir, tensorboard=False)
    assert (result["status"], result["steps"], result["metric"]) == ("finished", 4, "accuracy")
    assert result["baseline"] == ["the most frequent class", pytest.approx(0.0802, abs=1e-4)]
    test = result["members"][0]["test"]
    assert test is not None
    assert 0 <= test <= 1
    assert [row["step"] for row in rows(tmp_path / "run", "validation")] == [2, 4]


@pytest.fixture(scope="module")
def wrote(tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> tuple[Path, Path, dict]:
    """A run on characters, what was exported of it, and where its data lie; none of it to be written to."""
    from configs.shakespeare import get_config

    root = tmp_path_factory.mktemp("wrote")
    (root / "data").symlink_to(data_dir)
    config: Any = get_config("rnn")
    shrink = {"model.width": 8, "model.depth": 1, "training.steps": 4, "training.batch_size": 4, "task.max_length": 16}
    config.update_from_flattened_dict({**shrink, "training.steps_per_call": 2, "training.eval_every": 2})
    loop.train(config, root / "run", data_dir=root / "data", tensorboard=False)
    export.export_member(root / "run", root / "best", 0, "best")
    return root, root / "best", config.to_dict()


def test_the_data_are_in_the_key_and_a_run_does_not_go_on_with_others(wrote: tuple[Path, Path, dict], monkeypatch: Any):
    root, _, config = wrote
    mine = files.read_json(root / "run" / "result.json")["key"]
    assert files.read_json(root / "run" / "config.json")["versions"]["data"] == data.data_fingerprint(
        "shakespeare", root / "data"
    )
    monkeypatch.setattr(data, "data_fingerprint", lambda *_: "0123456789abcdef")
    other = builder.build_run(config, root / "data").config
    assert files.fingerprint(builder.fingerprint_fields(other)) != mine
    with pytest.raises(
        ValueError, match=r"holds another config's run \(versions.data is '\w+', not '0123456789abcdef'\)"
    ):
        loop.train(config, root / "run", data_dir=root / "data", tensorboard=False)


def test_an_export_stands_alone(wrote: tuple[Path, Path, dict], monkeypatch: Any, tmp_path: Path):
    """Without the data, and without the package that they are from, it is the same model of the same letters."""
    root, best, _ = wrote
    whole, params = export.load(root / "run", root / "data")
    monkeypatch.setattr(data, "load_dataset", None)
    monkeypatch.setattr(data, "data_fingerprint", None)
    run, exported = export.load_exported(best)
    assert run.task.names == whole.task.names
    assert (run.task.vocabulary, run.task.max_length) == (whole.task.vocabulary, 16)
    assert run.task.encode("ROMEO") == whole.task.encode("ROMEO")
    tokens = jnp.array([run.task.encode("ROMEO")])
    assert_same(*(one.model.apply({"params": p}, tokens) for one, p in ((run, exported), (whole, params))))
    assert files.to_jsonable(run.config) == files.to_jsonable(whole.config)
    with pytest.raises(TypeError):  # no sequence is made up
        run.task.sample(tasks.random_key(0), 1, 16, 16)


def test_an_export_has_its_data_where_they_are_the_same_and_its_own_letters_everywhere(
    wrote: tuple[Path, Path, dict], monkeypatch: Any
):
    root, best, _ = wrote
    run, _ = export.load(best, root / "data")
    assert len(run.task.text["train"]) > 10_000
    load, alphabet = data.load_dataset, run.task.alphabet

    def missing(name: str, data_dir: Any) -> str:
        raise FileNotFoundError(f"{name} is not installed")

    def other(name: str, data_dir: Any) -> dict[str, Any]:
        return {**load(name, data_dir), "alphabet": alphabet[::-1]}

    monkeypatch.setattr(data, "load_dataset", other)
    monkeypatch.setattr(data, "data_fingerprint", lambda *_: "0123456789abcdef")
    run, _ = export.load(best, root / "data")
    assert run.task.alphabet == alphabet
    assert not hasattr(run.task.text["train"], "tobytes")
    with pytest.raises(ValueError, match=r"was made by versions .*; check out the revision"):
        export.load_exported(best, root / "data")
    monkeypatch.setattr(data, "data_fingerprint", missing)
    assert export.load(best, root / "data")[0].task.alphabet == alphabet


# ---- the command ----------------------------------------------------------------------------------------------------


def test_a_dry_run_says_how_large_everything_is_and_writes_nothing(
    finished: tuple[Path, RunResult], program: ForkedProgram, tmp_path: Path
):
    code, out, err = program(*tiny_flags(fields=FOUR), "--dry_run", f"--workdir={tmp_path / 'run'}")
    assert (code, err) == (0, "")
    assert not (tmp_path / "run").exists()
    lines = dict(line.split(maxsplit=1) for line in out.splitlines())
    cost = finished[1]["cost"]
    assert lines["task"] == "recall"
    assert lines["mixer"] == "rnn, hidden size 10"
    assert lines["members"] == "4, for 40 steps"
    assert lines["parameters"] == f"{cost['parameters']:,} per member, {cost['mixer_parameters']:,} of them in mixers"
    assert lines["inputs"] == lines["targets"] == "int32[4, 8]"
    assert lines["outputs"] == "float32[4, 8, 16]"
    assert lines["state"] == f"{cost['state_floats']:,} floats per sequence"
    assert lines["memory"] == f"at least {4 * (5 * 4 * cost['parameters'] + 4 * 8 * 8) / 1024:.1f} KiB"
    assert program(*tiny_flags(), "--dry_run")[1].startswith("task        recall\n")  # it needs no workdir


def test_the_result_is_printed_in_lines_for_a_person(finished: tuple[Path, RunResult]):
    result = finished[1]
    first, *members, last = train.format_result(result).splitlines()
    assert first == f"finished: 40 steps in {result['seconds']:.0f} s; accuracy:"
    assert [line.split("  ")[1:4] for line in members] == [
        [f"member {index}", f"seed {member['seed']}", f"rate {member['learning_rate']:g}"]
        for index, member in enumerate(result["members"])
    ]
    assert last == "  chance 0.1250; any value seen in the sequence 0.5000"
