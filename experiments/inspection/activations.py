"""What happens inside a model as it reads one sentence: every array on the way, and what moves its predictions.

All of it is for one sequence, `tokens` [T], and any model that reads tokens. Its outputs are one row a step, or a
single row for the whole sequence: `R` below.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

import models
import tasks
from experiments.measures.registry import skip_embedding
from models.mixers import attention
from models.ops import position_encodings
from training import builder

_REPLACEMENT_KEY = 2**31 + 2  # of the tokens that others are replaced with
_NUM_REPLACEMENTS = 8  # for each token, drawn from the vocabulary
MIN_PAIRS = 5  # of tokens that a mean over distances rests on, at least

Tokens = Int[np.ndarray, "T"]


class AttentionActivations(NamedTuple):
    """What attention does in a block, head by head; keys and values are one a group of heads.

    Scores and weights are 0 where a query may not look (`visible_keys`).
    """

    query: Float[np.ndarray, "H T K"]
    key: Float[np.ndarray, "G T K"]
    value: Float[np.ndarray, "G T K"]
    scores: Float[np.ndarray, "H T T"]
    weights: Float[np.ndarray, "H T T"]
    heads: Float[np.ndarray, "H T K"]  # what each read: weights · values


class BlockActivations(NamedTuple):
    """One block of a network. Its mixer has attention or None, and it a feed-forward layer or None."""

    read: Float[np.ndarray, "T D"]  # by the mixer: norm(x), or x itself
    attention: AttentionActivations | None
    mixed: Float[np.ndarray, "T D"]  # what the mixer gave: of attention, the heads joined
    added: Float[np.ndarray, "T D"]
    feedforward: Float[np.ndarray, "T D"] | None
    after: Float[np.ndarray, "T D"]


class Activations(NamedTuple):
    """The path of a sentence: the arrays between tokens and predictions, as float32."""

    embedding: Float[np.ndarray, "T D"]
    position: Float[np.ndarray, "T D"] | None  # what is added to it, where the network adds something
    placed: Float[np.ndarray, "T D"]
    blocks: tuple[BlockActivations, ...]
    final: Float[np.ndarray, "T D"]
    logits: Float[np.ndarray, "R O"]
    probabilities: Float[np.ndarray, "R O"]


class Influence(NamedTuple):
    """How far the prediction at t moves when the token at s changes, [t, s], each from 0 to 1."""

    occlusion: Float[np.ndarray, "R T"]
    gradient: Float[np.ndarray, "R T"]


class HeadSummary(NamedTuple):
    """What a head looks at, by name (`HEAD_MEASURES`), beside what weights spread evenly over what it sees would
    give."""

    block: int
    head: int
    found: Mapping[str, float]
    uniform: Mapping[str, float]
    role: str  # one of ROLES, or "mixed"


# ---- the path of a sentence -----------------------------------------------------------------------------------------


def capture_activations(run: builder.Run, params: Any, tokens: Tokens) -> Activations:
    """Everything between these tokens and what the model predicts. What adds up is added here, as the model does."""
    top = lambda module, method: method == "__call__" and len(module.path) == 1  # noqa: E731
    call = jax.jit(partial(_apply_from_start, run.model, mutable="intermediates", capture_intermediates=top))
    (outputs, _), kept = call(params, jnp.asarray(tokens, jnp.int32)[None])
    kept = kept["intermediates"]

    def of(name: str, part: str = "__call__") -> Any:
        if name not in kept or part not in kept[name]:
            return None
        value = kept[name][part][0]
        return _to_numpy((value[0] if isinstance(value, tuple) else value)[0])

    model = run.model
    vectors = _position_vectors(run, params, len(tokens))
    embedding = of("embed")
    x = placed = embedding if vectors is None else embedding + vectors
    blocks = []
    for block in range(model.depth):

        def sublayer(x: np.ndarray, name: str, block: int = block) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            """What it read, what it gave, and what comes after."""
            given, norm = of(f"{name}_{block}"), of(f"{name}_norm_{block}")
            after = x + given if model.residual else given
            return (norm if model.norm == "pre" else x), given, (norm if model.norm == "post" else after)

        read, mixed, x = sublayer(x, "mixer")
        middle, fed = x, None
        if model.hidden:
            _, fed, x = sublayer(x, "feedforward")
        attended = None
        if of(f"mixer_{block}", "weights") is not None:
            attended = AttentionActivations(*(of(f"mixer_{block}", name) for name in AttentionActivations._fields))
            scores, weights = (
                np.where(visible_keys(run, len(tokens)), x, 0) for x in (attended.scores, attended.weights)
            )
            attended = attended._replace(scores=_to_numpy(scores), weights=_to_numpy(weights))
        blocks.append(BlockActivations(read, attended, mixed, middle, fed, x))
    logits = _to_numpy(outputs[0]).reshape(-1, outputs.shape[-1])
    final = of("final_norm") if model.final_norm else x
    return Activations(embedding, vectors, placed, tuple(blocks), final, logits, _to_numpy(jax.nn.softmax(logits)))


def _to_numpy(x: Any) -> np.ndarray:
    return np.asarray(x, np.float32)


def _apply_from_start(model: Any, params: Any, inputs: Any, **more: Any) -> Any:
    """The model on sequences [B, T] or [B, T, D], each from its start."""
    steps = jnp.broadcast_to(jnp.arange(inputs.shape[1]), inputs.shape[:2])
    segments = jnp.ones_like(steps)
    return model.apply({"params": params}, jnp.asarray(inputs), positions=steps, segments=segments, **more)


def _position_vectors(run: builder.Run, params: Any, length: int) -> Float[np.ndarray, "T D"] | None:
    """What the network adds to its embedding for the positions 0 … `length` − 1; None where it adds nothing there."""
    model, steps = run.model, jnp.arange(length)
    if model.positions == "sinusoidal":
        return _to_numpy(position_encodings.sinusoidal_encoding(steps, model.width).astype(model.dtype))
    if model.positions == "learned":
        return _to_numpy(position_encodings.lookup_encoding(steps, params["positions"]).astype(model.dtype))
    if model.positions == "randomised":
        evenly = position_encodings.sinusoidal_encoding(
            position_encodings.evenly_spaced_positions(model.max_length), model.width
        )
        return _to_numpy(position_encodings.lookup_encoding(steps, evenly).astype(model.dtype))
    return None


def visible_keys(run: builder.Run, length: int) -> Bool[Array, "H T T"]:
    """Which key [s] each head lets a query [t] see."""
    model = run.config["model"]
    own, steps, ones = (
        models.mixer_options("attention") | model["attention"],
        jnp.arange(length),
        jnp.ones(length, jnp.int32),
    )
    mask = attention.visibility_mask(ones, ones, 0, model["causal"])
    if own["window"]:
        mask &= position_encodings.window_mask(steps, steps, own["window"])
    if model["positions"] == "hard_alibi":
        mask = mask & position_encodings.hard_alibi_mask(steps, steps, own["heads"])
    return jnp.broadcast_to(mask, (own["heads"], length, length))


def named_arrays(activations: Activations) -> dict[str, np.ndarray]:
    """Every array by name: "embedding", "block_0.query" …"""
    found = {name: value for name, value in activations._asdict().items() if name != "blocks"}
    for index, block in enumerate(activations.blocks):
        attended = block.attention._asdict() if block.attention else {}
        both = {name: value for name, value in block._asdict().items() if name != "attention"} | attended
        found |= {f"block_{index}.{name}": value for name, value in both.items()}
    return {name: value for name, value in found.items() if value is not None}


# ---- what heads look at ---------------------------------------------------------------------------------------------

HEAD_ROLES = {
    "previous": "previous token",
    "first": "first token",
    "itself": "itself",
    "same": "same token",
    "induction": "induction",
}
MIN_EXCESS = 0.2  # how far above even weights a measure must lie for a head to be named by it
HEAD_MEASURES = {
    "previous": "mean weight on the token just before",
    "first": "mean weight on the first token, from all others",
    "itself": "mean weight of a token on itself",
    "same": "mean weight on earlier tokens that are the same, where there are any",
    "induction": "mean weight on the tokens that followed earlier ones that are the same, where there are any",
    "entropy": "entropy of the weights in bits: 0 where all lies on one token",
    "distance": "mean distance, in tokens",
}


def measure_head(weights: Float[np.ndarray, "T T"], tokens: Tokens) -> dict[str, float]:
    """`HEAD_MEASURES` of one head's weights; nan where there is nothing to take a mean over."""
    steps = np.arange(len(tokens))
    query, key = np.meshgrid(steps, steps, indexing="ij")
    same = (tokens[:, None] == tokens[None, :]) & (key < query)
    followed = np.pad(same, ((0, 0), (1, 0)))[:, :-1] & (key < query)  # [t, s]: s − 1 is a token like t
    w = np.asarray(weights, np.float64)
    total = w.sum(axis=1)
    share = np.maximum(w, 0) / np.maximum(total, 1e-30)[:, None]
    bits = -(share * np.log2(np.where(share > 0, share, 1))).sum(axis=1)

    def on(where: Any, queries: Any) -> float:
        """The weight on `where`, mean over `queries`."""
        return float((w * where).sum(axis=1)[queries].mean()) if queries.any() else float("nan")

    return {
        "previous": on(key == query - 1, steps > 0),
        "first": on(key == 0, steps > 0),
        "itself": on(key == query, steps >= 0),
        "same": on(same, same.any(axis=1)),
        "induction": on(followed, followed.any(axis=1)),
        "entropy": float(bits[total > 0].mean()) if (total > 0).any() else float("nan"),
        "distance": float((share * abs(query - key)).sum(axis=1).mean()),
    }


def summarize_heads(run: builder.Run, activations: Activations, tokens: Tokens) -> list[HeadSummary]:
    """Every head of every block that has attention, in their order."""
    found = []
    for index, block in enumerate(activations.blocks):
        if block.attention is None:
            continue
        shown = np.asarray(visible_keys(run, len(tokens)))
        even = shown / np.maximum(shown.sum(axis=-1, keepdims=True), 1)
        for head, (weights, uniform) in enumerate(zip(block.attention.weights, even, strict=True)):
            ours, theirs = measure_head(weights, tokens), measure_head(uniform, tokens)
            found.append(HeadSummary(index, head, ours, theirs, classify_head(ours, theirs)))
    return found


def classify_head(measured: Mapping[str, float], uniform: Mapping[str, float]) -> str:
    """The role whose measure is furthest above what even weights give, if it is `MIN_EXCESS` of that and twice it."""
    clear = {name: measured[name] - uniform[name] for name in HEAD_ROLES if measured[name] >= 2 * uniform[name]}
    best = max(clear, key=lambda name: clear[name], default="")
    return best if best and clear[best] >= MIN_EXCESS else "mixed"


def sort_by_role(heads: Sequence[HeadSummary]) -> list[HeadSummary]:
    """By what they do, and of those that do the same the clearest first."""
    names = [*HEAD_ROLES, "mixed"]
    return sorted(heads, key=lambda one: (names.index(one.role), -one.found.get(one.role, -one.found["entropy"])))


# ---- what moves a prediction ----------------------------------------------------------------------------------------


def measure_influence(run: builder.Run, params: Any, tokens: Tokens) -> Influence:
    """Both measures, of any model that reads tokens.

    Occlusion is the total variation distance, ½ Σ |p − p′|, between what is predicted at t and what is predicted with
    another token at s, mean over `_NUM_REPLACEMENTS` others. The gradient is ‖∂ log p_t(ŷ_t) / ∂x_s‖, x_s being the
    embedding of token s and ŷ_t the likeliest output at t, as a share of its sum over s.
    """
    read = jnp.asarray(tokens, jnp.int32)
    others = draw_replacements(read, run.task.vocabulary)
    moved = jax.jit(partial(_occlusion_influence, run))(params, read, others)
    slopes = jax.jit(partial(_gradient_influence, run))(params, read)
    return Influence(_to_numpy(moved), _to_numpy(slopes))


def draw_replacements(tokens: Int[Array, "T"], vocabulary: int) -> Int[Array, "T N"]:
    """For each token, others out of the vocabulary, each once; the same for every model."""
    count = min(_NUM_REPLACEMENTS, vocabulary - 1)
    keys = jax.random.split(tasks.random_key(np.uint32(_REPLACEMENT_KEY)), len(tokens))
    steps = jax.vmap(lambda key: 1 + jax.random.permutation(key, vocabulary - 1)[:count])(keys)
    return (tokens[:, None] + steps) % vocabulary


def _occlusion_influence(run: builder.Run, params: Any, tokens: Array, others: Array) -> Float[Array, "R T"]:
    def move(at: tuple[Array, Array]) -> Float[Array, "R"]:
        step, new = at
        rows = jax.vmap(lambda token: tokens.at[step].set(token))(jnp.append(tokens[step], new))
        y, _ = _apply_from_start(run.model, params, rows)
        p = jax.nn.softmax(y.reshape(len(rows), -1, y.shape[-1]))
        return 0.5 * jnp.abs(p[1:] - p[0]).sum(axis=-1).mean(axis=0)

    return jax.lax.map(move, (jnp.arange(len(tokens)), others)).T


def _gradient_influence(run: builder.Run, params: Any, tokens: Array) -> Float[Array, "R T"]:
    logs, pull = jax.vjp(log_probability_fn(run, params), params["embed"]["embedding"][tokens])
    best = logs.argmax(axis=-1)

    def row(step: Array) -> Float[Array, "T"]:
        return jnp.linalg.norm(pull(jnp.zeros_like(logs).at[step, best[step]].set(1))[0], axis=-1)

    norms = jax.lax.map(row, jnp.arange(len(logs)))
    return norms / jnp.maximum(norms.sum(axis=-1, keepdims=True), 1e-30)


def log_probability_fn(run: builder.Run, params: Any) -> Any:
    """x [T, D] → log p [R, O]: the model from its embedded tokens on."""
    network, own = skip_embedding(run, params)

    def said(x: Float[Array, "T D"]) -> Float[Array, "R O"]:
        y, _ = _apply_from_start(network, own, x[None])
        return jax.nn.log_softmax(y.reshape(-1, y.shape[-1]))

    return said


def mean_by_distance(influence: Float[np.ndarray, "T T"]) -> Float[np.ndarray, "D"]:
    """The mean influence over all pairs t − s = 0, 1, …, as far as there are `MIN_PAIRS`, or one in short sequences."""
    farthest = max(len(influence) - MIN_PAIRS, min(len(influence), MIN_PAIRS) - 1)
    return np.array([np.diagonal(influence, -distance).mean() for distance in range(farthest + 1)], np.float32)


# ---- search ---------------------------------------------------------------------------------------------------------


class SearchModel(NamedTuple):
    """A bag of words that scores titles: that of title c is `keys`[:, c] · the mean of `words`[w], + `bias`[c]."""

    words: Float[np.ndarray, "V D"]  # each word's embedding after the norm
    keys: Float[np.ndarray, "D C"]
    bias: Float[np.ndarray, "C"]


def is_search_model(run: builder.Run) -> bool:
    """Whether a model is such a bag of words: no block, no position, one label for the mean over all words."""
    model = run.config["model"]
    bag = (
        model["depth"] == 0 and model["pool"] == "mean" and model["positions"] == "none" and not model["tie_embeddings"]
    )
    return bag and run.task.per == "sequence" and hasattr(run.task, "classes")


def extract_search_model(run: builder.Run, params: Any) -> SearchModel:
    words = params["embed"]["embedding"]
    if run.model.final_norm:
        words = nn.LayerNorm().apply({"params": params["final_norm"]}, words)
    return SearchModel(_to_numpy(words), _to_numpy(params["head"]["kernel"]), _to_numpy(params["head"]["bias"]))
