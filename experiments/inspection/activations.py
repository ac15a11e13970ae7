"""What a model computes for one sentence: every array between its tokens and its predictions.

All of it is for one sequence, `tokens` [T], and any model that reads tokens. Its outputs are one row per step, or a
single row for the whole sequence: `R` below.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

import models
from models.mixers import attention
from models.ops import position_encodings
from training import builder

Tokens = Int[np.ndarray, "T"]


class AttentionActivations(NamedTuple):
    """What attention does in a block, head by head; keys and values are shared by a group of heads.

    Scores and weights are 0 where a query may not look (`visible_keys`). The fields are named as attention sows them.
    """

    query: Float[np.ndarray, "H T K"]
    key: Float[np.ndarray, "G T K"]
    value: Float[np.ndarray, "G T K"]
    scores: Float[np.ndarray, "H T T"]  # of differential attention, those of the first halves
    weights: Float[np.ndarray, "H T T"]
    heads: Float[np.ndarray, "H T K"]  # weights · values


class BlockActivations(NamedTuple):
    """One block of a network. Its mixer may have attention, and it may have a feed-forward layer."""

    mixer_input: Float[np.ndarray, "T D"]  # norm(x), or x itself
    attention: AttentionActivations | None
    mixer_output: Float[np.ndarray, "T D"]
    after_mixer: Float[np.ndarray, "T D"]  # with the residual and the norm after it, where there are any
    feedforward: Float[np.ndarray, "T D"] | None
    output: Float[np.ndarray, "T D"]


class Activations(NamedTuple):
    """The path of a sentence: the arrays between tokens and predictions, as float32."""

    embedding: Float[np.ndarray, "T D"]
    position: Float[np.ndarray, "T D"] | None  # added to the embedding, where the network adds something
    input: Float[np.ndarray, "T D"]  # their sum
    blocks: tuple[BlockActivations, ...]
    final: Float[np.ndarray, "T D"]
    logits: Float[np.ndarray, "R O"]
    probabilities: Float[np.ndarray, "R O"]


class _Captured:
    """The outputs and the sown arrays of a network's parts, by name."""

    def __init__(self, intermediates: Any):
        self.intermediates = intermediates

    def array(self, name: str, part: str = "__call__") -> Any:
        """The first sequence's array, float32; None where the network has no such part."""
        if part not in self.intermediates.get(name, {}):
            return None
        value = self.intermediates[name][part][0]
        return to_numpy((value[0] if isinstance(value, tuple) else value)[0])


def capture_activations(run: builder.Run, params: Any, tokens: Tokens) -> Activations:
    """Everything between these tokens and the predictions. Sums are computed here, in the model's order."""
    apply = partial(apply_from_start, run.model, mutable="intermediates", capture_intermediates=_is_part_of_network)
    (outputs, _), variables = jax.jit(apply)(params, jnp.asarray(tokens, jnp.int32)[None])
    captured = _Captured(variables["intermediates"])
    position = _position_vectors(run, params, len(tokens))
    embedding = captured.array("embed")
    x = first = embedding if position is None else embedding + position
    blocks = []
    for index in range(run.model.depth):
        blocks.append(_capture_block(run, captured, index, x))
        x = blocks[-1].output
    logits = to_numpy(outputs[0]).reshape(-1, outputs.shape[-1])
    final = captured.array("final_norm") if run.model.final_norm else x
    return Activations(embedding, position, first, tuple(blocks), final, logits, to_numpy(jax.nn.softmax(logits)))


def _is_part_of_network(module: Any, method: str) -> bool:
    return method == "__call__" and len(module.path) == 1


def _capture_block(run: builder.Run, captured: _Captured, index: int, x: np.ndarray) -> BlockActivations:
    """The activations of one block that reads `x`."""
    model = run.model

    def sublayer(x: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Its input, its output, and x after it."""
        output, norm = captured.array(f"{name}_{index}"), captured.array(f"{name}_norm_{index}")
        after = x + output if model.residual else output
        return (norm if model.norm == "pre" else x), output, (norm if model.norm == "post" else after)

    mixer_input, mixer_output, after_mixer = sublayer(x, "mixer")
    feedforward, output = None, after_mixer
    if model.hidden:
        _, feedforward, output = sublayer(after_mixer, "feedforward")
    attended = None
    if captured.array(f"mixer_{index}", "weights") is not None:
        fields = AttentionActivations._fields
        attended = AttentionActivations(*(captured.array(f"mixer_{index}", name) for name in fields))
        attended = attended._replace(scores=attended.scores[: len(attended.weights)])
        visible = visible_keys(run, len(x))
        attended = attended._replace(
            scores=to_numpy(np.where(visible, attended.scores, 0)),
            weights=to_numpy(np.where(visible, attended.weights, 0)),
        )
    return BlockActivations(mixer_input, attended, mixer_output, after_mixer, feedforward, output)


def to_numpy(x: Any) -> np.ndarray:
    return np.asarray(x, np.float32)


def apply_from_start(model: Any, params: Any, inputs: Any, **more: Any) -> Any:
    """Apply the model to sequences [B, T] or [B, T, D], each from its start."""
    steps = jnp.broadcast_to(jnp.arange(inputs.shape[1]), inputs.shape[:2])
    segments = jnp.ones_like(steps)
    return model.apply({"params": params}, jnp.asarray(inputs), positions=steps, segments=segments, **more)


def _position_vectors(run: builder.Run, params: Any, length: int) -> Float[np.ndarray, "T D"] | None:
    """What the network adds to its embedding for the positions 0 … `length` − 1; None where it adds nothing there."""
    model, steps = run.model, jnp.arange(length)
    if model.positions == "sinusoidal":
        return to_numpy(position_encodings.sinusoidal_encoding(steps, model.width).astype(model.dtype))
    if model.positions == "learned":
        return to_numpy(position_encodings.lookup_encoding(steps, params["positions"]).astype(model.dtype))
    if model.positions == "randomised":
        drawn = position_encodings.evenly_spaced_positions(model.max_length)
        table = position_encodings.sinusoidal_encoding(drawn, model.width)
        return to_numpy(position_encodings.lookup_encoding(steps, table).astype(model.dtype))
    return None


def visible_keys(run: builder.Run, length: int) -> Bool[Array, "H T T"]:
    """Which keys [s] each head lets a query [t] see."""
    model = run.config["model"]
    options = models.mixer_options("attention") | model["attention"]  # an older config lacks some of them
    steps, segments = jnp.arange(length), jnp.ones(length, jnp.int32)
    mask = attention.visibility_mask(segments, segments, 0, model["causal"])
    if options["window"]:
        mask &= position_encodings.window_mask(steps, steps, options["window"])
    if model["positions"] == "hard_alibi":
        mask = mask & position_encodings.hard_alibi_mask(steps, steps, options["heads"])
    return jnp.broadcast_to(mask, (options["heads"], length, length))


def named_arrays(activations: Activations) -> dict[str, np.ndarray]:
    """Every array by name: "embedding", "block_0.query" …"""
    arrays = {name: value for name, value in activations._asdict().items() if name != "blocks"}
    for index, block in enumerate(activations.blocks):
        of_block = block._replace(attention=None)._asdict() | (block.attention._asdict() if block.attention else {})
        arrays |= {f"block_{index}.{name}": value for name, value in of_block.items()}
    return {name: value for name, value in arrays.items() if value is not None}
