from typing import Any

import jax
import numpy as np
import pytest

from models.mixers.mamba2 import Mamba2
from tests.models.contract import noisy_params
from tests.models.mixers.reference import (
    WIDTH,
    assert_equals_torch,
    assert_near,
    convolve,
    heads_of,
    outputs_and_reference,
    rms_norm,
    silu,
    softplus,
)

HEADS, SIZE, STATES = 2, 4, 5
HIDDEN = HEADS * SIZE


def by_hand(x: np.ndarray, params: Any) -> np.ndarray:
    """Dao and Gu, §7 and Fig. 6: one step after another, one head after another."""
    u = x @ params["input"]["kernel"]
    convolved = np.concatenate([u[:, :HIDDEN], x @ params["select"]["kernel"]], axis=1)
    if "kernel" in params:
        convolved = convolve(convolved, params["kernel"]) + params["kernel_bias"]
    convolved = silu(convolved)
    value, b, c = heads_of(convolved[:, :HIDDEN], HEADS), *np.split(convolved[:, HIDDEN:], 2, axis=1)
    step = softplus(x @ params["step"]["kernel"] + params["step"]["bias"])
    memory, y = np.zeros((HEADS, SIZE, STATES)), np.zeros((len(x), HEADS, SIZE))
    for t in range(len(x)):
        for h in range(HEADS):
            decay = np.exp(-step[t, h] * np.exp(params["log_rates"][h]))
            memory[h] = decay * memory[h] + step[t, h] * np.outer(value[t, h], b[t])
            y[t, h] = memory[h] @ c[t] + params["skip"][h] * value[t, h]
    y = y.reshape(len(x), HIDDEN)
    if u.shape[1] > HIDDEN:
        y = y * silu(u[:, HIDDEN:])
    return rms_norm(y, params["norm"]["scale"]) @ params["output"]["kernel"]


def make_mixer(**options: Any) -> Mamba2:
    return Mamba2(width=WIDTH, hidden_size=HIDDEN, heads=HEADS, state_size=STATES, **options)


@pytest.mark.parametrize("options", [{}, {"kernel": 0, "output_gate": False, "implementation": "steps"}])
def test_mamba2_is_its_recurrence(options: dict[str, Any]):
    assert_near(*outputs_and_reference(make_mixer(**options), by_hand))


def test_mamba2_is_that_of_transformers():
    """On copied weights, all of Hugging Face's block."""
    mamba2 = pytest.importorskip("transformers.models.mamba2.modeling_mamba2")
    config = mamba2.Mamba2Config(
        hidden_size=WIDTH,
        num_heads=HEADS,
        head_dim=SIZE,
        expand=HIDDEN // WIDTH,
        state_size=STATES,
        n_groups=1,
        conv_kernel=4,
        chunk_size=4,
    )
    theirs, module = mamba2.Mamba2Mixer(config, layer_idx=0), make_mixer()
    params = noisy_params(module)
    own = jax.tree.map(lambda p: np.asarray(p, np.float64), params["params"])
    gate_first = np.roll(own["input"]["kernel"], HIDDEN, axis=1)  # theirs: gate, x, B, C, Δ
    given = {
        "in_proj.weight": np.concatenate([gate_first, own["select"]["kernel"], own["step"]["kernel"]], axis=1).T,
        "conv1d.weight": own["kernel"][::-1].T[:, None],
        "conv1d.bias": own["kernel_bias"],
        "dt_bias": own["step"]["bias"],
        "A_log": own["log_rates"],
        "D": own["skip"],
        "norm.weight": own["norm"]["scale"],
        "out_proj.weight": own["output"]["kernel"].T,
    }
    assert_equals_torch(module, params, theirs, given)
