"""What the page of experiments/explore.py says of each stage on a sentence's path: its equation, and a sentence."""

from collections.abc import Sequence
from typing import NamedTuple

import models
from experiments.inspection.activations import Activations, HeadSummary, Influence
from training import builder

MAX_OUTPUTS = 128  # outputs at most are shown whole; of more, the ten likeliest
SEQUENTIAL_RAMP = ("#f4f6f8", "#a9cfe8", "#2f87c1", "#0b3a63")  # from nothing to much, on a light page
DIVERGING_RAMP = ("#7d3200", "#e0813f", "#f4f5f6", "#4d9fd3", "#00406b")  # from below zero to above

# What scores, weights and added positions are in a model, as an equation.
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
ADDED_POSITIONS = {
    "sinusoidal": ("φ(t)", "sines and cosines of the place t"),
    "learned": ("P[t]", "a row of a table that training filled, one a place"),
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


class ModelReading(NamedTuple):
    """A run as it reads the sentence. `told` says in a line what it is."""

    name: str
    told: str
    run: builder.Run
    activations: Activations
    heads: Sequence[HeadSummary]
    influence: Influence


class Stage(NamedTuple):
    """One map on the path, with its equation in HTML. `part` is "in", "layer" or "out"; `only` "attention" or not."""

    name: str
    title: str
    equation: str
    text: str
    part: str = "layer"
    only: str = ""


def path_stages(reading: ModelReading) -> list[Stage]:
    """The path of a sentence through this model."""
    run, blocks = reading.run, reading.activations.blocks
    model = run.config["model"]
    width, post = model["width"], model["norm"] == "post"
    found = [
        Stage("embedding", "Embedding", "x<sub>t</sub> = E[token<sub>t</sub>]", "Every token is looked up in a table: "
              f"{width} numbers, the same ones wherever the token stands.", "in"),
    ]  # fmt: skip
    if model["positions"] in ADDED_POSITIONS and reading.activations.position is not None:
        term, words = ADDED_POSITIONS[model["positions"]]
        found.append(
            Stage("position", "+ position", f"x<sub>t</sub> ← x<sub>t</sub> + {term}", f"Added are {words}: only so "
                  "does the same token differ from place to place.", "in")
        )  # fmt: skip
    if not blocks:
        return [*found, *_output_stages(reading)]
    norm = "norm(x<sub>t</sub>)" if model["norm"] == "pre" else "x<sub>t</sub>"
    scaled = ": moved to mean 0 and variance 1, token by token" if model["norm"] == "pre" else ""
    found.append(Stage("read", "What the layer reads", f"n<sub>t</sub> = {norm}", f"What came so far{scaled}."))
    if any(block.attention for block in blocks):
        found += _attention_stages(reading)
    mixers = ", ".join(dict.fromkeys(name for name in model["mixer"].split(",") if name != "attention"))
    if mixers:
        last = "t" if model["causal"] else "T"
        found.append(
            Stage("given", f"What the {mixers} gives", f"y<sub>t</sub> = {mixers}(n<sub>1</sub> … n<sub>{last}</sub>)",
                  "What this mixer makes of the tokens so far; it has no weights from token to token to be shown."
                  if model["causal"] else "What this mixer makes of all tokens, read both ways.", only="no-attention")
        )  # fmt: skip
    about = ("norm(", ")") if post else ("", "")
    plus = "x<sub>t</sub> + " if model["residual"] else ""
    found.append(
        Stage("added", "+ what was there before" if plus else "What follows", f"x<sub>t</sub> ← {about[0]}{plus}"
              f"y<sub>t</sub>{about[1]}", "What was read is added to what was there, so nothing is lost." if plus else
              "Nothing of what was there before is kept beside it.")
    )  # fmt: skip
    if run.model.hidden:
        reads = "norm(x<sub>t</sub>)" if model["norm"] == "pre" else "x<sub>t</sub>"
        found += [
            Stage("feedforward", "Feed-forward", f"f<sub>t</sub> = W<sub>2</sub> · {model['activation']}("
                  f"W<sub>1</sub> · {reads} + b<sub>1</sub>) + b<sub>2</sub>", "Each token by itself: a small network "
                  "makes new features out of what has been gathered."),
            Stage("after", "What leaves the layer", f"x<sub>t</sub> ← {about[0]}{plus}f<sub>t</sub>{about[1]}",
                  "The next layer reads this, or the prediction."),
        ]  # fmt: skip
    return [*found, *_output_stages(reading)]


def _attention_stages(reading: ModelReading) -> list[Stage]:
    """What happens in one head, and how heads are joined."""
    model = reading.run.config["model"]
    own = models.mixer_options("attention") | model["attention"]  # an older record does not have them all
    heads, _, size = next(block.attention for block in reading.activations.blocks if block.attention).query.shape
    score = _SIMILARITY_EQUATIONS[own["similarity"]].format(size=size) + _BIAS_TERMS.get(model["positions"], "")
    bias = [f" + b<sub>{name}</sub>" if own["bias"] else "" for name in "QKVO"]
    sees = "it sees itself and what came before, and nothing ahead" if model["causal"] else "it sees every token"
    sees = f"it sees {own['window']} tokens at most, the nearest" if own["window"] else sees
    made = [
        ("query", "Q: queries", "q", "Q", "What this token looks for, in the words of this head."),
        ("key", "K: keys", "k", "K", "What this token offers to be found by."),
        ("value", "V: values", "v", "V", "What this token hands over where it is found."),
    ]
    found = [
        Stage(name, title, f"{low}<sub>t</sub> = n<sub>t</sub> · W<sub>{high}</sub>{bias['QKV'.index(high)]}",
              f"{text} {size} numbers a head.")
        for name, title, low, high, text in made
    ]  # fmt: skip
    together = own["normalizer"] in ("softmax", "linear")
    found += [
        Stage("scores", "Scores", f"s<sub>ts</sub> = {score}", "How well each key answers each query. A row is a "
              f"query; {sees}."),
        Stage("weights", f"Weights: after {own['normalizer']}", f"a<sub>ts</sub> = {_NORMALIZER_EQUATIONS[own['normalizer']]}",
              "Each row of scores becomes shares that sum to one." if together else "Each score becomes a weight by "
              "itself."),
        Stage("weighted", "Weighted values", "a<sub>ts</sub> · v<sub>s</sub>", "For the chosen token t as query: "
              "every value as far as it counts."),
        Stage("heads", "What the head reads", "z<sub>t</sub> = Σ<sub>s</sub> a<sub>ts</sub> · v<sub>s</sub>",
              "Their sum: for each token, one vector out of all that it looked at."),
        Stage("mixed", "Heads joined", f"y<sub>t</sub> = [z<sup>1</sup><sub>t</sub> … z<sup>{heads}</sup><sub>t</sub>] "
              f"· W<sub>O</sub>{bias[3]}", f"The {heads} heads side by side, and mixed to {model['width']} features."),
    ]  # fmt: skip
    return [stage._replace(only="attention") for stage in found]


def _output_stages(reading: ModelReading) -> list[Stage]:
    """What the prediction is made from, and the prediction."""
    model, per = reading.run.model, reading.run.task.per
    norm = "norm(x<sub>t</sub>)" if model.final_norm else "x<sub>t</sub>"
    of = f" of the {'mean over all tokens' if model.pool == 'mean' else 'last token'}" if per == "sequence" else ""
    found = [
        Stage("final", "Before the prediction", f"h<sub>t</sub> = {norm}", "The last features of each token.", "out")
    ]
    if reading.activations.logits.shape[1] <= MAX_OUTPUTS:
        index = "" if of else "<sub>t</sub>"
        found.append(
            Stage("probabilities", "Prediction", f"p{index} = softmax(h{index} · W + b)", f"A probability{of} for each "
                  "possible output.", "out")
        )  # fmt: skip
    return found


def position_note(reading: ModelReading) -> str:
    """A line for models that add no position to the embedding; "" for the others."""
    model = reading.run.config["model"]
    if reading.activations.position is not None:
        return ""
    if model["positions"] in _POSITION_NOTES:
        return _POSITION_NOTES[model["positions"]]
    if model["positions"] in ADDED_POSITIONS:
        which = " and ".join(
            {"q": "queries", "k": "keys", "v": "values"}[one] for one in model["attention"]["position_injection"]
        )
        return f"This model adds positions in every layer, only to what {which} are made from."
    if any(block.attention for block in reading.activations.blocks):
        return "This model is told no positions."
    return "This model is told no positions: the order is that in which tokens arrive."
