"""What each attention head looks at, measured, and the role that it is named by."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from experiments.inspection.activations import Activations, Tokens, visible_keys
from training import builder

HEAD_ROLES = {
    "previous": "previous token",
    "first": "first token",
    "itself": "itself",
    "same": "same token",
    "induction": "induction",
}
MIN_EXCESS = 0.2  # over uniform attention, for a head to be named by a measure
HEAD_MEASURES = {
    "previous": "mean weight on the token just before",
    "first": "mean weight on the first token, from all others",
    "itself": "mean weight of a token on itself",
    "same": "mean weight on earlier tokens that are the same, where there are any",
    "induction": "mean weight on the tokens that followed earlier ones that are the same, where there are any",
    "entropy": "entropy of the weights in bits: 0 where all lies on one token",
    "distance": "mean distance, in tokens",
}


class HeadSummary(NamedTuple):
    """One head: HEAD_MEASURES of its weights, and of weights spread evenly over what it may see."""

    block: int
    head: int
    measured: Mapping[str, float]
    uniform: Mapping[str, float]
    role: str  # one of HEAD_ROLES, or "mixed"


def measure_head(weights: Float[np.ndarray, "T T"], tokens: Tokens) -> dict[str, float]:
    """HEAD_MEASURES of one head's weights; nan where there is nothing to take a mean over."""
    steps = np.arange(len(tokens))
    query, key = np.meshgrid(steps, steps, indexing="ij")
    same = (tokens[:, None] == tokens[None, :]) & (key < query)
    followed = np.pad(same, ((0, 0), (1, 0)))[:, :-1] & (key < query)  # [t, s]: s − 1 is a token like t
    weights = np.asarray(weights, np.float64)
    positive = np.maximum(weights, 0)
    total = positive.sum(axis=1)
    share = positive / np.maximum(total, 1e-30)[:, None]
    entropy = -(share * np.log2(np.where(share > 0, share, 1))).sum(axis=1)

    def mean_weight(keys: Any, queries: Any) -> float:
        return float((weights * keys).sum(axis=1)[queries].mean()) if queries.any() else float("nan")

    return {
        "previous": mean_weight(key == query - 1, steps > 0),
        "first": mean_weight(key == 0, steps > 0),
        "itself": mean_weight(key == query, steps >= 0),
        "same": mean_weight(same, same.any(axis=1)),
        "induction": mean_weight(followed, followed.any(axis=1)),
        "entropy": float(entropy[total > 0].mean()) if (total > 0).any() else float("nan"),
        "distance": float((share * abs(query - key)).sum(axis=1).mean()),
    }


def summarize_heads(run: builder.Run, activations: Activations, tokens: Tokens) -> list[HeadSummary]:
    """Every head of every block that has attention, in their order."""
    summaries = []
    for index, block in enumerate(activations.blocks):
        if block.attention is None:
            continue
        visible = np.asarray(visible_keys(run, len(tokens)))
        uniform_weights = visible / np.maximum(visible.sum(axis=-1, keepdims=True), 1)
        for head, (weights, even) in enumerate(zip(block.attention.weights, uniform_weights, strict=True)):
            measured, uniform = measure_head(weights, tokens), measure_head(even, tokens)
            summaries.append(HeadSummary(index, head, measured, uniform, classify_head(measured, uniform)))
    return summaries


def classify_head(measured: Mapping[str, float], uniform: Mapping[str, float]) -> str:
    """The role with the largest excess over uniform attention, if excess ≥ MIN_EXCESS and value ≥ 2 × uniform; else
    "mixed"."""
    excess = {name: measured[name] - uniform[name] for name in HEAD_ROLES if measured[name] >= 2 * uniform[name]}
    best = max(excess, key=lambda name: excess[name], default="")
    return best if best and excess[best] >= MIN_EXCESS else "mixed"


def sort_by_role(heads: Sequence[HeadSummary]) -> list[HeadSummary]:
    """Heads by role, and those of one role by how clear it is; mixed heads by the entropy of their weights."""
    roles = [*HEAD_ROLES, "mixed"]
    return sorted(heads, key=lambda one: (roles.index(one.role), -one.measured.get(one.role, -one.measured["entropy"])))
