from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from models.mixers.convolution import TemporalConvolution, causal_convolution, convolve_batch

M, N, STEPS = 3, 5, 10
random = np.random.default_rng(0)
X = jnp.asarray(random.normal(size=(STEPS, M)), jnp.float32)
ONES, FIRST = jnp.ones(STEPS, jnp.int32), jnp.zeros((), jnp.int32)


def library(x: Any, kernel: Any, dilation: int) -> Any:
    """XLA's own convolution over the whole, padded in front alone; its kernels are not flipped, ours count back."""
    taps, groups = len(kernel), 1
    if kernel.ndim == 2:
        kernel, groups = kernel[:, None], M
    return jax.lax.conv_general_dilated(
        x[None],
        kernel[::-1],
        (1,),
        [((taps - 1) * dilation, 0)],
        rhs_dilation=(dilation,),
        dimension_numbers=("NWC", "WIO", "NWC"),
        feature_group_count=groups,
    )[0]


@pytest.mark.parametrize("dilation", [1, 2, 4])
@pytest.mark.parametrize(("taps", "shape"), [(1, (M,)), (4, (M,)), (3, (M, N))])
def test_it_is_the_library_s_convolution(taps: int, shape: tuple[int, ...], dilation: int):
    kernel = jnp.asarray(random.normal(size=(taps, *shape)), jnp.float32)
    past = jnp.zeros(((taps - 1) * dilation, M))
    y, kept = causal_convolution(X, kernel, past, ONES, FIRST, dilation)
    np.testing.assert_allclose(y, library(X, kernel, dilation), atol=1e-5)
    np.testing.assert_array_equal(kept, jnp.concatenate([past, X])[STEPS:])


def test_it_counts_tokens_and_stays_in_its_segment():
    """Rows among padding, and packed ones, are convolved as if alone."""
    kernel, past = jnp.asarray(random.normal(size=(3, M)), jnp.float32), jnp.zeros((2, M))
    segments = jnp.array([0, 1, 0, 0, 1, 1, 2, 0, 2, 2], jnp.int32)
    y, kept = causal_convolution(X, kernel, past, segments, FIRST)
    for segment in (1, 2):
        mine = np.flatnonzero(segments == segment)
        np.testing.assert_allclose(y[mine], library(X[mine], kernel, 1), atol=1e-5)
    np.testing.assert_array_equal(kept, X[np.array([8, 9])])


@pytest.mark.parametrize(
    "rows", [[[1] * STEPS, [1] * 4 + [2] * 3 + [0] * 3], [[0, 1, 0, 0, 1, 1, 2, 0, 2, 2], [0] * STEPS]]
)
@pytest.mark.parametrize("taps", [1, 4])
def test_a_batch_is_each_of_its_rows(rows: list[list[int]], taps: int):
    """With padding behind and between tokens, in a segment that goes on, outputs, what is kept, and gradients."""
    draw = lambda *shape: jnp.asarray(random.normal(size=shape), jnp.float32)  # noqa: E731
    segments, last = jnp.array(rows, jnp.int32), jnp.array([1, 2], jnp.int32)
    inputs = draw(2, STEPS, M), draw(taps, M), draw(2, taps - 1, M)
    slopes = jnp.where(segments[..., None] > 0, draw(2, STEPS, M), 0)

    def outcome(convolve: Any) -> Any:
        def total(x: Any, kernel: Any, past: Any) -> Any:
            y, kept = convolve(x, kernel, past, segments, last)
            return (y * slopes).sum() + jnp.sin(kept).sum(), (jnp.where(segments[..., None] > 0, y, 0), kept)

        return jax.jit(jax.grad(total, argnums=(0, 1, 2), has_aux=True))(*inputs)

    alone = outcome(jax.vmap(causal_convolution, in_axes=(0, None, 0, 0, 0)))
    for a, b in zip(jax.tree.leaves(outcome(convolve_batch)), jax.tree.leaves(alone), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-6)


@pytest.mark.parametrize(("block", "reach"), [("bai", 2 * 2 * 7), ("single", 2 * 7)])
def test_layers_see_as_far_as_their_dilations_add_up(block: str, reach: int):
    """1 + 2·(K − 1)·(1 + 2 + 4) steps, or half as far back: an impulse is felt that long, and not a step longer."""
    module, steps = TemporalConvolution(width=M, hidden_size=M, layers=3, kernel=3, block=block), 40
    places, ones = jnp.arange(steps)[None], jnp.ones((1, steps), jnp.int32)
    params = jax.jit(module.init)(jax.random.key(0), jnp.zeros((1, steps, M)), positions=places, segments=ones)
    params = jax.tree.map(jnp.abs, params)  # so that no relu hides the way
    call = jax.jit(lambda x: module.apply(params, x, positions=places, segments=ones)[0])
    felt = (call(jnp.zeros((1, steps, M)).at[:, 2].set(1.0)) != call(jnp.zeros((1, steps, M))))[0].any(axis=-1)
    np.testing.assert_array_equal(np.flatnonzero(felt), np.arange(2, 2 + 1 + reach))


def normed(kernel: Any, length: Any) -> Any:
    """PyTorch's weight norm over all axes but the outputs' own, which is the last one here."""
    return length * kernel / np.sqrt((np.asarray(kernel, np.float64) ** 2).sum(axis=(0, 1)))


@pytest.mark.parametrize("hidden_size", [M, N])
def test_a_block_is_the_paper_s(hidden_size: int):
    """relu(x + F(x)), F twice a convolution of one dilation and a relu, weights normed; x through a product where its
    channels are others, in the first block alone."""
    module = TemporalConvolution(width=M, hidden_size=hidden_size, layers=2, kernel=3)
    places, ones = jnp.arange(STEPS)[None], jnp.ones((1, STEPS), jnp.int32)
    params: Any = jax.jit(module.init)(jax.random.key(0), X[None], positions=places, segments=ones)["params"]
    params = jax.tree.map(lambda p: p + jnp.asarray(random.normal(0, 0.3, p.shape), p.dtype), params)
    assert ("beside_0" in params) == (hidden_size != M)
    assert not {"beside_1", "input"} & set(params)
    y = X
    for layer in range(2):
        made, beside = y, y
        for which in range(2):
            name = f"{layer}_{which}"
            kernel = normed(params[f"kernel_{name}"], params[f"length_{name}"])
            made = nn.relu(library(made, kernel, 2**layer) + params[f"bias_{name}"])
        if f"beside_{layer}" in params:
            beside = y @ params[f"beside_{layer}"]["kernel"] + params[f"beside_{layer}"]["bias"]
        y = nn.relu(beside + made)
    expected = y @ params["output"]["kernel"] + params["output"]["bias"]
    found, _ = module.apply({"params": params}, X[None], positions=places, segments=ones)
    np.testing.assert_allclose(found[0], expected, atol=1e-5)


def test_a_kernel_starts_as_it_is_and_its_length_alone_scales_it():
    """Its direction does not change with its size, and each output has a length of its own."""
    module = TemporalConvolution(width=M, hidden_size=N, layers=1)
    places, ones = jnp.arange(STEPS)[None], jnp.ones((1, STEPS), jnp.int32)
    params: Any = jax.jit(module.init)(jax.random.key(0), X[None], positions=places, segments=ones)["params"]
    for name in ("0_0", "0_1"):
        kernel = params[f"kernel_{name}"]
        np.testing.assert_allclose(normed(kernel, params[f"length_{name}"]), kernel, rtol=1e-5)
        assert np.abs(kernel).max() <= (3 * kernel.shape[1]) ** -0.5  # PyTorch's, which is what the authors' comes to
        assert params[f"length_{name}"].shape == (N,)
    call = lambda params: module.apply({"params": params}, X[None], positions=places, segments=ones)[0]  # noqa: E731
    scaled = {name: 7 * p if name.startswith("kernel") else p for name, p in params.items()}
    np.testing.assert_allclose(call(scaled), call(params), atol=1e-5)


def test_dropout_is_inside_the_blocks():
    """Behind both relus, in training alone; the same for the same key."""
    module = TemporalConvolution(width=M, hidden_size=N, layers=1, dropout=0.5)
    places, ones = jnp.arange(STEPS)[None], jnp.ones((1, STEPS), jnp.int32)
    params = jax.jit(module.init)(jax.random.key(0), X[None], positions=places, segments=ones)
    call = lambda rng, module=module: module.apply(params, X[None], positions=places, segments=ones, rng=rng)[0]  # noqa: E731
    np.testing.assert_array_equal(call(None), call(jax.random.key(0), module.clone(dropout=0.0)))
    np.testing.assert_array_equal(call(jax.random.key(0)), call(jax.random.key(0)))
    assert np.abs(call(jax.random.key(0)) - call(jax.random.key(1))).max() > 1e-3


def test_gradients_are_finite_differences():
    with jax.enable_x64(True):
        x, past = jnp.asarray(random.normal(size=(STEPS, M))), jnp.asarray(random.normal(size=(4, M)))
        kernel = jnp.asarray(random.normal(size=(3, M, N)))
        segments = jnp.array([1, 1, 0, 1, 2, 2, 2, 2, 0, 0], jnp.int32)
        run = jax.jit(lambda x, kernel, past: causal_convolution(x, kernel, past, segments, jnp.int32(1), 2))
        check_grads(run, (x, kernel, past), order=1, modes=["rev"])
