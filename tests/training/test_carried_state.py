"""Truncated backpropagation with the state carried: what is read, what the state is of, and what is refused."""

import shutil
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import configs
import models
from tasks.real.text import Text
from tests import assert_close, assert_same, read_checkpoint, tiny_config
from training import batch_preview, builder, carried_state, trainer
from training.builder import Run

LENGTH, ROWS, TOKENS = 8, 3, 203


def make_task(reset: bool = False, tokens: int = TOKENS, **settings: Any) -> Text:
    """A task on three texts, in which every seventh token or so ends a document."""
    rng = np.random.default_rng(0)
    sizes = {"train": tokens, "validation": 70, "test": 900}
    text = {name: rng.integers(0, 7, size).astype(np.uint8) for name, size in sizes.items()}
    return Text(text, None, tuple("␄abcdef"), max_length=LENGTH, reset_at_documents=reset, **settings)


def make_run(mixer: str = "gru", task: Any = None, **fields: Any) -> Run:
    config: Any = configs.base(mixer)
    config.task = {"name": "text"}
    config.model.update(width=8, depth=2)
    config.training.update(steps=4, steps_per_call=2, eval_every=4, batch_size=ROWS, carry_state=True)
    config.update_from_flattened_dict({"model.attention.window": 5} if "attention" in mixer else {})
    config.update_from_flattened_dict({name.replace("__", "."): value for name, value in fields.items()})
    return builder.assemble_run(config.to_dict(), task or make_task(), {"data": "none"})


def read_all(task: Text, windows: int, places: list[int]) -> Any:
    """The next windows of streams from these places, as numpy arrays [windows, rows, …]."""
    place = jnp.asarray(places, jnp.int32)
    stream, batches = carried_state.Stream(None, place, jnp.zeros_like(place), jnp.zeros_like(place)), []
    for _ in range(windows):
        batch, stream = carried_state.read_windows(task, "train", stream)
        batches.append(batch)
    return jax.tree.map(lambda *leaves: np.stack(leaves), *batches)


STREAMING = [name for name in models.MIXERS if name != "dense"]


def test_windows_are_the_text_in_order_from_its_beginning_again_where_it_ends():
    task = make_task()
    text = np.asarray(task.text["train"])
    read = read_all(task, windows=2 * TOKENS // LENGTH, places=[0, 100])
    for row, place in enumerate((0, 100)):
        inputs, targets, weights = (np.concatenate(part[:, row]) for part in (read.inputs, read.targets, read.weights))
        places = (place + np.arange(len(inputs))) % TOKENS
        np.testing.assert_array_equal(inputs, text[places])
        np.testing.assert_array_equal(targets, text[(places + 1) % TOKENS])
        np.testing.assert_array_equal(weights, places != TOKENS - 1)
        segments, positions = np.concatenate(read.segments[:, row]), np.concatenate(read.positions[:, row])
        np.testing.assert_array_equal(np.diff(segments), places[1:] == 0)
        np.testing.assert_array_equal(positions[1:], np.where(places[1:] == 0, 0, positions[:-1] + 1))
        assert (segments[0], positions[0]) == (1, 0)


def test_a_document_begins_a_segment_wherever_its_window_begins():
    read = read_all(make_task(reset=True), windows=20, places=[5])
    inputs, segments, positions = (np.concatenate(part[:, 0]) for part in (read.inputs, read.segments, read.positions))
    begins = inputs[1:] == 0
    np.testing.assert_array_equal(np.diff(segments), begins)
    np.testing.assert_array_equal(positions[1:], np.where(begins, 0, positions[:-1] + 1))


@pytest.mark.parametrize("mixer", STREAMING)
def test_windows_one_after_another_are_one_long_sequence_and_reset_at_documents(mixer: str):
    """No matter how much longer than the longest sequence of training it is."""
    run = make_run(mixer, make_task(reset=True), model__depth=1)
    params = trainer.init_params(run, jnp.uint32(0))
    stream = carried_state.begin_streams(run, params, jnp.asarray([3, 90], jnp.int32))
    outputs, batches = [], []

    @jax.jit
    def step(stream: Any) -> Any:
        batch, after = carried_state.read_windows(run.task, "train", stream)
        part, state = carried_state.apply_to_windows(run, params, batch, stream.model)
        return after._replace(model=state), part, batch

    for _ in range(4):
        stream, part, batch = step(stream)
        outputs.append(part)
        batches.append(batch)
    long: Any = jax.tree.map(lambda *leaves: jnp.concatenate(leaves, axis=1), *batches)
    whole = jax.jit(partial(trainer.apply_model, run))(params, long)
    assert_close(np.concatenate(outputs, axis=1), whole, within=1e-4)


def test_a_step_carries_the_state_and_no_gradient_crosses_a_border():
    run = make_run()
    state = jax.jit(partial(trainer.init_train_state, run))(0, 1e-2)
    first, _ = jax.jit(partial(trainer.train_step, run, run.task))(state)
    expected = (np.asarray(state.stream.place) + LENGTH) % TOKENS
    np.testing.assert_array_equal(first.stream.place, expected)
    assert any(np.any(np.asarray(leaf)) for leaf in jax.tree.leaves(first.stream.model))
    batch, _ = carried_state.read_windows(run.task, "train", state.stream)
    _, carried = carried_state.apply_to_windows(run, state.params, batch, state.stream.model)
    assert_close(first.stream.model, carried)
    # The step from here is one whose state is a constant, wherever that came from.
    constant = jax.tree.map(np.asarray, first)
    ours, theirs = (jax.jit(partial(trainer.train_step, run, run.task))(s)[0] for s in (first, constant))
    assert_same(ours.params, theirs.params)


def test_seeds_read_from_other_places_and_rows_are_spread_evenly():
    places = [np.asarray(carried_state.first_places(jnp.uint32(seed), TOKENS, ROWS)) for seed in range(3)]
    assert len({tuple(row) for row in places}) == 3
    for row in places:
        assert (row >= 0).all()
        assert (row < TOKENS).all()
        assert np.abs(np.diff(np.sort(row)) - TOKENS / ROWS).max() <= 1
    most = 2**31 - 1
    assert (np.asarray(carried_state.first_places(jnp.uint32(0), most, 4)) >= 0).all()


@pytest.mark.parametrize("subset", ["validation", "test"])
def test_an_evaluation_reads_each_token_once_with_all_that_came_before(subset: str, monkeypatch: pytest.MonkeyPatch):
    run = make_run()
    params = trainer.init_params(run, jnp.uint32(1))
    split = run.task.splits[subset]
    monkeypatch.setattr(carried_state, "summarize_part", lambda task, outputs, batch: (outputs, batch))
    monkeypatch.setattr(carried_state, "join_parts", lambda task, parts, examples: parts)
    outputs, batch = jax.jit(partial(carried_state.evaluate_streams, run, split))(params, run.task)
    text = np.asarray(run.task.text[subset])
    streams, windows = carried_state.plan_evaluation(len(text), LENGTH, split.examples)
    stride = (len(text) - 1) // streams
    assert batch.weights.sum() == min(stride, windows * LENGTH) * streams
    for stream in range(streams):
        part = text[stream * stride : stream * stride + windows * LENGTH]
        tokens = jnp.asarray(part[None, :stride], jnp.int32)
        whole, _ = run.model.apply({"params": params}, tokens)
        own = np.concatenate(np.asarray(outputs)[:, stream])
        assert_close(own[: tokens.shape[1]], whole[0], within=1e-4)


def test_an_evaluation_has_few_streams_and_no_more_windows_than_the_split_has_examples():
    assert carried_state.plan_evaluation(tokens=70, length=8, examples=256) == (1, 9)
    assert carried_state.plan_evaluation(tokens=10**6, length=128, examples=256) == (8, 32)
    assert carried_state.plan_evaluation(tokens=10_000, length=128, examples=256) == (4, 20)


def test_a_resumed_run_reads_on_where_it_was_and_ends_with_the_same_bits(data_dir: Path, tmp_path: Path):
    from configs.shakespeare import get_config
    from training import loop

    config: Any = get_config("gru")
    config.task.max_length = 16
    config.model.update(width=8, depth=1)
    config.training.update(steps=12, steps_per_call=4, eval_every=12, batch_size=4, carry_state=True)
    config.ensemble.seeds = (0, 1)
    options: dict[str, Any] = {"data_dir": data_dir, "tensorboard": False, "save_seconds": 0}
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    result = loop.train(config, whole, **options)
    shutil.copytree(whole, resumed)
    (resumed / "result.json").unlink()
    shutil.rmtree(resumed / "checkpoints" / "12")
    assert loop.train(config, resumed, **options)["members"] == result["members"]
    assert_same(read_checkpoint(resumed), read_checkpoint(whole))
    fields = config.to_dict()
    fields["training"]["carry_state"] = False
    assert result["key"] != builder.run_fingerprint(builder.build_run(fields, data_dir).config)


def test_a_run_that_carries_nothing_has_no_leaf_for_it_and_the_key_that_it_had():
    run = builder.build_run(tiny_config())
    assert jax.eval_shape(partial(trainer.init_train_state, run), 0, 0.1).stream is None
    older = {**run.config, "training": {k: v for k, v in run.config["training"].items() if k != "carry_state"}}
    assert builder.run_fingerprint(older) == builder.run_fingerprint(run.config)


def test_a_dry_run_shows_the_first_windows():
    run = make_run()
    batch, _ = carried_state.read_windows(run.task, "train", trainer.init_train_state(run, 0, 0.1).stream)
    assert_same(jax.device_get(batch_preview.first_batch(run)), jax.device_get(batch))


@pytest.mark.parametrize(
    ("mixer", "fields", "expected"),
    [
        ("attention", {"model__attention__window": 0}, "give model.attention.window=SIZE"),
        ("gru,attention", {"model__attention__window": 0}, "give model.attention.window=SIZE"),
        ("dense", {}, "sees no further than its window"),
        ("gru", {"model__positions": "learned"}, "model.positions=learned tells places from a beginning"),
        ("gru", {"training__min_length": 4}, "use training.min_length=0, not 4"),
        ("gru", {"task": make_task(train_size=5000)}, "the training text is read from disk"),
    ],
)
def test_what_can_not_stream_is_refused_in_one_line(mixer: str, fields: dict[str, Any], expected: str):
    with pytest.raises(ValueError, match=r"^training\.carry_state=True: ") as error:
        make_run(mixer, **fields)
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


def test_a_task_without_a_text_and_a_word_that_is_no_truth_value_are_refused():
    with pytest.raises(ValueError, match="carry_state=True: Recall has no text to read in order"):
        builder.build_run(tiny_config(fields={"training.carry_state": True}))
    config = tiny_config().to_dict()
    config["training"]["carry_state"] = 1
    with pytest.raises(ValueError, match=r"training\.carry_state=1: must be True or False"):
        builder.build_run(config)
