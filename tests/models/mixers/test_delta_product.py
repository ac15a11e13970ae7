from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.mixers.delta_product import GatedDeltaProduct
from models.ops.matrix_state import scan_matrix_state
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
random = np.random.default_rng(0)


def by_hand(x: np.ndarray, params: Any, n: int, largest: float) -> np.ndarray:
    """Siems et al., §3: the token's matrix A = g·Π(1 − β·k·kᵀ) and its B = Σ Π(1 − β·k·kᵀ)·β·k·vᵀ, written out."""
    mixed = x @ params["input"]["kernel"]
    mixed = silu(convolve(mixed, params["kernel"]) if "kernel" in params else mixed)
    vectors = [heads_of(a, HEADS) for a in np.split(mixed, 1 + 2 * n, axis=1)]
    query, keys, values = unit(vectors[0]), [unit(a) for a in vectors[1 : 1 + n]], vectors[1 + n :]
    beta = largest * sigmoid(x @ params["strength"]["kernel"]).reshape(len(x), n, HEADS)
    gate = np.ones((len(x), HEADS))
    if "log_rates" in params:
        step = softplus(x @ params["forget_gate"]["kernel"] + params["forget_gate"]["bias"])
        gate = np.exp(-np.exp(params["log_rates"]) * step)
    memory, y = np.zeros((HEADS, SIZE, SIZE)), np.zeros((len(x), HEADS, SIZE))
    for t in range(len(x)):
        for h in range(HEADS):
            transition, written = gate[t, h] * np.eye(SIZE), np.zeros((SIZE, SIZE))
            for j in range(n):
                k = keys[j][t, h]
                householder = np.eye(SIZE) - beta[t, j, h] * np.outer(k, k)
                transition = householder @ transition
                written = householder @ written + beta[t, j, h] * np.outer(k, values[j][t, h])
            memory[h] = transition @ memory[h] + written
            y[t, h] = memory[h].T @ query[t, h]
    y = rms_norm(y, params["norm"]["scale"]).reshape(len(x), -1)
    if "output_gate" in params:
        y = y * silu(x @ params["output_gate"]["kernel"])
    return y @ params["output"]["kernel"]


@pytest.mark.parametrize(
    "options",
    [
        {"householder_steps": 3},
        {"kernel": 0, "output_gate": False, "forget_gate": False, "allow_negative_eigenvalues": False},
    ],
)
def test_gated_delta_product_is_its_recurrence(options: dict[str, Any]):
    module = GatedDeltaProduct(width=WIDTH, hidden_size=HEADS * SIZE, heads=HEADS, **options)
    n, largest = options.get("householder_steps", 2), 2 if options.get("allow_negative_eigenvalues", True) else 1
    assert_near(*outputs_and_reference(module, lambda x, params: by_hand(x, params, n, largest)))


def test_one_step_is_the_gated_delta_net_of_transformers(monkeypatch: pytest.MonkeyPatch):
    """On copied weights, all of Hugging Face's layer in OLMo Hybrid, with negative eigenvalues."""
    olmo = pytest.importorskip("transformers.models.olmo_hybrid.modeling_olmo_hybrid")
    sizes = {"linear_num_key_heads": HEADS, "linear_num_value_heads": HEADS}
    sizes |= {"linear_key_head_dim": SIZE, "linear_value_head_dim": SIZE}
    layers = {"num_hidden_layers": 2, "layer_types": ["linear_attention", "full_attention"]}
    config = olmo.OlmoHybridConfig(hidden_size=WIDTH, num_attention_heads=1, pad_token_id=0, **sizes, **layers)
    config.linear_allow_neg_eigval = True
    module = GatedDeltaProduct(width=WIDTH, hidden_size=HEADS * SIZE, heads=HEADS, householder_steps=1)
    params: Any = noisy_params(module)
    own = jax.tree.map(np.asarray, params["params"])
    names = {"forget_gate": "a_proj", "output_gate": "g_proj", "strength": "b_proj", "output": "o_proj"}
    given = {f"{theirs}.weight": own[ours]["kernel"].T for ours, theirs in names.items()}
    parts = np.split(own["input"]["kernel"], 3, axis=1)
    given |= {f"{name}_proj.weight": part.T for name, part in zip("qkv", parts, strict=True)}
    given |= {"conv1d.weight": own["kernel"][::-1].T[:, None], "o_norm.weight": own["norm"]["scale"]}
    given |= {"A_log": own["log_rates"], "dt_bias": own["forget_gate"]["bias"]}
    theirs = olmo.OlmoHybridGatedDeltaNet(config, layer_idx=0)
    # Theirs adds 1e-6 to squared lengths, and scales queries by K^−½, which small outputs see through the norm's ε.
    monkeypatch.setattr(olmo, "l2norm", lambda x, **_: x / x.norm(dim=-1, keepdim=True))
    theirs.o_norm.variance_epsilon /= SIZE
    assert_equals_torch(module, params, theirs, given)


def transition(keys: np.ndarray, strengths: np.ndarray) -> np.ndarray:
    """The matrix that the memory is multiplied by over these micro steps, as the scan computes it."""
    size, n = keys.shape[1], len(keys)
    nothing, memory = jnp.zeros((1, n, 1, size)), jnp.eye(size)[None, None]
    masks = jnp.zeros((1, n), bool), jnp.ones((1, n), bool)
    key, strength = (jnp.asarray(a, jnp.float32)[None, :, None] for a in (keys, strengths))
    return np.asarray(scan_matrix_state(memory, nothing, key, nothing, None, strength, *masks)[0][0, 0])


@pytest.mark.parametrize("angle", [0.3, 2.0, np.pi])
def test_two_reflections_are_a_rotation(angle: float):
    """By twice the angle between their keys: complex eigenvalues, and −1 twice for a half turn; one alone only has −1
    once, since its determinant is 1 − β (Siems et al., §4)."""
    keys = np.array([[1.0, 0.0], [np.cos(angle / 2), np.sin(angle / 2)]])
    turned = transition(keys, np.array([2.0, 2.0]))
    np.testing.assert_allclose(turned, [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]], atol=1e-6)
    np.testing.assert_allclose(np.linalg.eigvalsh(transition(keys[1:], np.array([2.0]))), [-1, 1], atol=1e-6)


def test_three_reflections_are_any_orthogonal_matrix_of_three_dimensions():
    """Cartan and Dieudonné: a permutation of three things by two micro steps, which one reflection can't."""
    cycle = np.roll(np.eye(3), 1, axis=0)
    swaps = unit(np.array([[1.0, -1.0, 0.0], [0.0, 1.0, -1.0]]))
    found = [transition(order, np.array([2.0, 2.0])) for order in (swaps, swaps[::-1])]
    assert any(np.allclose(a, cycle, atol=1e-6) for a in found)


def test_no_product_of_householder_steps_is_longer_than_1():
    """|Π(1 − β·k·kᵀ)| ≤ 1 for keys of length 1 and β from 0 to 2."""
    for n in (1, 2, 4, 7):
        norm = np.linalg.norm(transition(unit(random.normal(size=(n, 5))), random.uniform(0, 2, n)), 2)
        assert norm <= 1 + 1e-6
