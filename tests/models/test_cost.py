import math
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
from hypothesis import given
from hypothesis import strategies as st

import models
from models import cost
from models.ops.scan import linear_scan

D, N, W = 8, 6, 10


def shapes(name: str, batch: int = 1, steps: int = 3, **fields: int):
    """The shapes of a mixer's parameters, and of the state after a call; nothing is computed."""
    module = models.MIXERS[name](width=D, hidden_size=N, max_length=W, **fields)
    x, places = jnp.zeros((batch, steps, D)), jnp.zeros((batch, steps), jnp.int32)
    params = jax.eval_shape(lambda: module.init(jax.random.key(0), x, positions=places, segments=places))
    return params, jax.eval_shape(lambda p: module.apply(p, x, positions=places, segments=places)[1], params)


M = N // 2  # what a place of dense's bottleneck gives; it gets N
IN_OUT = D * N + N * D + D  # the weights of a product in and one out, and the bias of the latter
COUNTS = {
    "rnn": (IN_OUT + N * N + N, N),
    "lstm": (IN_OUT + 3 * D * N + 4 * (N * N + N), 2 * N),
    "gru": (IN_OUT + 2 * D * N + 3 * (N * N + N) + N, N),
    "attention": (4 * D * N + 3 * N + D, 2 * N * W),
    "dense": (D * M + M + W * (W + 1) // 2 * M * N + W * N + N * D + D, W * M),
}


@pytest.mark.parametrize("name", COUNTS)
def test_parameters_and_state_are_the_hand_count(name: str):
    """State floats: N for an RNN, 2N for an LSTM, keys and values for the whole window, W inputs for dense."""
    fields = {"heads": 2} if name == "attention" else {}
    params, state = shapes(name, **fields)
    assert (cost.count_params(params), cost.count_state_floats(state)) == COUNTS[name]
    assert cost.count_state_floats(shapes(name, batch=3, **fields)[1]) == 3 * COUNTS[name][1]


def test_state_counts_what_is_carried_not_what_keeps_count():
    state = {"h": jnp.zeros((2, 3), jnp.bfloat16), "count": jnp.zeros(5, jnp.int32), "on": jnp.zeros(4, bool)}
    assert cost.count_state_floats(state) == 6
    assert cost.count_state_floats((None, None)) == 0


def test_mixer_parameters_leave_the_rest_out():
    params = {
        name: {"kernel": jnp.zeros(size)}
        for name, size in {"mixer_0": 3, "mixer_1": 5, "mixer_norm_0": 100, "head": 1000, "embed": 10_000}.items()
    }
    assert cost.count_mixer_params(params) == 8
    assert cost.count_params(params) == 11_108


def test_flops_of_an_lstm_over_256_steps():
    """Per token: D·4N into the gates, N·4N from the state and N·D out, two operations each."""
    module, T = models.MIXERS["lstm"](width=D, hidden_size=N, max_length=0), 256
    x, places = jnp.zeros((2, T, D)), jnp.zeros((2, T), jnp.int32)
    params, _ = shapes("lstm")
    call = lambda p, x: module.apply(p, x, positions=places, segments=places)[0]  # noqa: E731
    products, others = cost.op_counts(call, params, x)
    assert products == 2 * T * 2 * (D * 4 * N + N * 4 * N + N * D)
    assert cost.count_flops(call, params, x) == products + others
    assert 2 * T * 17 * N < others < 2 * T * 40 * N  # 4·N sums and 5 gates, 4 products, tanh: by hand about 20·N


def test_flops_of_a_scan_are_those_of_its_body_as_often_as_it_runs():
    square = jax.ShapeDtypeStruct((64, 64), jnp.float32)
    scanned = lambda x: jax.lax.scan(lambda c, _: (c @ x, None), x, length=10)[0]  # noqa: E731
    assert cost.op_counts(scanned, square) == (10 * 2 * 64**3, 0)
    assert cost.count_flops(jax.jit(jax.remat(scanned)), square) == 10 * 2 * 64**3
    assert cost.count_flops(jax.vmap(scanned), jax.ShapeDtypeStruct((3, 64, 64), jnp.float32)) == 3 * 10 * 2 * 64**3


def test_flops_of_what_is_no_product():
    """One for each number made, or read where that is more; what moves numbers and counts with integers is free."""
    square, turns = jax.ShapeDtypeStruct((8, 8), jnp.float32), jax.ShapeDtypeStruct((8, 8), jnp.complex64)
    assert cost.op_counts(lambda x: x + jnp.sin(x), square) == (0, 2 * 64)
    assert cost.op_counts(jnp.sum, square) == (0, 64)
    assert cost.op_counts(lambda x: jnp.where(jnp.arange(8) > 3, x.T.reshape(8, 8), 0)[2:, :4], square) == (0, 0)
    assert cost.op_counts(lambda x: x * x, turns) == (0, 6 * 64)
    assert cost.op_counts(lambda x: x + x, turns) == (0, 2 * 64)
    assert cost.op_counts(lambda x: x @ x, turns) == (8 * 8**3, 0)
    solve = partial(jax.scipy.linalg.solve_triangular, lower=True)
    assert cost.op_counts(lambda x: solve(x, x), square)[0] == 8**3


def test_depth_is_the_longest_chain():
    """Side by side counts once; a scan as often as it runs along its carry, and once along what it only maps."""
    square, vector = jax.ShapeDtypeStruct((8, 8), jnp.float32), jax.ShapeDtypeStruct((64,), jnp.float32)
    assert cost.critical_path(lambda x: x, square) == 0
    assert cost.critical_path(lambda x: jnp.sin(x) + jnp.cos(x), square) == 2
    assert cost.critical_path(lambda x: jnp.sin(jnp.sin(x)).T[0] * x[1], square) == 3
    assert (
        cost.critical_path(lambda x: jax.lax.scan(lambda c, _: (jnp.tanh(c @ x), None), x, length=10)[0], square) == 20
    )
    assert cost.critical_path(lambda x: jax.lax.map(jnp.exp, x), vector) == 1
    assert cost.critical_path(jax.jit(lambda x: jax.lax.scan(lambda c, y: (c + jnp.exp(y), c), 0.0, x)), vector) == 65
    assert cost.critical_path(lambda x: jax.lax.cond(x[0] > 0, jnp.sin, lambda x: jnp.sin(jnp.sin(x)), x), vector) == 2


@pytest.mark.parametrize(
    ("how", "chain"), [("sequential", 2 * 64), ("associative", 5 * 6 + 1), ("chunked", 5 * 3 + 2 * 8 - 1)]
)
def test_depth_of_a_linear_recurrence(how: str, chain: int):
    """A product and a sum a step; by halves, both ways and laid together, which jax does by a sum; and by halves within
    chunks of 8, which need not wait for what is carried from chunk to chunk."""
    steps, real = jax.ShapeDtypeStruct((64, 3), jnp.float32), jnp.ones(64, bool)
    run = lambda a, b: linear_scan(a, b, jnp.zeros(3), ~real, real, method=how, chunk_size=8)  # noqa: E731
    assert cost.critical_path(run, steps, steps) == chain


@pytest.mark.parametrize("name", models.MIXERS)
def test_only_what_must_be_sequential_grows_with_length(name: str):
    """Twice the length doubles the chain of the cells that feed back. S6's grows by a product and a sum a step, that of
    the delta rules by three products and their sums a chunk of 32, and that of all others by a level at most."""
    short, long = (depth_of(name, steps) for steps in (64, 128))
    chunks = {**dict.fromkeys(("delta", "gated_delta", "kda", "rwkv7"), 2), "gated_delta_product": 4}  # more of them
    if name in ("rnn", "irnn", "lstm", "gru", "slstm", "paragru", "paralstm"):
        assert long / short == pytest.approx(2, abs=0.1)
    elif name == "s6":
        assert long == short + 2 * 64
    elif name in chunks:
        assert long <= short + 6 * chunks[name]
    else:
        assert long <= short + 9


def depth_of(name: str, steps: int) -> int:
    module = models.MIXERS[name](width=D, hidden_size=8, max_length=128)
    x, places = jnp.zeros((1, steps, D)), jnp.zeros((1, steps), jnp.int32)
    params = jax.eval_shape(lambda: module.init(jax.random.key(0), x, positions=places, segments=places))
    return cost.critical_path(lambda p, x: module.apply(p, x, positions=places, segments=places)[0], params, x)


def test_flops_of_a_condition_are_those_of_its_dearest_branch():
    square = jax.ShapeDtypeStruct((8, 8), jnp.float32)
    branches = [lambda x: x @ x, lambda x: x @ x @ x @ x, lambda x: x]
    assert cost.count_flops(lambda x: jax.lax.switch(2, branches, x), square) == 3 * 2 * 8**3
    assert cost.count_flops(lambda x: jax.lax.cond(x[0, 0] > 0, branches[2], branches[0], x), square) == 2 * 8**3


def test_flops_of_products_with_batches_and_several_contractions():
    a, b = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((5, 2, 3, 4), (5, 4, 3, 7)))
    assert cost.count_flops(partial(jnp.einsum, "bmij,bjin->bmn"), a, b) == 2 * 5 * 2 * 3 * 4 * 7
    dense = nn.Dense(7)
    params = jax.eval_shape(dense.init, jax.random.key(0), jnp.zeros((1, 3)))
    assert cost.op_counts(dense.apply, params, jnp.zeros((11, 3))) == (2 * 11 * 3 * 7, 11 * 7)  # and the bias


@given(st.integers(1, 40), st.integers(0, 5000), st.integers(1, 5), st.integers(0, 30))
def test_closest_is_the_nearest_of_all(largest: int, target: int, square: int, linear: int):
    def count(n: int) -> int:
        return square * n * n + linear * n

    found = cost.search_monotone(count, target, largest)
    assert 1 <= found <= largest
    assert abs(count(found) - target) == min(abs(count(n) - target) for n in range(1, largest + 1))


def test_traffic_is_what_products_and_the_whole_must_move():
    """Operands and results, as often as a scan runs; sums and the like in between are fused."""
    a, b = jnp.zeros((3, 4)), jnp.zeros((4, 5))
    whole = 4 * (12 + 20 + 15)
    assert cost.bytes_moved(lambda a, b: jnp.tanh(a @ b) + 1, a, b) == 2 * whole
    square = jnp.zeros((4, 4))
    looped = lambda x: jax.lax.scan(lambda c, _: (jnp.tanh(c @ c), None), x, length=7)[0]  # noqa: E731
    assert cost.bytes_moved(looped, square) == 7 * 4 * 48 + 4 * 32
    assert cost.bytes_moved(looped, square, include_arguments=False) == 7 * 4 * 48


def test_traffic_is_that_of_the_branch_that_moves_least_of_those_that_multiply_most():
    one_by_one = lambda x, w: jax.lax.map(lambda row: row @ w, x)  # noqa: E731
    none = lambda x, w: jnp.zeros_like(x)  # noqa: E731

    def either(at, x, w):
        return jax.lax.switch(at, [one_by_one, jnp.matmul, none], x, w)

    x, w = jnp.zeros((5, 4)), jnp.zeros((4, 4))
    assert cost.bytes_moved(either, 0, x, w, include_arguments=False) == 4 * (20 + 16 + 20)


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("taps", [(3,), (3, 5)])
def test_a_convolution_is_a_product_for_each_tap_and_channel(taps: tuple[int, ...], groups: int):
    """2 × outputs × taps × the input channels that an output sees, dilated or not, and its gradient twice as much."""
    batch, steps, given, made = 2, 20, 4, 8
    x = jnp.zeros((batch, *[steps] * len(taps), given))
    kernel = jnp.zeros((*taps, given // groups, made))

    def call(x, kernel, dilation=1, padding="SAME"):
        letters = "WH"[: len(taps)]
        names = (f"N{letters}C", f"{letters}IO", f"N{letters}C")
        ones = (dilation,) * len(taps)
        return jax.lax.conv_general_dilated(
            x, kernel, (1,) * len(taps), padding, rhs_dilation=ones, dimension_numbers=names, feature_group_count=groups
        )

    terms = batch * steps ** len(taps) * math.prod(taps) * given // groups * made
    assert cost.op_counts(call, x, kernel) == (2 * terms, 0)
    assert cost.op_counts(partial(call, dilation=2), x, kernel) == (2 * terms, 0)
    assert cost.bytes_moved(call, x, kernel, include_arguments=False) == 4 * (
        x.size + kernel.size + x.size // given * made
    )
    if groups == 1:  # where zeros between and around count as they do here, so that bounds are all that can be said
        gradient = lambda x, kernel: jax.grad(lambda *a: call(*a, padding="VALID").sum(), (0, 1))(x, kernel)  # noqa: E731
        valid = cost.op_counts(lambda *a: call(*a, padding="VALID"), x, kernel)[0]
        assert valid * 2 < cost.op_counts(gradient, x, kernel)[0] < 2 * terms * 4


def test_a_convolution_counts_as_the_matrix_that_it_is():
    """Of one tap, as flax writes it: what the dense layer of the same kernel costs."""
    x = jnp.zeros((3, 10, 4))
    layers = (nn.Conv(6, (1,), use_bias=False), nn.Dense(6, use_bias=False))
    shapes = [jax.eval_shape(layer.init, jax.random.key(0), x) for layer in layers]
    found = [cost.count_flops(layer.apply, params, x) for layer, params in zip(layers, shapes, strict=True)]
    assert found == [2 * 30 * 4 * 6] * 2


def test_sums_at_places_and_over_windows_count_what_they_add():
    """The gradient of a table adds each row that was read; a pool adds each number in its window."""
    table, rows = jnp.zeros((50, 8)), jnp.zeros(6, jnp.int32)
    assert cost.op_counts(lambda t: t.at[rows].add(jnp.ones((6, 8))), table) == (0, 48)
    x = jnp.zeros((2, 12, 4))
    assert (
        cost.op_counts(lambda x: jax.lax.reduce_window(x, 0.0, jax.lax.add, (1, 3, 1), (1, 3, 1), "VALID"), x)[1] == 96
    )
    custom = lambda a, b: a + 2 * b  # noqa: E731
    windows = lambda x: jax.lax.reduce_window(x, 0.0, custom, (1, 3, 1), (1, 3, 1), "VALID")  # noqa: E731
    assert cost.op_counts(windows, x) == (0, 96)
    assert cost.op_counts(lambda x: jax.lax.reduce(x, 0.0, custom, (1,)), x) == (0, 96)
