"""Which parameters of a network are matrices of products, for optimizers that treat those apart, such as Muon."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from models.registry import MIXERS, hidden_sizes, mixer_kwargs, parse_layer_pattern

_FEEDFORWARD_MATRICES = {"up/kernel": 1, "down/kernel": 1}
_BRIDGE_MATRICES = {f"{name}/kernel": 1 for name in ("query", "key", "value", "output")} | {"between": 0}
_SUMMARY_MATRICES = {"kernel": 1}


def product_matrix_counter(model: Mapping[str, Any]) -> Callable[[Sequence[str]], int | None]:
    """A function from the path of a parameter to how many matrices it holds, as `Mixer.product_matrices` counts them.

    It returns None for what is none. Matrices of products are those of mixers, of feed-forward layers, and of what a
    decoder reads its encoder by. Embeddings, positions and the head are tables, with a row or a column for each token.

    Raises ValueError for a resolved `model` config whose mixer does not say which they are, and for a network without
    mixers.
    """
    if model.get("associative_memory"):
        raise ValueError("model.associative_memory: such a network has no mixers, whose matrices are asked for")
    sizes = zip(parse_layer_pattern(model["mixer"]), hidden_sizes(model), strict=True)
    mixers = [_mixer_matrices(model, name, size) for name, size in sizes]

    def count_matrices(path: Sequence[str]) -> int | None:
        module, *names = path[1:] if path[0] in ("encoder", "decoder") else path
        if names and names[0] in ("forward", "backward"):  # of a mixer that reads both ways
            names = names[1:]
        part, _, block = module.rpartition("_")
        if part == "mixer":
            return mixers[int(block) % len(mixers)].get("/".join(names))
        others = {"feedforward": _FEEDFORWARD_MATRICES, "bridges": _BRIDGE_MATRICES}
        known = _SUMMARY_MATRICES if module == "summary" else others.get(part, {})
        return known.get("/".join(names))

    return count_matrices


def _mixer_matrices(model: Mapping[str, Any], name: str, hidden_size: int) -> dict[str, int]:
    mixer = MIXERS[name](width=model["width"], hidden_size=hidden_size, **mixer_kwargs(model, name))
    try:
        return mixer.product_matrices()
    except NotImplementedError:
        raise ValueError(
            f"model.mixer={name}: does not say which of its parameters are matrices; add product_matrices to its class"
        ) from None
