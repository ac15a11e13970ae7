"""Runs as a whole: the files and the result that they leave, and their members."""

import json
import struct
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from tensorboardX.proto import event_pb2

import tasks
import train
from tests import (
    ForkedProgram,
    assert_close,
    assert_same,
    read_checkpoint,
    tiny_config,
    tiny_flags,
)
from tests.training import FOUR, RATES, SEEDS, read_rows
from training import builder, ensemble, files, loop, metrics, trainer
from training.result import RunResult

# ---- what a run leaves ----------------------------------------------------------------------------------------------


def test_the_files_say_what_ran_and_where(finished: tuple[Path, RunResult]):
    workdir, _ = finished
    config = files.read_json(workdir / "config.json")
    assert config["model"]["hidden_size"] == 10  # was 0: as many parameters as attention
    assert config["model"]["max_length"] == 8  # was 0: the task's
    assert config["versions"] == {"mixer": 1, "task": tasks.TASKS["recall"].VERSION, "loop": builder.VERSION}
    assert config["task"] == {"name": "recall", "pairs": 2, "symbols": 16, "max_length": 8}
    members = {"seeds": [0, 1], "learning_rates": [1e-2, 3e-3], "weight_decays": [], "momenta": []}
    assert config["ensemble"] == {**members, "mode": "map"}

    (environment,) = files.read_json(workdir / "environment.json")
    assert environment["packages"]["jax"] == jax.__version__
    assert environment["device"] == {"platform": "cpu", "kind": "cpu", "count": 1}
    assert len(environment["revision"]) == 40 or environment["revision"] == "unknown"

    group = files.read_json(workdir / "group.json")
    pairs = list(zip(group["seeds"], group["learning_rates"], strict=True))
    assert pairs == [(0, 1e-2), (1, 1e-2), (0, 3e-3), (1, 3e-3)]
    assert (group["mode"], group["devices"]) == ("map", 1)


def test_the_metrics_have_a_row_for_each_call_and_each_split_and_the_loss_falls(finished: tuple[Path, RunResult]):
    workdir, _ = finished
    written = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in written if row["split"] == "train"] == [5, 10, 15, 20, 25, 30, 35, 40]
    for split in ("validation", "test"):
        assert [row["step"] for row in written if row["split"] == split] == [10, 20, 30, 40]
    for row in written:
        assert len(row["loss"]) == len(row["accuracy"]) == 4
        assert row["seconds"] > 0
        assert ("gradient_norm" in row) == (row["split"] == "train")
    first, last = (np.array(read_rows(workdir, "validation")[at]["loss"][:2]) for at in (0, -1))
    assert (last < first - 0.1).all()
    assert (first < np.log(16) + 1).all()


def test_the_result_has_a_row_for_each_member_in_order(finished: tuple[Path, RunResult]):
    workdir, result = finished
    assert result == files.read_json(workdir / "result.json")
    assert (result["status"], result["steps"], result["metric"], result["best"]) == ("finished", 40, "accuracy", "max")
    assert (result["chance"], result["baseline"]) == (1 / 8, ["any value seen in the sequence", 0.5])
    assert result["key"] == files.fingerprint(builder.fingerprint_fields(files.read_json(workdir / "config.json")))
    written = metrics.read_metrics(workdir / "metrics.jsonl")
    assert result["seconds"] == pytest.approx(sum(r["seconds"] + r.get("compile_seconds", 0) for r in written))
    assert result["training_seconds"] == pytest.approx(sum(r["seconds"] for r in written if r["split"] == "train"))
    assert [(m["seed"], m["learning_rate"]) for m in result["members"]] == [(s, r) for r in RATES for s in SEEDS]
    params = jax.tree.leaves(read_checkpoint(workdir)["params"])
    assert result["cost"]["parameters"] == sum(leaf[0].size for leaf in params)
    assert all(result["cost"][name] > 0 for name in ("mixer_parameters", "state_floats", "step_flops"))

    validation, test = read_rows(workdir, "validation"), read_rows(workdir, "test")
    for index, member in enumerate(result["members"]):
        scores = [row["accuracy"][index] for row in validation]
        at = int(np.flatnonzero(np.equal(scores, max(scores)))[-1])  # the last of the best
        assert member["best_step"] == validation[at]["step"]
        assert member["validation"] == pytest.approx(scores[at])
        assert member["test"] == pytest.approx(test[at]["accuracy"][index])
        assert member["died_at"] is None


def test_tensorboard_has_a_run_for_each_member_and_a_tag_for_each_split_and_metric(finished: tuple[Path, RunResult]):
    workdir, _ = finished
    names = ["seed0-rate0.01", "seed1-rate0.01", "seed0-rate0.003", "seed1-rate0.003"]
    assert {path.name for path in (workdir / "tensorboard").iterdir()} == set(names)
    event: Any = getattr(event_pb2, "Event")  # noqa: B009
    logged = metrics.read_metrics(workdir / "metrics.jsonl")
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
        for row in logged:
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


def test_four_devices_are_one_device(finished: tuple[Path, RunResult], on_four_devices: Path):
    workdir, result = finished
    assert files.read_json(on_four_devices / "group.json")["devices"] == 4
    assert files.read_json(on_four_devices / "result.json")["members"] == result["members"]
    assert_close(read_checkpoint(on_four_devices)["params"], read_checkpoint(workdir)["params"])


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


def test_a_member_that_diverges_stops_alone(finished: tuple[Path, RunResult], tmp_path: Path):
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
    assert all(len(row["loss"]) == 2 for row in metrics.read_metrics(tmp_path / "metrics.jsonl"))
    assert read_rows(tmp_path, "train")[0]["loss"][1] is None


def test_a_run_whose_members_all_diverge_ends_early(tmp_path: Path):
    fields = {"ensemble.seeds": (0, 1), "optimizer.learning_rate": 1e30}
    config = tiny_config(fields=fields)
    result = loop.train(config, tmp_path, tensorboard=False)
    assert (result["status"], result["steps"]) == ("diverged", 5)
    assert all(member["died_at"] in range(5) and member["test"] is None for member in result["members"])
    # Killed after its last checkpoint, it takes no further step either.
    (tmp_path / "result.json").unlink()
    assert loop.train(config, tmp_path, tensorboard=False) == result


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
    assert [row["step"] for row in read_rows(tmp_path / "run", "validation")] == [2, 4]


def test_extra_scores_are_logged_and_reported_as_they_were_at_the_best_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    class Graded(tasks.Recall):
        EXTRA_METRICS = ("error rate",)

        def extra_scores(self, outputs, batch):  # pyright: ignore
            return {"error rate": 1 - self.score(outputs, batch)}

    monkeypatch.setitem(tasks.TASKS, "recall", Graded)
    config = tiny_config(fields={"ensemble.seeds": (0, 1)})
    result = loop.train(config, tmp_path, tensorboard=False)
    for index, member in enumerate(result["members"]):
        assert member["scores"] == {
            "validation": member["validation"], "test": member["test"],
            "error rate": pytest.approx(1 - (member["test"] or 0), abs=1e-6),
        }  # fmt: skip
        for split in ("validation", "test"):
            for row in read_rows(tmp_path, split):
                assert row["error rate"][index] == pytest.approx(1 - row["accuracy"][index], abs=1e-6)
    assert read_checkpoint(tmp_path)["best_scores"].keys() == {"validation", "test", "error rate"}
    first = result["members"][0]
    assert f"test {first['test']:.4f}  error rate {first['scores']['error rate']:.4f} at" in train.format_result(result)


# ---- the command ----------------------------------------------------------------------------------------------------


def test_a_dry_run_says_how_large_everything_is_and_writes_nothing(
    finished: tuple[Path, RunResult], program: ForkedProgram, tmp_path: Path
):
    code, out, err = program(*tiny_flags(fields=FOUR), "--dry_run", f"--workdir={tmp_path / 'run'}")
    assert (code, err) == (0, "")
    assert not (tmp_path / "run").exists()
    sizes, heading, *rows = out.split("\n\n")
    assert heading == "the first batch of seed 0, 2 of 4 rows:"
    assert [row.split()[0] for row in rows] == ["input", "input"]
    lines = dict(line.split(maxsplit=1) for line in sizes.splitlines())
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
