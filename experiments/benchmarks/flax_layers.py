"""flax.linen's and flax.nnx's own layers, for experiments.benchmarks.worker."""

from typing import Any

import flax.linen as linen
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from experiments.benchmarks.worker import HEADS, Cell, TimedCall, build_jax_call


def build_flax_call(cell: Cell, weights: Any, library: str) -> TimedCall:
    """flax.linen's and flax.nnx's own layers, from the same weights."""
    d = cell.width
    causal = jnp.tril(jnp.ones((1, 1, cell.length, cell.length), bool))
    dense = linen.Dense(d)
    if cell.what == "token":
        raise ValueError(f"{library}: its token is not timed")
    named = [_to_linen_weights(cell.mixer, w, d) for w in weights]
    if library == "linen":
        if cell.mixer == "attention":
            module: Any = linen.MultiHeadDotProductAttention(num_heads=HEADS, qkv_features=d)
            return build_jax_call(cell, named, lambda w, x, s: (module.apply({"params": w}, x, mask=causal), s), None)
        cells: Any = {"rnn": linen.SimpleCell, "lstm": linen.OptimizedLSTMCell, "gru": linen.GRUCell}
        module = linen.RNN(cells[cell.mixer](d))

        def layer(w: Any, x: Any, s: Any) -> tuple[Any, Any]:
            y: Any = module.apply({"params": {"cell": w["cell"]}}, x)
            return dense.apply({"params": w["output"]}, y), s

        return build_jax_call(cell, named, layer, None)

    rngs = nnx.Rngs(0)
    if cell.mixer == "attention":
        made: Any = nnx.MultiHeadAttention(HEADS, d, d, d, decode=False, rngs=rngs)
    else:
        cells = {"rnn": nnx.SimpleCell, "lstm": nnx.OptimizedLSTMCell, "gru": nnx.GRUCell}
        made = nnx.RNN(cells[cell.mixer](d, d, rngs=rngs), rngs=rngs)
    graph, found, rest = nnx.split(made, nnx.Param, ...)
    found = nnx.to_pure_dict(found)

    def converted(w: dict[str, Any]) -> Any:
        hidden_size = w if cell.mixer == "attention" else {"cell": _to_nnx_cell(cell.mixer, w["cell"])}
        return jax.tree.map(lambda like, a: np.reshape(a, like.shape), found, hidden_size)

    def of_nnx(w: Any, x: Any, s: Any) -> tuple[Any, Any]:
        state = nnx.State(jax.tree.map(nnx.Param, w["hidden_size"]))
        layer = nnx.merge(graph, state, rest)
        if cell.mixer == "attention":
            return layer(x, mask=causal), s
        zeros = jnp.zeros((len(x), d))
        y = layer(x, initial_carry=(zeros, zeros) if cell.mixer == "lstm" else zeros)
        return dense.apply({"params": w["output"]}, y), s

    own = [{"hidden_size": converted(w), "output": w.get("output")} for w in named]
    own = [w if cell.mixer != "attention" else {"hidden_size": w["hidden_size"]} for w in own]
    return build_jax_call(cell, own, of_nnx, None)


def _to_linen_weights(mixer: str, w: dict[str, Any], d: int) -> dict[str, Any]:
    """Our weights as flax.linen names them."""
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
    """flax.nnx joins what flax.linen keeps apart."""
    if mixer == "rnn":
        return {"dense_i": cell["i"], "dense_h": cell["h"]}
    gates, biased = ("ifgo", "h") if mixer == "lstm" else ("rzn", "i")
    joined: Any = {
        f"dense_{part}": {"kernel": np.concatenate([cell[part + gate]["kernel"] for gate in gates], axis=1)}
        for part in "ih"
    }
    joined[f"dense_{biased}"]["bias"] = np.concatenate([cell[biased + gate]["bias"] for gate in gates])
    return joined
