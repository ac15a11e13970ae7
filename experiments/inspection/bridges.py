"""What an encoder–decoder does with one pair: what each step of the target looks at in the source, and what moves it.

A row holds a source, the separator and a target. A map has a row for every step of the target, from the separator on,
and a column for every token of the source, or of the whole row.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from experiments.inspection.activations import Tokens, to_numpy
from experiments.measures.common import sample_test_batch
from models.decoding import greedy_decode
from models.seq2seq import Seq2Seq, make_decode_step
from training import builder

NUM_REPLACEMENTS = 8  # other tokens that each token is replaced with


class BridgeReading(NamedTuple):
    """One model's reading of a row. With a single vector between encoder and decoder there are no weights."""

    name: str
    description: str
    weights: Sequence[Float[np.ndarray, "H W S"]]  # of each block of the decoder
    probabilities: Float[np.ndarray, "W O"]
    occlusion: Float[np.ndarray, "W T"]  # nan ahead of a step, and of the separator


def is_encoder_decoder(run: builder.Run) -> bool:
    return isinstance(run.model, Seq2Seq)


def build_row(run: builder.Run, params: Any, source: Int[np.ndarray, "S"] | None) -> Tokens:
    """The source, the separator, and what the model writes; without a source, a pair of the test split as it is.

    A source with the separator in it is a row already. Raises ValueError for one that does not fit.
    """
    task, most = run.task, run.task.max_length
    if source is None:
        batch = sample_test_batch(run, 1)
        return np.asarray(batch.inputs[0], np.int32)[np.asarray(batch.segments[0]) != 0]
    room = most // 2 if run.model.halves else most - 2
    given = int((source == task.separator).argmax()) if (source == task.separator).any() else len(source)
    if given > room or len(source) > most or given == 0:
        raise ValueError(f"--input has {given} tokens of a source: this model takes 1 to {room}, and {most} in a row")
    if given < len(source):
        return source
    encode = partial(run.model.apply, {"params": params}, jnp.asarray(source)[None], method="encode")
    memory = jax.tree.map(lambda leaf: leaf[0], jax.jit(encode)())
    steps = min(most - len(source) - 1, most - most // 2 - 1)
    network: Any = run.model
    step = make_decode_step(network, params, memory)
    written = jax.jit(partial(greedy_decode, step, task.separator, steps=steps, end_token=task.end))()
    tokens = np.asarray(written.tokens)[: int(written.length)]
    return np.concatenate([source, [task.separator], tokens[tokens != task.end]]).astype(np.int32)


def read_bridge(name: str, description: str, run: builder.Run, params: Any, row: Tokens) -> BridgeReading:
    """What the model does with a row that has the separator in it."""
    start = int((row == run.task.separator).argmax())
    steps = len(row) - start
    logits, variables = _apply_to_rows(run, params, jnp.asarray(row)[None], mutable="intermediates")
    sown = variables.get("intermediates", {})
    bridges = [sown[f"bridges_{block}"] for block in range(run.model.decoder.depth) if f"bridges_{block}" in sown]
    weights = [to_numpy(bridge["weights"][0][0])[:, :steps, :start] for bridge in bridges]
    p = to_numpy(jax.nn.softmax(logits[0, start : len(row)]))
    return BridgeReading(name, description, weights, p, measure_occlusion(run, params, row))


def measure_occlusion(run: builder.Run, params: Any, row: Tokens) -> Float[np.ndarray, "W T"]:
    """How far what is written at each step moves when another token stands in a place of the row.

    ½ Σ |p − p′|, the mean over up to `NUM_REPLACEMENTS` other tokens, none of which is the separator or the end.
    """
    task = run.task
    start = int((row == task.separator).argmax())
    usable = np.setdiff1d(np.arange(max(task.separator, task.end) + 1, task.vocabulary), [task.separator, task.end])
    random = np.random.default_rng(0)
    predict = jax.jit(lambda rows: jax.nn.softmax(_apply_to_rows(run, params, rows)[:, start : len(row)]))
    whole = to_numpy(predict(jnp.asarray(row[None])))[0]
    moved = np.full((len(row) - start, len(row)), np.nan, np.float32)
    count = min(NUM_REPLACEMENTS, len(usable) - 1)
    for place in range(len(row)):
        if place == start:
            continue
        others = random.choice(np.setdiff1d(usable, row[place]), count, replace=False)
        rows = np.repeat(row[None], count, axis=0)
        rows[:, place] = others
        p = to_numpy(predict(jnp.asarray(rows)))
        first = max(0, place - start)  # steps before it can't know of it
        moved[first:, place] = 0.5 * np.abs(p - whole).sum(axis=-1).mean(axis=0)[first:]
    return moved


def _apply_to_rows(run: builder.Run, params: Any, rows: Int[Array, "B T"], **more: Any) -> Any:
    """The logits [B, L, O] of rows, padded to the task's length; with `mutable`, the variables too."""
    length = max(run.task.max_length, rows.shape[1])
    padded = jnp.zeros((len(rows), length), jnp.int32).at[:, : rows.shape[1]].set(rows)
    segments = jnp.broadcast_to(jnp.arange(length) < rows.shape[1], padded.shape).astype(jnp.int32)
    positions = jnp.broadcast_to(jnp.arange(length), padded.shape)
    found = run.model.apply({"params": params}, padded, positions=positions, segments=segments, **more)
    return (found[0][0], found[1]) if more else found[0]


def bridge_arrays(row: Tokens, readings: Sequence[BridgeReading]) -> dict[str, np.ndarray]:
    """All arrays by name: "tokens", "gru/layer_0.weights", "gru/probabilities", "gru/occlusion" …"""
    arrays: dict[str, np.ndarray] = {"tokens": row}
    for one in readings:
        arrays |= {f"{one.name}/layer_{block}.weights": weights for block, weights in enumerate(one.weights)}
        arrays |= {f"{one.name}/probabilities": one.probabilities, f"{one.name}/occlusion": one.occlusion}
    return arrays
