"""The search model: a bag of words whose classifier is read as attention over titles."""

from typing import Any, NamedTuple

import flax.linen as nn
import numpy as np
from jaxtyping import Float

from experiments.inspection.activations import to_numpy
from training import builder


class SearchModel(NamedTuple):
    """Scores titles: that of title c is `keys`[:, c] · the mean of `words`[w], + `bias`[c]."""

    words: Float[np.ndarray, "V D"]  # each word's embedding after the norm
    keys: Float[np.ndarray, "D C"]
    bias: Float[np.ndarray, "C"]


def is_search_model(run: builder.Run) -> bool:
    """Whether the model is a bag of words: no block, no positions, one label for the mean over all words."""
    model = run.config["model"]
    is_bag = model["depth"] == 0 and model["pool"] == "mean" and model["positions"] == "none"
    return (
        is_bag and not model["tie_embeddings"] and run.task.target_level == "sequence" and hasattr(run.task, "classes")
    )


def extract_search_model(run: builder.Run, params: Any) -> SearchModel:
    words = params["embed"]["embedding"]
    if run.model.final_norm:
        words = nn.LayerNorm().apply({"params": params["final_norm"]}, words)
    return SearchModel(to_numpy(words), to_numpy(params["head"]["kernel"]), to_numpy(params["head"]["bias"]))
