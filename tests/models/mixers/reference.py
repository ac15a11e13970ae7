"""What the references of the mixers with matrix memories are made of: numpy in float64, one step after another."""

import importlib
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from tests.models.contract import noisy_params, normal, positions_of

ROWS, STEPS, WIDTH = 2, 9, 8
SEGMENTS = np.array([[1] * 4 + [2] * 5, [1, 1, 0, 1, 1, 1, 0, 0, 0]], np.int32)


def outputs_and_reference(module: nn.Module, reference: Any) -> tuple[np.ndarray, np.ndarray]:
    """The module's outputs over rows with two segments and with padding (0 there), and those of
    `reference(x [T, D], params)`, which sees one segment at a time."""
    params, x = noisy_params(module), normal(1, ROWS, STEPS, WIDTH)
    places = {"positions": jnp.asarray(positions_of(SEGMENTS)), "segments": jnp.asarray(SEGMENTS)}
    y = np.where(SEGMENTS[..., None] != 0, jax.jit(module.apply)(params, jnp.asarray(x), **places)[0], 0)
    expected, own = np.zeros(y.shape), jax.tree.map(lambda p: np.asarray(p, np.float64), params["params"])
    for row in range(ROWS):
        for segment in set(SEGMENTS[row]) - {0}:
            mine = SEGMENTS[row] == segment
            expected[row, mine] = reference(x[row, mine].astype(np.float64), own)
    return y, expected


def assert_equals_torch(module: nn.Module, params: Any, theirs: Any, weights: dict[str, np.ndarray]) -> None:
    """The module's outputs are those of PyTorch's module `theirs` with these `weights`, on two rows of 11 steps."""
    torch: Any = importlib.import_module("torch")
    theirs.load_state_dict({name: torch.tensor(np.ascontiguousarray(a)) for name, a in weights.items()})
    x, places = normal(1, 2, 11, WIDTH), jnp.broadcast_to(jnp.arange(11), (2, 11))
    with torch.no_grad():
        expected = theirs.float()(torch.tensor(x))
    y, _ = jax.jit(module.apply)(params, jnp.asarray(x), positions=places, segments=jnp.ones_like(places))
    assert_near(np.asarray(y), expected.numpy(), 2e-5)


def assert_near(y: np.ndarray, expected: np.ndarray, tolerance: float = 5e-5) -> None:
    """Within a share of the largest number; a norm of so few features makes float32's rounding some times larger."""
    np.testing.assert_allclose(y, expected, rtol=0, atol=tolerance * np.abs(expected).max())


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def silu(x: np.ndarray) -> np.ndarray:
    return x * sigmoid(x)


def softplus(x: np.ndarray) -> np.ndarray:
    return np.log1p(np.exp(x))


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def rms_norm(x: np.ndarray, scale: np.ndarray) -> np.ndarray:
    return scale * x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + 1e-5)


def convolve(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Σ_j w_j·x_{t−j}"""
    padded = np.concatenate([np.zeros((len(kernel) - 1, x.shape[1])), x])
    return np.array([sum(w * padded[t + len(kernel) - 1 - j] for j, w in enumerate(kernel)) for t in range(len(x))])


def heads_of(x: np.ndarray, heads: int) -> np.ndarray:
    """[T, H, S]"""
    return x.reshape(len(x), heads, -1)
