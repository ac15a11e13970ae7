"""Weights of PyTorch's layers in and out: against its documented equations, and itself where it is installed."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import models
from models import torch_weights

STEPS, UNITS = 7, 4
KINDS = {"rnn": ("RNN", {"nonlinearity": "tanh"}), "irnn": ("RNN", {"nonlinearity": "relu"})}
KINDS |= {"lstm": ("LSTM", {}), "gru": ("GRU", {})}


# ---- PyTorch's equations, in float64 --------------------------------------------------------------------------------


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def run_layer(state_dict: dict[str, np.ndarray], suffix: str, cell: str, x: np.ndarray) -> np.ndarray:
    """The equations of https://docs.pytorch.org/docs/stable/generated/torch.nn.LSTM.html and its neighbors: [T, N]."""
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    w_i, w_h, b_i, b_h = (state_dict[name + suffix].astype(np.float64) for name in names)
    h = c = np.zeros(w_h.shape[1])
    outputs = []
    for x_t in x:
        of_input, of_state = w_i @ x_t + b_i, w_h @ h + b_h
        if cell == "rnn":
            h = np.tanh(of_input + of_state)
        elif cell == "irnn":
            h = np.maximum(of_input + of_state, 0)
        elif cell == "lstm":
            i, f, g, o = np.split(of_input + of_state, 4)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
        else:
            (i_r, i_z, i_n), (h_r, h_z, h_n) = np.split(of_input, 3), np.split(of_state, 3)
            n, z = np.tanh(i_n + sigmoid(i_r + h_r) * h_n), sigmoid(i_z + h_z)
            h = (1 - z) * n + z * h
        outputs.append(h)
    return np.stack(outputs)


def run_stack(state_dict: dict[str, np.ndarray], cell: str, layers: int, both_ways: bool, x: np.ndarray) -> np.ndarray:
    for layer in range(layers):
        outputs = [run_layer(state_dict, f"_l{layer}", cell, x)]
        if both_ways:
            outputs.append(run_layer(state_dict, f"_l{layer}_reverse", cell, x[::-1])[::-1])
        x = np.concatenate(outputs, axis=1)
    return x


def run_attention(state_dict: dict[str, np.ndarray], heads: int, x: np.ndarray) -> np.ndarray:
    """Causal nn.MultiheadAttention of a sequence [T, D] with itself."""
    wide = {name: array.astype(np.float64) for name, array in state_dict.items()}
    width, size = x.shape[1], x.shape[1] // heads
    projected = x @ wide["in_proj_weight"].T + wide.get("in_proj_bias", np.zeros(3 * width))
    q, k, v = (part.reshape(len(x), heads, size) for part in np.split(projected, 3, axis=1))
    scores = np.einsum("thk,shk->hts", q, k) / np.sqrt(size)
    weights = np.exp(scores) * np.tri(len(x))
    weights /= weights.sum(axis=-1, keepdims=True)
    y = np.einsum("hts,shk->thk", weights, v).reshape(len(x), width)
    return y @ wide["out_proj.weight"].T + wide.get("out_proj.bias", np.zeros(width))


# ---- weights and networks -------------------------------------------------------------------------------------------


def draw_state_dict(cell: str, layers: int = 1, both_ways: bool = False, units: int = UNITS) -> dict[str, np.ndarray]:
    """The state_dict of PyTorch's layers whose inputs are as wide as their outputs, with biases that are not zero."""
    random, size = np.random.default_rng(layers + 2 * both_ways), torch_weights.GATE_COUNTS[cell] * units
    width = units * (2 if both_ways else 1)
    shapes = {"weight_ih": (size, width), "weight_hh": (size, units), "bias_ih": (size,), "bias_hh": (size,)}
    return {
        f"{name}_l{layer}{direction}": random.uniform(-0.5, 0.5, shape).astype(np.float32)
        for layer in range(layers)
        for direction in (("", "_reverse") if both_ways else ("",))
        for name, shape in shapes.items()
    }


def draw_attention(width: int = 8, bias: bool = True) -> dict[str, np.ndarray]:
    random = np.random.default_rng(5)
    shapes = {"in_proj_weight": (3 * width, width), "out_proj.weight": (width, width)}
    shapes |= {"in_proj_bias": (3 * width,), "out_proj.bias": (width,)} if bias else {}
    return {name: random.normal(0, 0.4, shape).astype(np.float32) for name, shape in shapes.items()}


def without(state_dict: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in state_dict.items() if key != name}


def draw_inputs(width: int) -> np.ndarray:
    return np.random.default_rng(9).normal(size=(STEPS, width)).astype(np.float32)


def run_network(cell: str, layers: list[Any], x: np.ndarray, causal: bool = True) -> np.ndarray:
    """A network of these mixers and nothing else, on one sequence."""
    width = x.shape[1]
    config = {"mixer": cell, "depth": len(layers), "width": width, "hidden_size": width, "feedforward": 0.0}
    config |= {"activation": "gelu", "norm": "none", "residual": False, "final_norm": False, "positions": "none"}
    config |= {"tie_embeddings": False, "dropout": 0.0, "pool": "last", "max_length": STEPS, "causal": causal}
    config |= {"encoder_decoder": "", "cross_attention_heads": 1, "associative_memory": "", "update_rule": "sum"}
    config |= {"dtype": "float32", cell: models.mixer_options(cell)}
    network = models.build_model(config, vocabulary=0, channels=width, outputs=width, per="token")
    identity = {"kernel": np.eye(width, dtype=np.float32), "bias": np.zeros(width, np.float32)}
    params = {"embed": identity, "head": identity, **{f"mixer_{i}": layer for i, layer in enumerate(layers)}}
    outputs, _ = jax.jit(network.apply)({"params": params}, jnp.asarray(x)[None])
    return np.asarray(outputs[0])


def run_mixer(name: str, params: Any, x: np.ndarray, **options: Any) -> np.ndarray:
    places = jnp.arange(len(x))[None]
    mixer = models.MIXERS[name](width=x.shape[1], hidden_size=x.shape[1], max_length=STEPS, **options)
    return np.asarray(
        jax.jit(mixer.apply)({"params": params}, jnp.asarray(x)[None], positions=places, segments=places * 0 + 1)[0][0]
    )


CASES = [*((cell, 1, False) for cell in KINDS), ("lstm", 2, False), ("gru", 2, True), ("lstm", 1, True)]


@pytest.mark.parametrize(("cell", "layers", "both_ways"), CASES)
def test_a_network_of_pytorchs_weights_has_the_outputs_of_its_equations(cell: str, layers: int, both_ways: bool):
    state_dict = draw_state_dict(cell, layers, both_ways)
    x = draw_inputs(UNITS * (2 if both_ways else 1))
    stack = [torch_weights.mixer_from_cores(cores) for cores in torch_weights.cores_from_torch(state_dict, cell)]
    ours = run_network(cell, stack, x, causal=not both_ways)
    np.testing.assert_allclose(ours, run_stack(state_dict, cell, layers, both_ways, x), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("cell", "layers", "both_ways"), CASES)
def test_weights_given_out_are_the_same_function_with_one_bias(cell: str, layers: int, both_ways: bool):
    state_dict = draw_state_dict(cell, layers, both_ways)
    cores = torch_weights.cores_from_torch(state_dict, cell)
    back = torch_weights.cores_to_torch(cores, cell)
    assert {name: array.shape for name, array in back.items()} == {name: a.shape for name, a in state_dict.items()}
    x = draw_inputs(UNITS * (2 if both_ways else 1))
    theirs, ours = (run_stack(weights, cell, layers, both_ways, x) for weights in (state_dict, back))
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)
    is_candidate = np.arange(torch_weights.GATE_COUNTS[cell] * UNITS) >= (2 * UNITS if cell == "gru" else np.inf)
    for name, array in back.items():
        if "weight" in name:
            np.testing.assert_array_equal(array, state_dict[name])
        if "bias_hh" in name:
            np.testing.assert_array_equal(array, np.where(is_candidate, state_dict[name], 0))
    again = torch_weights.cores_from_torch(back, cell)
    jax.tree.map(np.testing.assert_array_equal, again, cores)


def test_a_trained_mixer_given_out_is_pytorchs_layer_before_its_projection():
    mixer = models.MIXERS["gru"](width=3, hidden_size=UNITS)
    x = draw_inputs(3)
    places = jnp.arange(STEPS)[None]
    params = jax.jit(mixer.init)(jax.random.key(0), jnp.asarray(x)[None], positions=places, segments=places * 0 + 1)[
        "params"
    ]
    params = jax.tree.map(lambda p: p + 0.1 * np.random.default_rng(p.size).normal(size=p.shape).astype("f"), params)
    apply = jax.jit(mixer.apply)
    outputs, state = apply({"params": params}, jnp.asarray(x)[None], positions=places, segments=places * 0 + 1)
    state_dict = torch_weights.cores_to_torch([torch_weights.cores_from_mixer(params)], "gru")
    states = run_layer(state_dict, "_l0", "gru", x)
    projected = states @ np.asarray(params["output"]["kernel"], np.float64) + np.asarray(params["output"]["bias"])
    np.testing.assert_allclose(np.asarray(outputs[0]), projected, rtol=0, atol=2e-6)
    np.testing.assert_allclose(np.asarray(state["carry"]["h"][0]), states[-1], rtol=0, atol=1e-6)


@pytest.mark.parametrize("bias", [True, False])
def test_attention_of_pytorchs_weights_has_the_outputs_of_its_equations(bias: bool):
    state_dict, x = draw_attention(bias=bias), draw_inputs(8)
    params = torch_weights.attention_from_torch(state_dict)
    ours = run_mixer("attention", params, x, heads=2, bias=bias)
    np.testing.assert_allclose(ours, run_attention(state_dict, 2, x), rtol=0, atol=1e-6)
    back = torch_weights.attention_to_torch(params, 2)
    assert set(back) == set(state_dict)
    jax.tree.map(np.testing.assert_array_equal, back, state_dict)


def test_three_matrices_of_pytorch_are_read_as_one():
    state_dict = draw_attention()
    query, key, value = np.split(state_dict["in_proj_weight"], 3)
    split = {
        "q_proj_weight": query,
        "k_proj_weight": key,
        "v_proj_weight": value,
        **without(state_dict, "in_proj_weight"),
    }
    ours = torch_weights.attention_from_torch(split)
    jax.tree.map(np.testing.assert_array_equal, ours, torch_weights.attention_from_torch(state_dict))


def test_shared_keys_and_values_are_given_out_for_every_head():
    x, places = draw_inputs(8), jnp.arange(STEPS)[None]
    mixer = models.MIXERS["attention"](width=8, hidden_size=8, heads=4, kv_heads=2, max_length=STEPS)
    params = jax.jit(mixer.init)(jax.random.key(1), jnp.asarray(x)[None], positions=places, segments=places * 0 + 1)[
        "params"
    ]
    ours = run_mixer("attention", params, x, heads=4, kv_heads=2)
    state_dict = torch_weights.attention_to_torch(params, 4)
    np.testing.assert_allclose(ours, run_attention(state_dict, 4, x), rtol=0, atol=1e-6)


LSTM, MHA, OURS = draw_state_dict("lstm"), draw_attention(), torch_weights.attention_from_torch(draw_attention())
NARROW = {"recurrent": np.zeros((4, 4)), "input": {"kernel": np.zeros((3, 4))}}


@pytest.mark.parametrize(
    ("convert", "message"),
    [
        (lambda: torch_weights.cores_from_torch(LSTM, "slstm"), "cell=slstm: must be one of rnn, irnn, lstm, gru"),
        (lambda: torch_weights.cores_from_torch({}, "lstm"), "no weight_ih_l0, but nothing"),
        (lambda: torch_weights.cores_from_torch(LSTM, "gru"), r"weight_ih_l0 is \[16, 4\], and .* gru .* \[15, 4\]"),
        (lambda: torch_weights.cores_from_torch(LSTM, "rnn"), r"weight_hh_l0 is \[16, 4\], and .* rnn .* \[16, 16\]"),
        (
            lambda: torch_weights.cores_from_torch({**LSTM, "weight_hr_l0": np.zeros((2, 4))}, "lstm"),
            "weight_hr_l0, which no layer of a lstm has; proj_size has no counterpart",
        ),
        (lambda: torch_weights.cores_from_torch(without(LSTM, "weight_hh_l0"), "lstm"), "and no weight_hh_l0"),
        (
            lambda: torch_weights.cores_to_torch([torch_weights.cores_from_torch(LSTM, "lstm")[0]], "gru"),
            "input, recurrent are not of a gru, which has candidate_bias, input, recurrent",
        ),
        (
            lambda: torch_weights.cores_to_torch([[{"input": {}, "recurrent": np.zeros((4, 12))}]], "lstm"),
            r"recurrent is \[4, 12\], .* \[4, 16\]; gates that are held at 1",
        ),
        (
            lambda: torch_weights.mixer_from_cores([NARROW]),
            "with 4 outputs it can't have 3 inputs",
        ),
        (lambda: torch_weights.attention_from_torch(LSTM), "no in_proj_weight, but bias_hh_l0, bias_ih_l0"),
        (
            lambda: torch_weights.attention_from_torch({**MHA, "bias_k": np.zeros((1, 1, 8))}),
            "bias_k, which attention does not have; add_bias_kv has no counterpart",
        ),
        (
            lambda: torch_weights.attention_to_torch({**OURS, "distance_bias": 0}, 2),
            "have distance_bias, for which nn.MultiheadAttention has no place",
        ),
        (
            lambda: torch_weights.attention_to_torch(without(OURS, "key_kernel"), 2),
            "no key_kernel: tied projections",
        ),
        (lambda: torch_weights.attention_to_torch(OURS, 3), "heads=3: must divide"),
    ],
)  # fmt: skip
def test_what_has_no_counterpart_is_refused_in_one_line(convert: Any, message: str):
    with pytest.raises(ValueError, match=message) as error:
        convert()
    assert "\n" not in str(error.value)


# ---- PyTorch itself -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("cell", "layers", "both_ways"), CASES)
def test_pytorchs_own_recurrent_layers(cell: str, layers: int, both_ways: bool):
    torch = pytest.importorskip("torch")
    name, options = KINDS[cell]
    width = UNITS * (2 if both_ways else 1)
    torch.manual_seed(0)
    module = getattr(torch.nn, name)(width, UNITS, layers, bidirectional=both_ways, batch_first=True, **options)
    state_dict = {key: tensor.numpy() for key, tensor in module.state_dict().items()}
    cores, x = torch_weights.cores_from_torch(state_dict, cell), draw_inputs(width)
    ours = run_network(cell, [torch_weights.mixer_from_cores(layer) for layer in cores], x, causal=not both_ways)
    with torch.no_grad():
        theirs, _ = module(torch.from_numpy(x)[None])
        np.testing.assert_allclose(ours, theirs[0].numpy(), rtol=0, atol=1e-6)
        back = torch_weights.cores_to_torch(cores, cell)
        module.load_state_dict({key: torch.from_numpy(array) for key, array in back.items()})
        again, _ = module(torch.from_numpy(x)[None])
        np.testing.assert_allclose(again.numpy(), theirs.numpy(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("bias", [True, False])
def test_pytorchs_own_attention(bias: bool):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    module, x = torch.nn.MultiheadAttention(8, 2, bias=bias, batch_first=True), draw_inputs(8)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0, 0.4)
        params = torch_weights.attention_from_torch({k: tensor.numpy() for k, tensor in module.state_dict().items()})
        batch = torch.from_numpy(x)[None]
        mask = torch.triu(torch.ones(STEPS, STEPS, dtype=torch.bool), 1)
        theirs, _ = module(batch, batch, batch, attn_mask=mask)
    ours = run_mixer("attention", params, x, heads=2, bias=bias)
    np.testing.assert_allclose(ours, theirs[0].numpy(), rtol=0, atol=1e-6)
    back = torch_weights.attention_to_torch(params, 2)
    module.load_state_dict({key: torch.from_numpy(array) for key, array in back.items()})
