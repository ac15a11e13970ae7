"""Weights of PyTorch's recurrent layers and attention as parameters of the mixers here, and back.

All functions are pure and PyTorch is not needed: a state_dict is a dict of numpy arrays,
`{name: tensor.numpy() for name, tensor in module.state_dict().items()}`.

**nn.RNN, nn.LSTM, nn.GRU** have for each layer and direction weight_ih [G·N, D], weight_hh [G·N, N], bias_ih and
bias_hh [G·N] (https://docs.pytorch.org/docs/stable/generated/torch.nn.LSTM.html). What is converted is the recurrent
core, a mixer's parameters without its "output": {"input": {"kernel": [D, G·N], "bias": [G·N]}, "recurrent": [N, G·N]}.

    PyTorch              mixer    G gates, in the same order on both sides
    RNN(tanh)            rnn      1
    RNN(relu)            irnn     1
    LSTM                 lstm     4: input, forget, candidate, output
    GRU                  gru      3: reset, update, candidate

PyTorch adds two biases wherever this code has one, so the sum is taken in, and bias_hh is given out as zeros. Only the
GRU's candidate keeps both: n = tanh(W_in·x + b_in + r·(W_hn·h + b_hn)), where b_hn is our "candidate_bias". Both GRUs
keep the old state where the update gate z is 1.

Not covered, since it is no part of PyTorch's layers or of ours: the projection "output" that every mixer here ends in
(`mixer_from_cores` makes it the identity), norms, residuals and feed-forward layers between mixers, LSTMs with
`proj_size` or with `disabled_gates`, and dropout between PyTorch's layers, which has no weights. A network of these
mixers alone (norm none, no residual, feedforward 0, no final norm) is then PyTorch's stack of layers.

**nn.MultiheadAttention** has in_proj_weight [3·D, D] (query, key, value one below the other; or three matrices
q_proj_weight, k_proj_weight, v_proj_weight), in_proj_bias [3·D] and out_proj. Heads lie next to each other on both
sides, and both divide scores by √(D/heads). Covered are the weights of attention with itself, whose inner width is the
width. Not covered: add_bias_kv, add_zero_attn, and what attention here has besides: positions, windows, other
similarities and normalizers, tied projections. Shared keys and values (`kv_heads`) go out as copies for every head.

Matrices are transposed: PyTorch has y = W·x and this code y = x·W. A linear layer's kernel is `weight.T`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

GATE_COUNTS = {"rnn": 1, "irnn": 1, "lstm": 4, "gru": 3}
_DIRECTIONS = ("", "_reverse")
_PROJECTIONS = ("query", "key", "value")

StateDict = Mapping[str, np.ndarray]


# ---- recurrent layers -----------------------------------------------------------------------------------------------


def cores_from_torch(state_dict: StateDict, cell: str) -> list[list[dict[str, Any]]]:
    """The recurrent cores of an nn.RNN, nn.LSTM or nn.GRU: [layer][direction], forward before backward.

    `cell` is the name of the mixer that they are for; without biases in the `state_dict`, they are zero. Raises
    ValueError, in one line, for names or shapes that are not of such a layer.
    """
    gates, remaining, cores = _gate_count(cell), set(state_dict), []
    while f"weight_ih_l{len(cores)}" in state_dict:
        layer = len(cores)
        suffixes = [f"_l{layer}{d}" for d in _DIRECTIONS if f"weight_ih_l{layer}{d}" in state_dict]
        cores.append([_core_from_torch(state_dict, suffix, cell, gates) for suffix in suffixes])
        remaining -= {f"{kind}{suffix}" for suffix in suffixes for kind in _torch_names("")}
    if not cores:
        raise ValueError(f"the state_dict has no weight_ih_l0, but {', '.join(sorted(state_dict)[:3]) or 'nothing'}")
    if remaining:
        hint = "; proj_size has no counterpart here" if any("weight_hr" in name for name in remaining) else ""
        raise ValueError(f"the state_dict has {sorted(remaining)[0]}, which no layer of a {cell} has{hint}")
    return cores


def cores_to_torch(cores: Sequence[Sequence[Mapping[str, Any]]], cell: str) -> dict[str, np.ndarray]:
    """The state_dict of an nn.RNN, nn.LSTM or nn.GRU with these cores, [layer][direction].

    A mixer's parameters are taken too: their "output" is left out. Raises ValueError, in one line, for what is no core
    of `cell`.
    """
    gates = _gate_count(cell)
    state_dict = {}
    for layer, directions in enumerate(cores):
        for suffix, core in zip(_DIRECTIONS, directions, strict=False):
            state_dict |= _core_to_torch(core, f"_l{layer}{suffix}", cell, gates)
    return state_dict


def mixer_from_cores(directions: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A mixer's parameters with these cores, [direction], whose outputs are PyTorch's: the states, side by side.

    The projection "output" is the identity, so the mixer's width is that of its outputs: its units, or with two
    directions (a mixer that is not causal) twice as many. Raises ValueError, in one line, if the inputs have another.
    """
    units = [np.shape(core["recurrent"])[0] for core in directions]
    width = sum(units)
    mixers = []
    for index, core in enumerate(directions):
        inputs = np.shape(core["input"]["kernel"])[0]
        if inputs != width:
            raise ValueError(
                f"a mixer's inputs are as wide as its outputs: with {width} outputs it can't have {inputs} inputs; "
                f"give the layer a projection of its own, as model.embed is"
            )
        kernel = np.eye(width, dtype=np.float32)[sum(units[:index]) : sum(units[: index + 1])]
        mixers.append({**core, "output": {"kernel": kernel, "bias": np.zeros(width, np.float32)}})
    return mixers[0] if len(mixers) == 1 else dict(zip(("forward", "backward"), mixers, strict=True))


def cores_from_mixer(params: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The cores of a recurrent mixer's parameters, one for each direction, without the projection "output"."""
    directions = [params["forward"], params["backward"]] if "forward" in params else [params]
    return [{name: leaf for name, leaf in core.items() if name != "output"} for core in directions]


def _gate_count(cell: str) -> int:
    if cell not in GATE_COUNTS:
        raise ValueError(f"cell={cell}: must be one of {', '.join(GATE_COUNTS)}")
    return GATE_COUNTS[cell]


def _torch_names(suffix: str) -> list[str]:
    return [f"{kind}{suffix}" for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]


def _core_from_torch(state_dict: StateDict, suffix: str, cell: str, gates: int) -> dict[str, Any]:
    names = _torch_names(suffix)
    size = len(state_dict[names[0]])
    units = size // gates
    _check_shape(names[0], state_dict[names[0]], (gates * units, np.shape(state_dict[names[0]])[-1]), cell)
    if names[1] not in state_dict:
        raise ValueError(f"the state_dict has {names[0]} and no {names[1]}")
    _check_shape(names[1], state_dict[names[1]], (size, units), cell)
    zeros = np.zeros(size, np.float32)
    bias_ih, bias_hh = (np.asarray(state_dict.get(name, zeros)) for name in names[2:])
    for name, bias in zip(names[2:], (bias_ih, bias_hh), strict=True):
        _check_shape(name, bias, (size,), cell)
    core = {"recurrent": np.ascontiguousarray(state_dict[names[1]].T)}
    if cell == "gru":
        core["candidate_bias"] = bias_hh[2 * units :].copy()
        bias_hh = np.concatenate([bias_hh[: 2 * units], zeros[2 * units :]])
    kernel = np.ascontiguousarray(state_dict[names[0]].T)
    return {"input": {"kernel": kernel, "bias": bias_ih + bias_hh}, **core}


def _core_to_torch(core: Mapping[str, Any], suffix: str, cell: str, gates: int) -> dict[str, np.ndarray]:
    names = {"input", "recurrent", *(["candidate_bias"] if cell == "gru" else [])}
    if set(core) - {"output"} != names:
        raise ValueError(
            f"parameters {', '.join(sorted(core))} are not of a {cell}, which has {', '.join(sorted(names))}"
        )
    recurrent = np.asarray(core["recurrent"])
    units = len(recurrent)
    hint = "; gates that are held at 1 (disabled_gates) have no counterpart in PyTorch" if cell == "lstm" else ""
    _check_shape("recurrent", recurrent, (units, gates * units), cell, hint)
    bias_hh = np.zeros(gates * units, np.float32)
    if cell == "gru":
        bias_hh[2 * units :] = core["candidate_bias"]
    arrays = core["input"]["kernel"].T, recurrent.T, core["input"]["bias"], bias_hh
    return {name: np.array(a, order="C") for name, a in zip(_torch_names(suffix), arrays, strict=True)}


# ---- attention ------------------------------------------------------------------------------------------------------


def attention_from_torch(state_dict: StateDict) -> dict[str, Any]:
    """The parameters of attention from those of an nn.MultiheadAttention; `model.attention.heads` is its num_heads.

    Without biases in the `state_dict` there are none, as with `model.attention.bias` False. Raises ValueError, in one
    line, for names or shapes that are not of attention with itself.
    """
    state_dict = dict(state_dict)
    if "in_proj_weight" in state_dict:
        stacked = state_dict.pop("in_proj_weight")
        width = np.shape(stacked)[-1]
        _check_shape("in_proj_weight", stacked, (3 * width, width), "attention")
        matrices = np.split(np.asarray(stacked), 3)
    elif {"q_proj_weight", "k_proj_weight", "v_proj_weight"} <= set(state_dict):
        matrices = [np.asarray(state_dict.pop(f"{letter}_proj_weight")) for letter in "qkv"]
        width = len(matrices[0])
        for name, matrix in zip(_PROJECTIONS, matrices, strict=True):
            _check_shape(f"{name[0]}_proj_weight", matrix, (width, width), "attention")
    else:
        raise ValueError(f"the state_dict has no in_proj_weight, but {', '.join(sorted(state_dict)[:3]) or 'nothing'}")
    params: dict[str, Any] = {
        f"{name}_kernel": np.ascontiguousarray(matrix.T) for name, matrix in zip(_PROJECTIONS, matrices, strict=True)
    }
    if "out_proj.weight" not in state_dict:
        raise ValueError("the state_dict has in_proj_weight and no out_proj.weight")
    output = np.asarray(state_dict.pop("out_proj.weight"))
    _check_shape("out_proj.weight", output, (width, width), "attention")
    params["output"] = {"kernel": np.ascontiguousarray(output.T)}
    if "in_proj_bias" in state_dict:
        biases = np.asarray(state_dict.pop("in_proj_bias"))
        _check_shape("in_proj_bias", biases, (3 * width,), "attention")
        params |= {f"{name}_bias": bias.copy() for name, bias in zip(_PROJECTIONS, np.split(biases, 3), strict=True)}
        params["output"]["bias"] = np.array(state_dict.pop("out_proj.bias", np.zeros(width, np.float32)))
    if state_dict:
        hint = "; add_bias_kv has no counterpart here" if "bias_k" in state_dict else ""
        raise ValueError(f"the state_dict has {sorted(state_dict)[0]}, which attention does not have{hint}")
    return params


def attention_to_torch(params: Mapping[str, Any], heads: int) -> dict[str, np.ndarray]:
    """The state_dict of an nn.MultiheadAttention with so many heads and these parameters of attention.

    Raises ValueError, in one line, for parameters that it has no place for, or an inner width that is not the width.
    """
    bias = "bias" in params.get("output", {})
    names = {f"{name}_{kind}" for name in _PROJECTIONS for kind in (("kernel", "bias") if bias else ("kernel",))}
    names.add("output")
    if missing := sorted(names - set(params)):
        raise ValueError(f"the parameters have no {missing[0]}: tied projections have no counterpart in PyTorch")
    if unknown := sorted(set(params) - names):
        raise ValueError(f"the parameters have {unknown[0]}, for which nn.MultiheadAttention has no place")
    width, inner = np.shape(params["query_kernel"])
    if width != inner:
        raise ValueError(f"attention has an inner width of {inner}: nn.MultiheadAttention has the width, {width}")
    if inner % heads:
        raise ValueError(f"heads={heads}: must divide the inner width {inner}")
    size = inner // heads

    def repeat_groups(array: Any) -> np.ndarray:
        """The columns of every head, where several heads share those of a group."""
        grouped = np.asarray(array).reshape(*np.shape(array)[:-1], -1, size)
        return np.repeat(grouped, heads // grouped.shape[-2], axis=-2).reshape(*np.shape(array)[:-1], inner)

    state_dict = {
        "in_proj_weight": np.concatenate([repeat_groups(params[f"{name}_kernel"]).T for name in _PROJECTIONS]),
        "out_proj.weight": np.array(np.asarray(params["output"]["kernel"]).T, order="C"),
    }
    if bias:
        state_dict["in_proj_bias"] = np.concatenate([repeat_groups(params[f"{name}_bias"]) for name in _PROJECTIONS])
        state_dict["out_proj.bias"] = np.array(params["output"]["bias"])
    return state_dict


def _check_shape(name: str, array: Any, shape: tuple[int, ...], cell: str, hint: str = "") -> None:
    if np.shape(array) != shape:
        raise ValueError(f"{name} is {list(np.shape(array))}, and in a layer of {cell} it would be {list(shape)}{hint}")
