"""Truncated backpropagation through time: the model's state is carried from one window of a text to the next.

With `training.carry_state` the rows of a batch are parallel streams: each reads the training text in order, window by
window, and goes on at its beginning where it ends. The gradient stops where a window begins; the state does not. It is
reset where the text begins anew and, with `task.reset_at_documents`, where a document does.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

import models
import tasks
from tasks.real.characters import WindowSampling
from tasks.real.text import END_OF_DOCUMENT
from training.scoring import join_parts, summarize_part
from training.sharding import gather_outside_blocks

MAX_EVAL_STREAMS = 8  # parallel streams of an evaluation, each of which begins from nothing
_MIN_STREAM_WINDOWS = 16  # of each of them, so that few windows are read without what came before
_BOUNDED_POSITIONS = ("sinusoidal", "learned", "randomised")


class Stream(NamedTuple):
    """What is carried from window to window; leaves have a leading axis [rows]."""

    model: Any  # the model's state
    place: Int[Array, "B"]  # where in the text the next window begins
    position: Int[Array, "B"]  # of its first token in a segment that goes on
    segment: Int[Array, "B"]  # the number of that segment; 0 before the first window


# ---- what can't be carried ------------------------------------------------------------------------------------------


def validate_carried_state(config: Mapping[str, Any], model: Mapping[str, Any], task: Any) -> None:
    """Raise ValueError, in one line, if the config has `training.carry_state` and its task or its model can't stream.

    `model` is the resolved config of the model.
    """
    training = config["training"]
    if not training.get("carry_state"):
        return

    def refuse(reason: str) -> None:
        raise ValueError(f"training.carry_state=True: {reason}")

    if not (task.next_tokens and isinstance(task, WindowSampling)):
        refuse(f"{type(task).__name__} has no text to read in order; it is for windows of a text and its next tokens")
    if task.train_size:
        refuse("the training text is read from disk, and only one in memory is read in order; leave carry_state out")
    if training["min_length"]:
        refuse(f"all windows have the task's length; use training.min_length=0, not {training['min_length']}")
    if training.get("accumulate_steps", 1) > 1:
        refuse(f"use training.accumulate_steps=1, not {training['accumulate_steps']}")
    for kind in ("encoder_decoder", "associative_memory"):
        if model.get(kind):
            refuse(f"a model with model.{kind} carries no state from one call to the next")
    names = models.parse_layer_pattern(model["mixer"])
    if not model["causal"] or not all(models.MIXERS[name].mixer_class.causal for name in names):
        refuse("a model that sees what is to come has no state; use model.causal=True and a mixer that is causal")
    if "attention" in names and not model["attention"]["window"]:
        refuse("attention to all that came before has no state of fixed size; give model.attention.window=SIZE")
    if "dense" in names:
        refuse("model.mixer=dense sees no further than its window of model.max_length tokens")
    if model["positions"] in _BOUNDED_POSITIONS:
        positions = model["positions"]
        refuse(f"model.positions={positions} tells places from a beginning, and a stream has none; use none or rope")


# ---- windows in order -----------------------------------------------------------------------------------------------


def init_stream(run: Any, params: Any, seed: Array, task: Any) -> Stream:
    """The streams of a member before its first window."""
    rows, tokens = run.config["training"]["batch_size"], task.text["train"].shape[0]
    return begin_streams(run, params, first_places(seed, tokens, rows))


def first_places(seed: Array, tokens: int, rows: int) -> Int[Array, "B"]:
    """Where streams begin: evenly spread over a text of so many tokens, from a place that the seed draws."""
    first = jax.random.randint(jax.random.fold_in(tasks.random_key(seed), 2), (), 0, tokens)
    places = jnp.asarray([row * tokens // rows for row in range(rows)], jnp.int32)
    return (places - (tokens - first)) % tokens  # places + first might not fit in 32 bits


def begin_streams(run: Any, params: Any, places: Int[Array, "B"]) -> Stream:
    """Streams that begin from nothing at these places."""
    nothing = jnp.zeros((len(places), 1), jnp.int32)
    # Padding holds the state, so this is the state before the first token.
    _, model = run.model.apply({"params": params}, nothing, positions=nothing, segments=nothing)
    return Stream(model, places, jnp.zeros_like(places), jnp.zeros_like(places))


def read_windows(task: Any, subset: str, stream: Stream) -> tuple[tasks.Batch, Stream]:
    """The next window of each stream, and the streams behind it, with the model's state as it was."""
    text, length = jnp.asarray(task.text[subset]), task.max_length
    tokens, steps = text.shape[0], jnp.arange(length)
    places = (stream.place[:, None] + jnp.arange(length + 1)) % tokens
    batch = task.collate(text[places], length, length)
    begins = places[:, :-1] == 0
    if getattr(task, "reset_at_documents", False):
        begins |= batch.inputs == END_OF_DOCUMENT
    begins = begins.at[:, 0].set(begins[:, 0] | (stream.segment == 0))
    last_begin = jax.lax.cummax(jnp.where(begins, steps, -1), axis=1)
    positions = jnp.where(last_begin < 0, stream.position[:, None] + steps, steps - last_begin)
    segments = stream.segment[:, None] + jnp.cumsum(begins, axis=1, dtype=jnp.int32)
    weights = jnp.where(places[:, 1:] == 0, 0, batch.weights)  # nothing of the text says what comes behind its end
    batch = batch._replace(positions=positions, segments=segments, weights=weights)
    return batch, Stream(stream.model, places[:, -1], positions[:, -1] + 1, segments[:, -1])


def apply_to_windows(
    run: Any, params: Any, batch: tasks.Batch, state: Any, rng: Array | None = None
) -> tuple[Array, Any]:
    """Apply the model to windows that go on from `state`; its outputs and its next state."""
    params = gather_outside_blocks(run.config, params)
    return run.model.apply(
        {"params": params}, batch.inputs, state=state, positions=batch.positions, segments=batch.segments, rng=rng
    )


# ---- evaluation -----------------------------------------------------------------------------------------------------


def evaluate_streams(run: Any, split: tasks.Split, params: Any, task: Any) -> dict[str, Array]:
    """Read a split's text in order, with the state carried; loss, score and extra scores.

    A few parallel streams read the text from evenly spread places: all of it, or as many windows as the split has
    examples if that is less.
    """
    streams, windows = plan_evaluation(task.text[split.subset].shape[0], task.max_length, split.examples)
    stride = (task.text[split.subset].shape[0] - 1) // streams

    def read_next(stream: Stream, index: Array) -> tuple[Stream, Any]:
        batch, after = read_windows(task, split.subset, stream)
        outputs, model = apply_to_windows(run, params, batch, stream.model)
        # What the next stream begins with does not count twice.
        is_own = index * task.max_length + jnp.arange(task.max_length) < stride
        own = batch._replace(weights=jnp.where(is_own, batch.weights, 0))
        return after._replace(model=model), summarize_part(task, outputs, own)

    first = begin_streams(run, params, jnp.arange(streams, dtype=jnp.int32) * stride)
    _, parts = jax.lax.scan(read_next, first, jnp.arange(windows))
    return join_parts(task, parts, windows * streams)


def plan_evaluation(tokens: int, length: int, examples: int) -> tuple[int, int]:
    """How many streams read a text of so many tokens, and how many windows each."""
    streams = min(max(tokens // (_MIN_STREAM_WINDOWS * length), 1), MAX_EVAL_STREAMS)
    return streams, min(-(-examples // streams), -(-((tokens - 1) // streams) // length))
