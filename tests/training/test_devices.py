"""Devices that share members and batches give the numbers of one device, and how they do it can be measured."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tasks
from tests import QUICK_XLA_FLAGS, ROOT, assert_close, read_checkpoint, tiny_config
from training import builder, ensemble, files, loop, metrics, runtime, workdir

EIGHT: dict[str, Any] = {
    "training.batch_size": 8,
    "training.steps": 20,
    "training.eval_every": 20,
    "ensemble.seeds": tuple(range(8)),
    "ensemble.mode": "map",
}
# The mixer, what differs from EIGHT, and how many devices the members are spread over and a batch is shared by.
CASES: dict[str, tuple[str, dict[str, Any], tuple[int, int]]] = {
    "8 x 1": ("rnn", {}, (8, 1)),
    "2 x 4": ("rnn", {"ensemble.seeds": (0, 1)}, (2, 4)),
    "1 x 8": ("rnn", {"ensemble.seeds": (0,), "ensemble.mode": "vmap"}, (1, 8)),
    "3 x 2": ("rnn", {"ensemble.seeds": (0, 1, 2), "ensemble.mode": "vmap"}, (3, 2)),  # two devices stay idle
    "uneven": (
        "attention",
        {"ensemble.seeds": (0, 1), "ensemble.mode": "vmap", "model.attention.bias": False},
        (2, 4),
    ),
}
ALONE = ("8 x 1", "uneven")  # what the others are held to: a seed does not depend on those beside it


def run_case(name: str, root: Path) -> None:
    mixer, fields, _ = CASES[name]
    with weight_unevenly(name == "uneven"):
        loop.train(tiny_config(mixer, {**EIGHT, **fields}), root / name, tensorboard=False)


CODE = """
import sys
from pathlib import Path
from tests.training.test_devices import CASES, run_case
for name in CASES:
    run_case(name, Path(sys.argv[1]))
"""


@contextlib.contextmanager
def weight_unevenly(really: bool) -> Iterator[None]:
    """Inside, the sequences of a batch of recall count 0, 1, 2 …: a mean of the means of parts is then another."""
    sample = tasks.TASKS["recall"].sample

    def uneven(task: Any, key: Any, batch: int, *more: Any) -> tasks.Batch:
        drawn = sample(task, key, batch, *more)
        return drawn._replace(weights=drawn.weights * jnp.arange(batch)[:, None])

    with pytest.MonkeyPatch.context() as patch:
        if really:
            patch.setattr(tasks.TASKS["recall"], "sample", uneven)
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All of `CASES`, each in the directory of its name, trained on eight devices in one process."""
    root = tmp_path_factory.mktemp("devices")
    flags = {"XLA_FLAGS": f"--{runtime.HOST_DEVICES_FLAG}=8 {QUICK_XLA_FLAGS}"}
    cache = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.05", "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1"}
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(root)], cwd=ROOT, env={**os.environ, **flags, **cache},
        capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return root


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the cases are held to, trained on one device in this process."""
    root = tmp_path_factory.mktemp("alone")
    for name in ALONE:
        run_case(name, root)
    return root


def read_losses(workdir: Path, members: int) -> np.ndarray:
    return np.array([row["loss"][:members] for row in metrics.read_metrics(workdir / "metrics.jsonl")])


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", CASES)
def test_eight_devices_give_the_numbers_of_one(trained: Path, alone: Path, name: str):
    fields = {**EIGHT, **CASES[name][1]}
    group = files.read_json(trained / name / "group.json")
    assert (group["devices"], group["shards"]) == CASES[name][2]
    assert group["mode"] == fields["ensemble.mode"]
    reference, count = alone / (name if name in ALONE else "8 x 1"), len(fields["ensemble.seeds"])
    ours, theirs = read_checkpoint(trained / name), read_checkpoint(reference)
    for part in ("params", "optimizer", "alive", "step"):
        assert_close(ours[part], jax.tree.map(lambda leaf: leaf[:count], theirs[part]), within=1e-4)
    np.testing.assert_allclose(read_losses(trained / name, count), read_losses(reference, count), rtol=1e-5)


def test_a_run_of_eight_devices_goes_on_with_one_if_told_to(tmp_path: Path):
    run = builder.build_run(tiny_config(fields={"ensemble.seeds": (0, 1)}))
    begun = ensemble.EnsemblePlan("map", 2, (0, 1), (1e-2, 1e-2), 4)
    files.write_json(tmp_path / "group.json", begun._asdict())
    with pytest.raises(ValueError, match=r"was begun on 8 devices and 1 are here; --allow_fewer_devices"):
        workdir.restore_plan(tmp_path, run, allow_fewer_devices=False)
    assert workdir.restore_plan(tmp_path, run, allow_fewer_devices=True) == begun._replace(devices=1, shards=1)


@pytest.mark.parametrize(
    ("seeds", "batch", "devices", "shards"),
    [
        (1, 32, 1, 8),
        (2, 32, 2, 4),
        (3, 32, 3, 2),
        (5, 32, 5, 1),
        (8, 32, 8, 1),
        (1, 6, 1, 6),
        (1, 7, 1, 7),
        (2, 3, 2, 3),
    ],
)
def test_devices_left_over_share_a_batch_unless_they_are_one_processor(
    monkeypatch: pytest.MonkeyPatch, seeds: int, batch: int, devices: int, shards: int
):
    config = tiny_config(fields={"ensemble.seeds": tuple(range(seeds)), "training.batch_size": batch})
    monkeypatch.setattr(jax, "devices", lambda: list(range(8)))
    monkeypatch.setenv("XLA_FLAGS", "")
    group = ensemble.plan_ensemble(config)
    assert (group.devices, group.shards) == (devices, 1)
    monkeypatch.setenv("XLA_FLAGS", f"--{runtime.HOST_DEVICES_FLAG}=8")
    group = ensemble.plan_ensemble(config)
    assert (group.devices, group.shards) == (devices, shards)


# ---- ensemble.mode = measured ----------------------------------------------------------------------------------------


def test_every_way_to_use_the_devices_is_timed_and_the_fastest_taken(monkeypatch: pytest.MonkeyPatch):
    run = builder.build_run(tiny_config(fields={"ensemble.seeds": (0, 1), "ensemble.mode": "autotune"}))
    times = {
        (2, 4, "map"): 9,
        (2, 4, "vmap"): 8,
        (2, 1, "map"): 6,
        (2, 1, "vmap"): 5,
        (1, 1, "map"): 7,
        (1, 1, "vmap"): 8,
    }
    monkeypatch.setattr(ensemble, "time_train_call", lambda _, group: times[group.devices, group.shards, group.mode])
    group = ensemble.plan_ensemble(run.config)._replace(devices=2, shards=4)
    chosen, ways = ensemble.autotune_plan(run, group)
    assert chosen == group._replace(devices=2, shards=1, mode="vmap")
    assert {(way["devices"], way["shards"], way["mode"]): way["seconds"] for way in ways} == times


def test_what_was_measured_is_written_before_the_first_step_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    config = tiny_config(fields={"ensemble.seeds": (0, 1), "ensemble.mode": "autotune"})
    monkeypatch.setattr(ensemble, "time_train_call", lambda run, group: {"map": 2.0, "vmap": 1.0}[group.mode])
    monkeypatch.setattr(loop, "init_ensemble", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        loop.train(config, tmp_path, tensorboard=False)
    assert files.read_json(tmp_path / "group.json")["mode"] == "vmap"
    monkeypatch.undo()
    monkeypatch.setattr(workdir, "autotune_plan", lambda *_: 1 / 0)  # it is not measured again
    result = loop.train(config, tmp_path, tensorboard=False)
    assert result["status"] == "finished"
    assert files.read_json(tmp_path / "group.json")["mode"] == "vmap"
    assert files.read_json(tmp_path / "config.json")["ensemble"]["mode"] == "autotune"


def test_a_way_without_room_is_passed_over(monkeypatch: pytest.MonkeyPatch):
    run = builder.build_run(tiny_config(fields={"ensemble.mode": "autotune"}))
    group = ensemble.plan_ensemble(run.config)
    assert group.mode == "autotune"
    full = RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1 bytes.")

    def seconds(run: builder.Run, group: ensemble.EnsemblePlan) -> float:
        if group.mode == "vmap" or everything:
            raise full
        return 3.0

    monkeypatch.setattr(ensemble, "time_train_call", seconds)
    everything = False
    chosen, ways = ensemble.autotune_plan(run, group)
    assert (chosen.mode, chosen.devices, len(ways)) == ("map", 1, 1)
    everything = True
    with pytest.raises(ValueError, match=r"out of memory in every way; try fewer members"):
        ensemble.autotune_plan(run, group)


def test_a_call_is_timed_without_its_compilation():
    run = builder.build_run(tiny_config(fields={"ensemble.seeds": (0, 1), "ensemble.mode": "autotune"}))
    begun = time.monotonic()
    _, ways = ensemble.autotune_plan(run, ensemble.plan_ensemble(run.config))
    assert [way["mode"] for way in ways] == ["map", "vmap"]
    assert 0 < sum(way["seconds"] for way in ways) < (time.monotonic() - begun) / 2
