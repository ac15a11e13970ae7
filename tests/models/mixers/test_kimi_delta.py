from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.mixers.kimi_delta import KimiDeltaAttention
from tests.models.contract import noisy_params
from tests.models.mixers.reference import (
    WIDTH,
    assert_equals_torch,
    assert_near,
    convolve,
    heads_of,
    outputs_and_reference,
    rms_norm,
    sigmoid,
    silu,
    softplus,
    unit,
)

HEADS, SIZE = 2, 3


def by_hand(x: np.ndarray, params: Any, largest: float) -> np.ndarray:
    """Kimi Linear, eq. 1 and §3: the matrix (1 − β·k·kᵀ)·diag(α) times the memory."""

    def low_rank(name: str) -> np.ndarray:
        up = params[f"{name}_up"]
        return heads_of(x @ params[f"{name}_down"]["kernel"] @ up["kernel"] + up["bias"], HEADS)

    mixed = x @ params["input"]["kernel"]
    mixed = silu(convolve(mixed, params["kernel"]) if "kernel" in params else mixed)
    query, key, value = (heads_of(a, HEADS) for a in np.split(mixed, 3, axis=1))
    query, key = unit(query), unit(key)
    alpha = np.exp(-np.exp(params["log_rates"])[:, None] * softplus(low_rank("decay")))
    beta = largest * sigmoid(x @ params["strength"]["kernel"])
    memory, y = np.zeros((HEADS, SIZE, SIZE)), np.zeros((len(x), HEADS, SIZE))
    for t in range(len(x)):
        for h in range(HEADS):
            k = key[t, h]
            transition = (np.eye(SIZE) - beta[t, h] * np.outer(k, k)) @ np.diag(alpha[t, h])
            memory[h] = transition @ memory[h] + beta[t, h] * np.outer(k, value[t, h])
            y[t, h] = memory[h].T @ query[t, h]
    y = rms_norm(y, params["norm"]["scale"])
    if "gate_up" in params:
        y = y * sigmoid(low_rank("gate"))
    return y.reshape(len(x), -1) @ params["output"]["kernel"]


@pytest.mark.parametrize(
    "options",
    [{}, {"kernel": 0, "output_gate": False, "implementation": "steps", "allow_negative_eigenvalues": True}],
)
def test_kda_is_its_recurrence(options: dict[str, Any]):
    module = KimiDeltaAttention(width=WIDTH, hidden_size=HEADS * SIZE, heads=HEADS, **options)
    largest = 2 if options.get("allow_negative_eigenvalues") else 1
    assert_near(*outputs_and_reference(module, lambda x, params: by_hand(x, params, largest)))


def test_kda_is_that_of_transformers(monkeypatch: pytest.MonkeyPatch):
    """On copied weights, all of Hugging Face's layer, whose output gate has no bias."""
    kimi = pytest.importorskip("transformers.models.kimi_linear.modeling_kimi_linear")
    config = kimi.KimiLinearConfig(
        hidden_size=WIDTH, linear_num_heads=HEADS, linear_head_dim=SIZE, num_hidden_layers=1, pad_token_id=0
    )
    module = KimiDeltaAttention(width=WIDTH, hidden_size=HEADS * SIZE, heads=HEADS)
    params: Any = noisy_params(module)
    params["params"]["gate_up"]["bias"] = jnp.zeros(HEADS * SIZE)
    own = jax.tree.map(np.asarray, params["params"])
    names = {"gate_down": "g_a_proj", "gate_up": "g_b_proj", "strength": "b_proj", "output": "o_proj"}
    names |= {"decay_down": "forget_gate.f_a_proj", "decay_up": "forget_gate.f_b_proj"}
    given = {f"{theirs}.weight": own[ours]["kernel"].T for ours, theirs in names.items()}
    parts = np.split(own["input"]["kernel"], 3, axis=1)
    given |= {f"{name}_proj.weight": part.T for name, part in zip("qkv", parts, strict=True)}
    given |= {"conv1d.weight": own["kernel"][::-1].T[:, None], "o_norm.weight": own["norm"]["scale"]}
    given |= {"forget_gate.A_log": own["log_rates"], "forget_gate.dt_bias": own["decay_up"]["bias"]}
    theirs = kimi.KimiLinearDeltaAttention(config, layer_idx=0)
    # Theirs adds 1e-6 to squared lengths, and scales queries by K^−½, which small outputs see through the norm's ε.
    monkeypatch.setattr(kimi, "l2norm", lambda x, **_: x / x.norm(dim=-1, keepdim=True))
    theirs.o_norm.variance_epsilon /= SIZE
    shapes = {name: tuple(p.shape) for name, p in theirs.state_dict().items()}
    given = {name: a.reshape(shapes[name]) for name, a in given.items()}
    assert_equals_torch(module, params, theirs, given)
