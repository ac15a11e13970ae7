"""The stages on a sentence's path through a model: for each its equation, and a sentence for the page."""

from typing import Any, NamedTuple

import models
from experiments.inspection.reading import ModelReading

MAX_OUTPUTS = 128  # that are shown whole; of more outputs only the likeliest
SEQUENTIAL_RAMP = ("#f4f6f8", "#a9cfe8", "#2f87c1", "#0b3a63")  # from little to much, on a light page
DIVERGING_RAMP = ("#7d3200", "#e0813f", "#f4f5f6", "#4d9fd3", "#00406b")  # from below zero to above

# Scores, weights and added positions as equations, by the value of the config field.
_SIMILARITY_EQUATIONS = {
    "scaled": "q<sub>t</sub> · k<sub>s</sub> / √{size}",
    "dot": "q<sub>t</sub> · k<sub>s</sub>",
    "cosine": "e<sup>τ</sup> · q<sub>t</sub> · k<sub>s</sub> / (|q<sub>t</sub>| |k<sub>s</sub>|)",
    "additive": "v · tanh(q<sub>t</sub> + k<sub>s</sub>)",
    "general": "q<sub>t</sub> · W · k<sub>s</sub>",
}
_NORMALIZER_EQUATIONS = {
    "softmax": "e<sup>s<sub>ts</sub></sup> / Σ<sub>r</sub> e<sup>s<sub>tr</sub></sup>",
    "linear": "max(s<sub>ts</sub>, 0) / Σ<sub>r</sub> max(s<sub>tr</sub>, 0)",
    "sigmoid": "σ(s<sub>ts</sub> − log n)",
    "none": "s<sub>ts</sub>",
}
_ADDED_POSITIONS = {
    "sinusoidal": ("φ(t)", "sines and cosines of the place t"),
    "learned": ("P[t]", "a row of a learned table, one for each place"),
    "randomised": ("φ(r<sub>t</sub>)", "sines and cosines of a number that grows with the place t"),
}
_POSITION_NOTES = {
    "rope": "This model adds nothing here: in each head, RoPE turns queries and keys by an angle that grows with their "
    "place, and the maps below show them turned.",
    "alibi": "This model adds nothing here: ALiBi takes off each score what grows with the distance, m · (t − s).",
    "hard_alibi": "This model adds nothing here: half of its heads see the last few tokens only.",
    "t5": "This model adds nothing here: each score gets a number that was learned for its distance.",
    "transformer_xl": "This model adds nothing here: the distance of query and key adds to their score.",
}
_BIAS_TERMS = {"alibi": " − m (t − s)", "t5": " + b<sub>t−s</sub>", "transformer_xl": " + distance"}


# What a recurrence keeps, by the map that shows it.
RECURRENCE_EQUATIONS = {
    "gates": "h<sub>t</sub> = f<sub>t</sub> ⊙ h<sub>t−1</sub> + …, &emsp; τ = −1 / mean<sub>t</sub> log f<sub>t</sub>",
    "states": "of an LSTM c<sub>t</sub> = f<sub>t</sub> ⊙ c<sub>t−1</sub> + i<sub>t</sub> ⊙ g<sub>t</sub>, "
    "&emsp; of others h<sub>t</sub>",
    "counting": "r = cov(c<sub>t</sub>, n<sub>t</sub>) / (σ<sub>c</sub> σ<sub>n</sub>), "
    "&emsp; n<sub>t</sub> = characters since the last line break",
    "kept": "mean over units of |f<sub>t</sub> · f<sub>t−1</sub> ⋯ f<sub>s+1</sub>|",
    "weights": "q<sub>t</sub> · A<sub>t</sub> ⋯ A<sub>s+1</sub> · k<sub>s</sub>",
    "memory": "S<sub>t</sub> = A<sub>t</sub> · S<sub>t−1</sub> + k<sub>t</sub> ⊗ v<sub>t</sub>",
    "eigenvalues": "the eigenvalues of ∂state<sub>t</sub> / ∂state<sub>t−1</sub>",
}


class Stage(NamedTuple):
    """One map on the path, with its equation in HTML."""

    name: str
    title: str
    equation: str
    text: str
    part: str = "layer"  # or "in" before the layers, or "out" after them
    only: str = ""  # "attention" or "no-attention" where a stage is not for all layers


def path_stages(reading: ModelReading) -> list[Stage]:
    """The path of a sentence through this model, from embedding to prediction."""
    stages = _input_stages(reading)
    if reading.activations.blocks:
        stages += _mixer_stages(reading) + _residual_stages(reading)
    return stages + _output_stages(reading)


def _input_stages(reading: ModelReading) -> list[Stage]:
    model = reading.run.config["model"]
    text = f"Every token is looked up in a table: {model['width']} numbers, the same ones wherever the token stands."
    stages = [Stage("embedding", "Embedding", "x<sub>t</sub> = E[token<sub>t</sub>]", text, "in")]
    if model["positions"] in _ADDED_POSITIONS and reading.activations.position is not None:
        term, words = _ADDED_POSITIONS[model["positions"]]
        equation = f"x<sub>t</sub> ← x<sub>t</sub> + {term}"
        text = f"Added are {words}: only so does the same token differ from place to place."
        stages.append(Stage("position", "+ position", equation, text, "in"))
    return stages


def _mixer_stages(reading: ModelReading) -> list[Stage]:
    """What a layer reads, and what its mixer makes of it."""
    model = reading.run.config["model"]
    scaled = ": moved to mean 0 and variance 1, token by token" if model["norm"] == "pre" else ""
    equation = f"n<sub>t</sub> = {_sublayer_input(model)}"
    stages = [Stage("read", "What the layer reads", equation, f"What came so far{scaled}.")]
    if any(block.attention for block in reading.activations.blocks):
        stages += _attention_stages(reading)
    mixers = ", ".join(dict.fromkeys(name for name in model["mixer"].split(",") if name != "attention"))
    if mixers:
        equation = f"y<sub>t</sub> = {mixers}(n<sub>1</sub> … n<sub>{'t' if model['causal'] else 'T'}</sub>)"
        text = (
            "What this mixer makes of the tokens so far; it has no weights from token to token to be shown."
            if model["causal"]
            else "What this mixer makes of all tokens, read both ways."
        )
        stages.append(Stage("given", f"What the {mixers} gives", equation, text, only="no-attention"))
    return stages


def _sublayer_input(model: dict[str, Any]) -> str:
    return "norm(x<sub>t</sub>)" if model["norm"] == "pre" else "x<sub>t</sub>"


def _residual_stages(reading: ModelReading) -> list[Stage]:
    """What follows the mixer in a layer: the residual sum, and the feed-forward layer with its own."""
    model = reading.run.config["model"]
    residual = "x<sub>t</sub> + " if model["residual"] else ""
    norm = "norm({})" if model["norm"] == "post" else "{}"
    title = "+ what was there before" if residual else "What follows"
    text = (
        "What was read is added to what was there, so nothing is lost."
        if residual
        else "Nothing of what was there before is kept beside it."
    )
    stages = [Stage("added", title, f"x<sub>t</sub> ← {norm.format(residual + 'y<sub>t</sub>')}", text)]
    if reading.run.model.hidden:
        hidden = f"{model['activation']}(W<sub>1</sub> · {_sublayer_input(model)} + b<sub>1</sub>)"
        equation = f"f<sub>t</sub> = W<sub>2</sub> · {hidden} + b<sub>2</sub>"
        text = "Each token by itself: a small network makes new features out of what has been gathered."
        stages.append(Stage("feedforward", "Feed-forward", equation, text))
        equation = f"x<sub>t</sub> ← {norm.format(residual + 'f<sub>t</sub>')}"
        stages.append(
            Stage("after", "What leaves the layer", equation, "The next layer reads this, or the prediction.")
        )
    return stages


def _attention_stages(reading: ModelReading) -> list[Stage]:
    """What happens in one head, and how the heads are joined."""
    model = reading.run.config["model"]
    options = models.mixer_options("attention") | model["attention"]  # an older config lacks some of them
    heads, _, size = next(block.attention for block in reading.activations.blocks if block.attention).query.shape
    bias = {name: f" + b<sub>{name}</sub>" if options["bias"] else "" for name in "QKVO"}
    projections = [
        ("query", "Q: queries", "q", "Q", "What this token looks for, in the words of this head."),
        ("key", "K: keys", "k", "K", "What this token offers to be found by."),
        ("value", "V: values", "v", "V", "What this token hands over where it is found."),
    ]
    stages = [
        Stage(
            name,
            title,
            f"{symbol}<sub>t</sub> = n<sub>t</sub> · W<sub>{matrix}</sub>{bias[matrix]}",
            f"{text} {size} numbers per head.",
        )
        for name, title, symbol, matrix, text in projections
    ]
    compared = size // 2 if options["differential"] else size
    score = _SIMILARITY_EQUATIONS[options["similarity"]].format(size=compared) + _BIAS_TERMS.get(model["positions"], "")
    weights = _NORMALIZER_EQUATIONS[options["normalizer"]]
    weights_text = "Each score becomes a weight by itself."
    if options["normalizer"] in ("softmax", "linear"):
        weights_text = "Each row of scores becomes shares that sum to one."
    seen, read = "", "z<sup>{}</sup><sub>t</sub>"
    if options["differential"]:
        seen = " These are of the first halves of query and key; the second halves have scores s′ of their own."
        weights = f"{weights} − λ · (the same of s′<sub>ts</sub>)"
        weights_text = "What both halves look at cancels, and a weight can be below zero."
        read = f"(1 − λ<sub>0</sub>) · norm({read})"
    joined = f"[{read.format(1)} … {read.format(heads)}]"
    if options["output_gate"]:
        joined = f"(σ(n<sub>t</sub> · W<sub>G</sub>) ⊙ {joined})"
    joined = f"{joined} · W<sub>O</sub>{bias['O']}"
    stages += [
        Stage(
            "scores",
            "Scores",
            f"s<sub>ts</sub> = {score}",
            f"How well each key answers each query. A row is a query; {_describe_view(model, options)}.{seen}",
        ),
        Stage(
            "weights",
            f"Weights: after {options['normalizer']}",
            f"a<sub>ts</sub> = {weights}",
            weights_text,
        ),
        Stage(
            "weighted",
            "Weighted values",
            "a<sub>ts</sub> · v<sub>s</sub>",
            "For the chosen token t as query: every value as far as it counts.",
        ),
        Stage(
            "heads",
            "What the head reads",
            "z<sub>t</sub> = Σ<sub>s</sub> a<sub>ts</sub> · v<sub>s</sub>",
            "Their sum: for each token, one vector out of all that it looked at.",
        ),
        Stage(
            "mixed",
            "Heads joined",
            f"y<sub>t</sub> = {joined}",
            f"The {heads} heads side by side, and mixed to {model['width']} features.",
        ),
    ]
    return [stage._replace(only="attention") for stage in stages]


def _describe_view(model: dict[str, Any], options: dict[str, Any]) -> str:
    """Which tokens a query sees."""
    if options["window"]:
        return f"it sees {options['window']} tokens at most, the nearest"
    return "it sees itself and what came before, and nothing ahead" if model["causal"] else "it sees every token"


def _output_stages(reading: ModelReading) -> list[Stage]:
    """What the prediction is made from, and the prediction."""
    model, level = reading.run.model, reading.run.task.target_level
    norm = "norm(x<sub>t</sub>)" if model.final_norm else "x<sub>t</sub>"
    equation = f"h<sub>t</sub> = {norm}"
    stages = [Stage("final", "Before the prediction", equation, "The last features of each token.", "out")]
    if reading.activations.logits.shape[1] <= MAX_OUTPUTS:
        index, source = "<sub>t</sub>", ""
        if level == "sequence":
            index, source = "", f" of the {'mean over all tokens' if model.pool == 'mean' else 'last token'}"
        equation = f"p{index} = softmax(h{index} · W + b)"
        text = f"A probability{source} for each possible output."
        stages.append(Stage("probabilities", "Prediction", equation, text, "out"))
    return stages


def position_note(reading: ModelReading) -> str:
    """A line about a model that adds no positions to the embedding; "" for the others."""
    model = reading.run.config["model"]
    if reading.activations.position is not None:
        return ""
    if model["positions"] in _POSITION_NOTES:
        return _POSITION_NOTES[model["positions"]]
    if model["positions"] in _ADDED_POSITIONS:
        plural = {"q": "queries", "k": "keys", "v": "values"}
        which = " and ".join(plural[letter] for letter in model["attention"]["position_injection"])
        return f"This model adds positions in every layer, only to what {which} are made from."
    if any(block.attention for block in reading.activations.blocks):
        return "This model gets no positions."
    return "This model gets no positions: the order is that in which tokens arrive."
