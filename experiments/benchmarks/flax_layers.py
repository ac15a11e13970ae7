"""The benchmark's two layers as flax.linen and flax.nnx have them, from the same weights."""

from functools import partial
from typing import Any

import flax.linen as linen
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from experiments.benchmarks.cell import HEADS, Cell, TimedCall
from experiments.benchmarks.jax_layers import Layer, build_jax_call

LINEN_CELLS: Any = {"rnn": linen.SimpleCell, "lstm": linen.OptimizedLSTMCell, "gru": linen.GRUCell}
NNX_CELLS: Any = {"rnn": nnx.SimpleCell, "lstm": nnx.OptimizedLSTMCell, "gru": nnx.GRUCell}


def build_flax_call(cell: Cell, weights: Any, library: str) -> TimedCall:
    """The two layers of `library`, "linen" or "nnx". Raises ValueError for a token: their caches are not timed."""
    if cell.what == "token":
        raise ValueError(f"{library}: its token is not timed")
    linen_weights = [_to_linen_weights(cell.mixer, w, cell.width) for w in weights]
    if library == "linen":
        return build_jax_call(cell, linen_weights, _linen_layer(cell), None)
    layer, parameters = _nnx_layer(cell)
    nnx_weights = [_to_nnx_weights(cell.mixer, w, parameters) for w in linen_weights]
    return build_jax_call(cell, nnx_weights, layer, None)


def _linen_layer(cell: Cell) -> Layer:
    if cell.mixer == "attention":
        module: Any = linen.MultiHeadDotProductAttention(num_heads=HEADS, qkv_features=cell.width)
        return partial(_apply_linen_attention, module, _causal_mask(cell))
    return partial(_apply_linen_rnn, linen.RNN(LINEN_CELLS[cell.mixer](cell.width)), linen.Dense(cell.width))


def _apply_linen_attention(module: Any, mask: Any, weights: Any, x: Any, state: Any) -> tuple[Any, Any]:
    return module.apply({"params": weights}, x, mask=mask), state


def _apply_linen_rnn(module: Any, projection: Any, weights: Any, x: Any, state: Any) -> tuple[Any, Any]:
    y = module.apply({"params": {"cell": weights["cell"]}}, x)
    return projection.apply({"params": weights["output"]}, y), state


def _nnx_layer(cell: Cell) -> tuple[Layer, Any]:
    """The layer, and its parameters as a pure dict that has their names and shapes."""
    rngs, d = nnx.Rngs(0), cell.width
    if cell.mixer == "attention":
        module: Any = nnx.MultiHeadAttention(HEADS, d, d, d, decode=False, rngs=rngs)
    else:
        module = nnx.RNN(NNX_CELLS[cell.mixer](d, d, rngs=rngs), rngs=rngs)
    graph, parameters, rest = nnx.split(module, nnx.Param, ...)
    mask, projection = _causal_mask(cell), linen.Dense(d)

    def layer(weights: Any, x: Any, state: Any) -> tuple[Any, Any]:
        merged = nnx.merge(graph, nnx.State(jax.tree.map(nnx.Param, weights["module"])), rest)
        if cell.mixer == "attention":
            return merged(x, mask=mask), state
        zeros = jnp.zeros((len(x), d))
        y = merged(x, initial_carry=(zeros, zeros) if cell.mixer == "lstm" else zeros)
        return projection.apply({"params": weights["output"]}, y), state

    return layer, nnx.to_pure_dict(parameters)


def _causal_mask(cell: Cell) -> Any:
    return jnp.tril(jnp.ones((1, 1, cell.length, cell.length), bool))


def _to_nnx_weights(mixer: str, weights: dict[str, Any], parameters: Any) -> dict[str, Any]:
    """flax.linen's weights as flax.nnx names and shapes its `parameters`."""
    named = weights if mixer == "attention" else {"cell": _to_nnx_cell(mixer, weights["cell"])}
    module = jax.tree.map(lambda like, weight: np.reshape(weight, like.shape), parameters, named)
    return {"module": module} if mixer == "attention" else {"module": module, "output": weights["output"]}


def _to_linen_weights(mixer: str, w: dict[str, Any], d: int) -> dict[str, Any]:
    """This project's weights as flax.linen names them."""
    if mixer == "attention":
        size = d // HEADS
        named = {
            name: {
                "kernel": w[f"{name}_kernel"].reshape(d, HEADS, size),
                "bias": w[f"{name}_bias"].reshape(HEADS, size),
            }
            for name in ("query", "key", "value")
        }
        return {**named, "out": {"kernel": w["output"]["kernel"].reshape(HEADS, size, d), "bias": w["output"]["bias"]}}
    kernel, bias, recurrent = w["input"]["kernel"], w["input"]["bias"], w["recurrent"]
    if mixer == "rnn":
        cell: Any = {"i": {"kernel": kernel, "bias": bias}, "h": {"kernel": recurrent}}
    elif mixer == "lstm":
        cell = {}
        for at, gate in enumerate("ifgo"):
            cut = slice(at * d, (at + 1) * d)
            cell[f"i{gate}"] = {"kernel": kernel[:, cut]}
            cell[f"h{gate}"] = {"kernel": recurrent[:, cut], "bias": bias[cut]}
    else:
        cell = {}
        for at, gate in enumerate("rzn"):
            cut = slice(at * d, (at + 1) * d)
            cell[f"i{gate}"] = {"kernel": kernel[:, cut], "bias": bias[cut]}
            cell[f"h{gate}"] = {"kernel": recurrent[:, cut]}
        cell["hn"]["bias"] = w["candidate_bias"]
    return {"cell": cell, "output": w["output"]}


def _to_nnx_cell(mixer: str, cell: dict[str, Any]) -> dict[str, Any]:
    """flax.linen's weights of a recurrent cell, concatenated over its gates as flax.nnx has them."""
    if mixer == "rnn":
        return {"dense_i": cell["i"], "dense_h": cell["h"]}
    gates, biased = ("ifgo", "h") if mixer == "lstm" else ("rzn", "i")
    joined: Any = {
        f"dense_{part}": {"kernel": np.concatenate([cell[part + gate]["kernel"] for gate in gates], axis=1)}
        for part in "ih"
    }
    joined[f"dense_{biased}"]["bias"] = np.concatenate([cell[biased + gate]["bias"] for gate in gates])
    return joined
