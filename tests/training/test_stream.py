"""Training on rows that stay on disk: the numbers of rows in memory, whatever is killed, shared or split up."""

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import configs
from tasks.real import rows as stored_rows
from tasks.real.classification import Classification
from tasks.real.text import Text
from tests import assert_same, read_checkpoint, start_training
from tests.training.test_distributed import await_both, start_both
from training import builder, ensemble, loop, stream, trainer
from training.builder import Run

TOKENS, LENGTH = 5000, 16
NAMES = ("␄", *map(chr, range(97, 125)))


class Windows:
    """Windows of an array, as if they came from a disk."""

    def __init__(self, text: np.ndarray):
        self.text, self.calls = text, 0

    def gather(self, ids: np.ndarray, max_length: int) -> np.ndarray:
        self.calls += 1
        places = ids[:, None] + np.arange(max_length + 1)
        return np.where(places < len(self.text), self.text[np.minimum(places, len(self.text) - 1)], 0)


def texts() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {name: rng.integers(0, 29, n).astype(np.uint8)
            for name, n in (("train", TOKENS), ("validation", 300), ("test", 300))}  # fmt: skip


def text_task(head: int = 0, **settings: Any) -> Text:
    """The task in memory; with `head`, the task that keeps the beginning of its training text there."""
    data = texts()
    size = TOKENS if head else 0
    data["train"] = data["train"][: head or None]
    return Text(data, None, NAMES, max_length=LENGTH, train_size=size, **settings)


def make_run(streamed: bool, fields: Mapping[str, Any] | None = None, **settings: Any) -> Run:
    config: Any = configs.base("gru")
    config.task = {"name": "text"}
    config.model.update(width=8, depth=1, feedforward=0.0)
    config.training.update(steps=12, steps_per_call=4, eval_every=12, batch_size=4)
    config.update_from_flattened_dict(dict(fields or {}))
    task = text_task(head=100 if streamed else 0, **settings)
    run = builder.assemble_run(config.to_dict(), task, {"data": "none"})
    return run._replace(rows=Windows(texts()["train"])) if streamed else run


def final_states(run: Run, plan: ensemble.EnsemblePlan | None = None) -> Any:
    """All that is trained, after the last call."""
    plan = plan or ensemble.plan_ensemble(run.config)
    mesh = ensemble.make_mesh(plan)
    states = ensemble.init_ensemble(run, plan, mesh)
    task = jax.device_put(run.task, ensemble.replicated_sharding(mesh))
    train, calls = ensemble.jit_train_steps(run, plan, mesh), run.config["training"]["steps"] // 4
    for rows in itertools.islice(ensemble.feed_rows(run, plan, mesh, 0), calls):
        states, _ = train(states, task, *rows)
    return jax.tree.map(np.asarray, states)


def assert_same_bits(ours: Any, theirs: Any) -> None:
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_array_equal(a, b)


def assert_close(ours: Any, theirs: Any) -> None:
    """Equal but for the rounding of a program that is compiled otherwise."""
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "fields",
    [
        {"ensemble.seeds": (3, 5), "ensemble.learning_rates": (1e-3, 1e-2)},
        {"ensemble.seeds": (3, 5), "ensemble.mode": "vmap", "training.min_length": 4},
    ],
    ids=["seeds and rates", "side by side, lengths drawn"],
)
def test_rows_from_disk_are_those_that_would_be_drawn_in_memory(fields: dict[str, Any]):
    streamed, in_memory = make_run(True, fields), make_run(False, fields)
    assert_close(final_states(streamed), final_states(in_memory))
    seeds, training = fields["ensemble.seeds"], in_memory.config["training"]
    plan = ensemble.plan_ensemble(streamed.config)
    for call, (rows,) in enumerate(ensemble.feed_rows(streamed, plan, ensemble.make_mesh(plan), 0)):
        for member, step in itertools.product(range(len(plan.seeds)), range(4)):
            length, key, _ = trainer.batch_keys(
                in_memory, jax.numpy.uint32(seeds[member % 2]), jax.numpy.int32(4 * call + step)
            )
            drawn = in_memory.task.sample(key, training["batch_size"], LENGTH, length)
            assert_same_bits(streamed.task.collate(rows[member, step], LENGTH, length), drawn)


def test_members_with_one_seed_share_their_rows():
    run = make_run(True, {"ensemble.seeds": (3,), "ensemble.learning_rates": (1e-3, 1e-2, 1e-1)})
    sharding = ensemble.replicated_sharding(ensemble.make_mesh(ensemble.plan_ensemble(run.config)))
    calls = stream._CallRows(run, (3, 3, 3), sharding)
    rows = calls[1]
    assert rows.shape == (3, 4, 4, LENGTH + 1)
    assert_same_bits(rows[0], rows[2])
    assert len(calls.seeds) == 1


def test_a_feed_goes_on_at_any_call():
    run = make_run(True)
    plan = ensemble.plan_ensemble(run.config)
    mesh = ensemble.make_mesh(plan)
    from_start = [np.asarray(rows) for (rows,) in ensemble.feed_rows(run, plan, mesh, 0)]
    from_step_8 = [np.asarray(rows) for (rows,) in ensemble.feed_rows(run, plan, mesh, 8)]
    assert len(from_start) == 3
    assert_same_bits(from_start[2:], from_step_8)


def test_a_run_from_disk_that_is_stopped_ends_with_the_bits_of_one_that_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def train(name: str) -> Any:
        run, workdir = make_run(True), tmp_path / name
        workdir.mkdir(exist_ok=True)
        (workdir / "group.json").touch()
        looped = loop._TrainLoop(run, workdir, ensemble.plan_ensemble(run.config), name)
        looped.run_to_end(0.0, tensorboard=False)
        return jax.tree.map(np.asarray, looped.states)

    whole = train("whole")
    real = loop._TrainLoop._train_call
    calls = itertools.count()

    def fail(self: Any, *arguments: Any) -> Any:
        if next(calls) == 2:
            raise KeyboardInterrupt
        return real(self, *arguments)

    monkeypatch.setattr(loop._TrainLoop, "_train_call", fail)
    with pytest.raises(KeyboardInterrupt):
        train("run")
    assert sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir()) == ["4", "8"]  # none half written
    monkeypatch.setattr(loop._TrainLoop, "_train_call", real)
    assert_same_bits(train("run"), whole)


def test_documents_are_segments_of_their_own():
    task = text_task(reset_at_documents=True)
    tokens = jax.numpy.array([[5, 6, 0, 7, 8, 0, 0, 9, 1, 1, 1, 1, 1, 1, 1, 1, 1]], np.uint8)
    batch = task.collate(tokens, LENGTH, 10)
    assert batch.segments[0].tolist() == [1, 1, 2, 2, 2, 3, 4, 4, 4, 4] + [0] * 6
    assert batch.positions[0, :10].tolist() == [0, 1, 0, 1, 2, 0, 0, 1, 2, 3]
    assert batch.weights[0].tolist() == [1.0] * 10 + [0.0] * 6
    whole = text_task().collate(tokens, LENGTH, 10)
    assert_same_bits((batch.inputs, batch.targets, batch.weights), (whole.inputs, whole.targets, whole.weights))


def test_places_beyond_32_bits_are_drawn_evenly_and_inside(monkeypatch: pytest.MonkeyPatch):
    available = 5 * 2**31
    drawn = stored_rows.draw_places(jax.random.key(0, impl="threefry2x32"), 20_000, available, 100)
    numbers = stored_rows.row_numbers(np.asarray(drawn), available)
    assert numbers.dtype == np.int64
    assert numbers.min() >= 0
    assert numbers.max() + stored_rows.PAGE_SIZE <= available
    shares = np.histogram(numbers, 10, (0, available))[0] / len(numbers)
    np.testing.assert_allclose(shares, 0.1, atol=0.01)


def test_many_rows_are_drawn_with_replacement_and_few_without():
    key = jax.random.key(0, impl="threefry2x32")
    few = np.asarray(stored_rows.draw_rows(key, 50, 50, "rows"))
    assert sorted(few) == list(range(50))
    many = np.asarray(stored_rows.draw_rows(key, 50, 10**6, "rows"))
    assert (many < 10**6).all()
    with pytest.raises(ValueError, match="the rows are 50, so give that many or fewer"):
        stored_rows.draw_rows(key, 51, 50, "rows")


def test_labeled_sequences_train_from_disk_as_in_memory():
    full: Any = Classification.example()
    config: Any = configs.base("gru")
    config.task = {"name": "classification"}
    config.model.update(width=8, depth=1, feedforward=0.0)
    config.training.update(steps=12, steps_per_call=4, eval_every=12, batch_size=4)

    class Sequences:
        def gather(self, ids: np.ndarray, max_length: int) -> tuple[np.ndarray, np.ndarray]:
            return np.asarray(full.inputs["train"])[ids, :max_length], np.asarray(full.labels["train"])[ids]

    head = {
        name: {**part, "train": part["train"][:2]} for name, part in (("inputs", full.inputs), ("labels", full.labels))
    }
    part = full.replace(train_size=len(full.labels["train"]), **head)
    in_memory = builder.assemble_run(config.to_dict(), full, {})
    streamed = builder.assemble_run(config.to_dict(), part, {})._replace(rows=Sequences())
    assert_close(final_states(streamed), final_states(in_memory))


@pytest.mark.long
@pytest.mark.timeout(240)
def test_two_processes_that_share_a_text_on_disk_end_with_the_bits_of_one(tmp_path: Path):
    text = tmp_path / "notes.txt"
    text.write_text("\n\n".join(f"{i}: what is written here is as true as {i * i}. " * 40 for i in range(60)))
    flags = [
        "--config=configs/text.py:gru",
        f"--config.task.path={text}",
        "--config.task.stream=yes",
        "--config.task.max_length=16",
        "--config.model.width=8",
        "--config.model.depth=1",
        "--config.training.batch_size=4",
        "--config.training.steps=20",
        "--config.training.steps_per_call=10",
        "--config.training.eval_every=20",
        "--config.ensemble.seeds=(0,1)",
        f"--data_dir={tmp_path / 'data'}",
        "--notensorboard",
    ]
    whole, shared = tmp_path / "whole", tmp_path / "shared"
    assert start_training(*flags, f"--workdir={whole}", devices=2).wait() == 0
    for status, _, errors in await_both(start_both(shared, *flags)):
        assert status == 0, errors
    assert_same(read_checkpoint(shared), read_checkpoint(whole))
