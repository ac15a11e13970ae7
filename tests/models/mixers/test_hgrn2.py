from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from models.mixers.hgrn2 import HGRN2, hgrn2_gate
from tests.models.mixers.reference import (
    WIDTH,
    assert_near,
    convolve,
    heads_of,
    outputs_and_reference,
    rms_norm,
    sigmoid,
    silu,
)

HEADS, SIZE = 2, 3
HIDDEN = HEADS * SIZE


def by_hand(x: np.ndarray, params: Any, depth_fraction: float) -> np.ndarray:
    """Qin et al., §3.2: what is forgotten of a row is what is written to it."""
    mixed = x @ params["input"]["kernel"]
    mixed = convolve(mixed, params["kernel"]) if "kernel" in params else mixed
    query, forget, value = np.split(mixed, 3, axis=1)
    bound = depth_fraction * sigmoid(params["bound"]) if "bound" in params else 0.0
    forget = heads_of(bound + (1 - bound) * sigmoid(forget), HEADS)
    query, value = heads_of(silu(query), HEADS), heads_of(value, HEADS)
    memory, y = np.zeros((HEADS, SIZE, SIZE)), np.zeros((len(x), HEADS, SIZE))
    for t in range(len(x)):
        for h in range(HEADS):
            memory[h] = np.diag(forget[t, h]) @ memory[h] + np.outer(1 - forget[t, h], value[t, h])
            y[t, h] = memory[h].T @ query[t, h]
    y = rms_norm(y.reshape(len(x), HIDDEN), params["norm"]["scale"])
    if "output_gate" in params:
        y = y * silu(x @ params["output_gate"]["kernel"])
    return y @ params["output"]["kernel"]


@pytest.mark.parametrize("options", [{}, {"depth_fraction": 0.7, "kernel": 2, "output_gate": True}])
def test_hgrn2_is_its_recurrence(options: dict[str, Any]):
    module = HGRN2(width=WIDTH, hidden_size=HIDDEN, heads=HEADS, **options)
    fraction = options.get("depth_fraction", 0.0)
    assert_near(*outputs_and_reference(module, lambda x, params: by_hand(x, params, fraction)))


def test_a_bounded_gate_forgets_no_more_than_its_bound():
    """f stays between γ and 1, and the key is 1 − f, at any input."""
    x = np.array([-1e4, -50.0, 0.0, 50.0, 1e4], np.float32)
    log_gate, key = hgrn2_gate(jnp.asarray(x)[None, None, None], jnp.full((1, 1, 1, 5), 1.5), 0.5)
    gamma = 0.5 * sigmoid(np.array(1.5))
    np.testing.assert_allclose(np.exp(log_gate[0, 0, 0]), gamma + (1 - gamma) * sigmoid(np.clip(x, -80, 80)), rtol=1e-5)
    np.testing.assert_allclose(1 - np.exp(log_gate), key, atol=2e-6)
