from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from models.mixers.recurrent import RECURRENT_CELLS, Recurrence, init_orthogonal
from models.ops.scan import masked_scan

N, STEPS = 5, 7  # a width equal to the state, so that the product out can be the identity
random = np.random.default_rng(0)
X = jnp.asarray(random.normal(size=(2, STEPS, N)), jnp.float32)
DIRECTION = jnp.asarray(random.normal(size=(2, STEPS, N)), jnp.float32)
PLACES = jnp.broadcast_to(jnp.arange(STEPS), (2, STEPS))
FLAX = {"rnn": nn.SimpleCell, "lstm": nn.OptimizedLSTMCell, "gru": nn.GRUCell}


def apply(module: Recurrence, params: Any, x: Any):
    return module.apply(params, x, positions=PLACES, segments=jnp.ones_like(PLACES))


def shapes(module: Recurrence) -> Any:
    return jax.eval_shape(partial(module.init, positions=PLACES, segments=PLACES), jax.random.key(0), X)


def flaxen(cell: str, own: Any) -> Any:
    """The same weights as flax's cell names and splits them."""
    gates = {"rnn": [""], "lstm": list("ifgo"), "gru": list("rzn")}[cell]
    kernels, biases, recurrent = (
        dict(zip(gates, jnp.split(array, len(gates), axis=-1), strict=True))
        for array in (own["input"]["kernel"], own["input"]["bias"], own["recurrent"])
    )
    made = {f"i{gate}": {"kernel": kernels[gate]} for gate in gates}
    made |= {f"h{gate}": {"kernel": recurrent[gate]} for gate in gates}
    for gate in gates:
        made["hi"[cell != "lstm"] + gate]["bias"] = biases[gate]
    if cell == "gru":
        made["hn"]["bias"] = own["candidate_bias"]
    return {"params": {"cell": made}}


@pytest.mark.parametrize("cell", FLAX)
def test_it_agrees_with_flax(cell: str):
    """Outputs, final state and gradients of what is inside, the product out being the identity."""
    module = Recurrence(cell=cell, width=N, hidden_size=N)
    params = jax.tree.map(lambda p: jnp.asarray(random.normal(0, 0.5, p.shape), p.dtype), shapes(module))["params"]
    identity = {"kernel": jnp.eye(N), "bias": jnp.zeros(N)}

    def our(params: Any, x: Any):
        y, state = apply(module, {"params": params | {"output": identity}}, x)
        return (y * DIRECTION).sum(), (y, state["carry"])

    def their(params: Any, x: Any):
        layer: Any = nn.RNN(FLAX[cell](N), return_carry=True)
        carry, y = layer.apply(flaxen(cell, params), x)
        return (y * DIRECTION).sum(), (
            y,
            dict(zip(RECURRENT_CELLS[cell].carry_names, jax.tree.leaves(carry), strict=True)),
        )

    found, expected = (jax.jit(jax.value_and_grad(f, (0, 1), has_aux=True))(params, X) for f in (our, their))
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("cell", RECURRENT_CELLS)
def test_only_forget_gates_start_open(cell: str):
    """Every bias starts at 0 but the LSTM's forget gates, at 1; recurrent weights are one rotation a gate."""
    module, size = Recurrence(cell=cell, width=N, hidden_size=3), 3
    init = jax.jit(partial(module.init, positions=PLACES, segments=PLACES))
    params = init(jax.random.key(0), X)["params"]
    expected = np.zeros(RECURRENT_CELLS[cell].num_gates * size)
    if cell == "lstm":
        expected[size : 2 * size] = 1
    np.testing.assert_array_equal(params["input"]["bias"], expected)
    np.testing.assert_array_equal(params["output"]["bias"], 0)
    if cell == "gru":
        np.testing.assert_array_equal(params["candidate_bias"], 0)
    blocks = np.split(np.asarray(params["recurrent"]), RECURRENT_CELLS[cell].num_gates, axis=1)
    for block in blocks:
        np.testing.assert_allclose(block @ block.T, np.eye(size), atol=1e-5)
    assert all(np.abs(block - blocks[0]).max() > 0.1 for block in blocks[1:]), "each drawn anew"


def test_the_forget_bias_can_be_set():
    bias = Recurrence(cell="lstm", width=N, hidden_size=2, forget_bias=3.0)._init_bias(jax.random.key(0), (8,))
    np.testing.assert_array_equal(bias, [0, 0, 3, 3, 0, 0, 0, 0])


def test_orthogonal_follows_its_key():
    one, same, other = (init_orthogonal(jax.random.key(seed), (3, 6)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 0.1


@pytest.mark.parametrize("cell", RECURRENT_CELLS)
def test_gradients_are_those_of_finite_differences(cell: str):
    """Of four plain steps, forward and backward mode, with respect to weights, first state and inputs."""
    step, gates, carried = RECURRENT_CELLS[cell]
    with jax.enable_x64(True):
        draw = lambda *shape: jnp.asarray(np.random.default_rng(sum(shape)).normal(0, 0.5, shape))  # noqa: E731
        weights = {"recurrent": draw(3, gates * 3)} | ({"candidate_bias": draw(3)} if cell == "gru" else {})
        carry, drives, steady = {name: draw(3) for name in carried}, draw(4, gates * 3), jnp.ones(4, bool)
        assert drives.dtype == jnp.float64

        @jax.jit
        def run(weights: Any, carry: Any, drives: Any):
            return masked_scan(partial(step, weights), carry, drives, ~steady, steady)

        check_grads(run, (weights, carry, drives), order=1, atol=1e-7, rtol=1e-7, eps=1e-5)
    assert jnp.zeros(1).dtype == jnp.float32, "64 bits stay in here"


def test_the_irnn_is_its_definition():
    """relu(W·x + U·h + b), and U starts at the identity, so that with no input a state is kept for ever."""
    module: Any = Recurrence(cell="irnn", width=N, hidden_size=N)
    params: Any = jax.jit(module.init)(jax.random.key(0), X, positions=PLACES, segments=PLACES)["params"]
    np.testing.assert_array_equal(params["recurrent"], np.eye(N))
    params = jax.tree.map(lambda p: jnp.asarray(random.normal(0, 0.5, p.shape), p.dtype), params)
    state: Any = apply(module, {"params": params}, X)[1]
    h = np.zeros((2, N))
    for t in range(STEPS):
        h = np.maximum(X[:, t] @ params["input"]["kernel"] + params["input"]["bias"] + h @ params["recurrent"], 0)
    np.testing.assert_allclose(state["carry"]["h"], h, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("gate", ["i", "f", "o"])
def test_an_open_gate_is_one_that_is_always_at_one(gate: str):
    """The same as a gate whose bias is so large that the sigmoid is 1 (Greff et al. 2017: NIG, NFG, NOG)."""
    module = Recurrence(cell="lstm", width=N, hidden_size=N)
    params = jax.tree.map(lambda p: jnp.asarray(random.normal(0, 0.5, p.shape), p.dtype), shapes(module))["params"]
    place = "ifgo".index(gate) * N
    wide = params["input"]["bias"].at[place : place + N].set(100.0)
    expected = apply(module, {"params": params | {"input": params["input"] | {"bias": wide}}}, X)
    others = np.delete(np.arange(4 * N), np.s_[place : place + N])
    without = {name: part[..., others] for name, part in params["input"].items()}
    without = params | {"input": without, "recurrent": params["recurrent"][:, others]}
    found = apply(module.clone(disabled_gates=gate), {"params": without}, X)
    np.testing.assert_allclose(found[0], expected[0], atol=1e-5)
    assert np.abs(found[0] - apply(module, {"params": params}, X)[0]).max() > 0.01


def test_the_forget_bias_is_a_choice():
    module = Recurrence(cell="lstm", width=N, hidden_size=3, forget_bias=-2.0)
    params: Any = jax.jit(partial(module.init, positions=PLACES, segments=PLACES))(jax.random.key(0), X)["params"]
    np.testing.assert_array_equal(params["input"]["bias"], [0] * 3 + [-2] * 3 + [0] * 6)
    params = jax.jit(partial(module.clone(disabled_gates="i").init, positions=PLACES, segments=PLACES))(
        jax.random.key(0), X
    )
    np.testing.assert_array_equal(params["params"]["input"]["bias"], [-2] * 3 + [0] * 6)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(("cell", "gates"), [*((cell, "") for cell in RECURRENT_CELLS), *(("lstm", g) for g in "ifo")])
def test_its_backward_pass_is_what_jax_derives(cell: str, gates: str, dtype: str):
    """Of parameters, inputs and the state before, over segments that start anywhere and padding."""
    steps = 23
    segments = jnp.asarray(random.choice([0, 1, 1, 1, 2], size=(3, steps)).cumsum(axis=1) % 4, jnp.int32)
    x, direction = (jnp.asarray(random.normal(size=(3, steps, N)), jnp.float32) for _ in range(2))
    module = Recurrence(cell=cell, width=N, hidden_size=6, dtype=jnp.dtype(dtype), disabled_gates=gates)
    initial = partial(module.init, positions=segments, segments=segments)
    params = jax.tree.map(
        lambda p: jnp.asarray(random.normal(0, 0.5, p.shape), p.dtype), jax.eval_shape(initial, jax.random.key(0), x)
    )
    carry = {name: jnp.asarray(random.normal(size=(3, 6)), jnp.float32) for name in RECURRENT_CELLS[cell].carry_names}

    def total(solver: str, params: Any, x: Any, carry: Any):
        state = {"carry": carry, "segment": jnp.array([0, 1, 3], jnp.int32)}
        made = module.clone(solver=solver)
        y, after = made.apply(params, x, state=state, positions=segments, segments=segments)
        kept = jnp.where((segments != 0)[..., None], y.astype(jnp.float32), 0)
        return (kept * direction).sum() + sum(jnp.sin(c).sum() for c in after["carry"].values())

    def gradient(solver: str):
        return jax.jit(jax.value_and_grad(partial(total, solver), (0, 1, 2)))(params, x, carry)

    within = 1e-5 if dtype == "float32" else 3e-2
    for ours, theirs in zip(*map(jax.tree.leaves, (gradient("sequential"), gradient("autodiff"))), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=within * max(1, float(jnp.abs(theirs).max())))


def test_forwards_too_where_jax_derives_it():
    module = Recurrence(cell="gru", width=N, hidden_size=N, solver="autodiff")
    params = jax.jit(module.init)(jax.random.key(0), X, positions=PLACES, segments=PLACES)
    check_grads(lambda x: apply(module, params, jnp.asarray(x))[0], (X,), order=1, modes=["fwd"], atol=1e-2, rtol=1e-2)
