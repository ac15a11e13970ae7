from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import models
from configs.associations import get_config
from models.associative_memory import (
    ASSOCIATIVE_MEMORIES,
    AssociativeMemory,
    favor_features,
    orthogonal_directions,
    read_delta_rule,
    read_softmax,
    read_sum_rule,
)
from models.cost import count_params
from training import builder, trainer

S, SIZE = 4, 6  # keys and values; numbers of a key
random = np.random.default_rng(0)
# Key 3 comes twice, then a query; one row is shorter, and one has a blank before its query.
ROWS = jnp.array([[3, 5, 1, 6, 3, 8, 2, 5, 3], [2, 8, 1, 8, 1, 0, 0, 0, 0], [1, 5, 4, 7, 2, 8, 0, 4, 0]])
SEGMENTS = jnp.array([[1] * 9, [1] * 5 + [0] * 4, [1] * 8 + [0]])
WRITTEN = [[(3, 5), (1, 6), (3, 8), (2, 5)], [(2, 8), (1, 8)], [(1, 5), (4, 7), (2, 8)]]
ASKED = [3, 1, 4]
POSITIONS = jnp.broadcast_to(jnp.arange(9), (3, 9))
KINDS = [
    (name, rule) for name in ASSOCIATIVE_MEMORIES for rule in ("sum", "delta") if (name, rule) != ("softmax", "delta")
]


def made(name: str, rule: str = "sum", **more: Any) -> AssociativeMemory:
    return AssociativeMemory(S, SIZE, update_rule=rule, **{**ASSOCIATIVE_MEMORIES[name], **more})


@partial(jax.jit, static_argnums=0)
def start(network: AssociativeMemory, seed: int = 0) -> Any:
    return network.init(jax.random.key(seed), ROWS)["params"]


@partial(jax.jit, static_argnums=0)
def answers(network: AssociativeMemory, params: Any, rows: Any = ROWS, segments: Any = SEGMENTS, rng: Any = None):
    positions = jnp.broadcast_to(jnp.arange(rows.shape[1]), rows.shape)
    return network.apply({"params": params}, rows, positions=positions, segments=segments, rng=rng)[0]


def phi(name: str, x: np.ndarray, rng: Any) -> np.ndarray:
    kind = ASSOCIATIVE_MEMORIES[name]
    if kind["kernel"] == "linear":
        return np.where(x > 0, x + 1, np.exp(x))
    if kind["kernel"] == "dpfp":
        r = np.maximum(np.concatenate([x, -x]), 0)
        return np.array([r[i] * r[i - j] for j in range(1, kind["dpfp_nu"] + 1) for i in range(len(r))])
    drawn = np.asarray(orthogonal_directions(rng, kind["directions"], SIZE))
    return np.array([np.exp(sign * w @ x - x @ x / 2) for sign in (1, -1) for w in drawn]) / np.sqrt(2 * len(drawn))


def by_hand(name: str, rule: str, own: Any, written: list[tuple[int, int]], asked: int, rng: Any) -> np.ndarray:
    """Pair by pair, as the definition is written, into a matrix."""
    own = {key: np.asarray(value, np.float64) for key, value in own.items()}
    query = own["embedding"][asked - 1] @ own["query_kernel"] + own["query_bias"]
    xs = [np.concatenate([np.eye(S)[v - 1 - S], own["embedding"][k - 1]]) for k, v in written]
    keys = [x @ own["key_kernel"] + own["key_bias"] for x in xs]
    values = [np.eye(S)[v - 1 - S] for _, v in written]
    if name == "softmax":
        shares = np.exp([query @ key / np.sqrt(SIZE) for key in keys])
        return shares / shares.sum() @ values
    query, keys = phi(name, query, rng), [phi(name, key, rng) for key in keys]
    memory, total = np.zeros((S, len(query))), np.zeros(len(query))
    for x, key, value in zip(xs, keys, values, strict=True):
        if rule == "delta":
            strength = 1 / (1 + np.exp(-(x @ own["strength_kernel"] + own["strength_bias"])))
            key = key / key.sum()
            memory += strength * np.outer(value - memory @ key, key)
        else:
            memory += np.outer(value, key)
            total += key
    return memory @ query / (query.sum() if rule == "delta" else total @ query + 1e-6)


@pytest.mark.parametrize(("name", "rule"), KINDS)
def test_what_is_read_is_what_a_matrix_holds_after_every_pair_in_turn(name: str, rule: str):
    network = made(name, rule)
    params = start(network)
    rng = jax.random.key(3) if "favor" in name else None
    expected = [by_hand(name, rule, params, *row, rng) for row in zip(WRITTEN, ASKED, strict=True)]
    np.testing.assert_allclose(answers(network, params, rng=rng), expected, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize(("name", "rule"), KINDS)
def test_gradients_are_finite_and_reach_all_that_is_used(name: str, rule: str):
    network = made(name, rule)
    loss = lambda params: jnp.square(answers(network, params) - 1).sum()  # noqa: E731
    gradient = jax.jit(jax.grad(loss))(start(network))
    assert all(np.isfinite(g).all() and (g != 0).any() for g in jax.tree.leaves(gradient))
    assert not gradient["embedding"][S:].any(), "the values' rows of the table are never looked up"


@pytest.mark.parametrize("name", ["softmax", "dpfp1"])
def test_padding_changes_nothing_and_an_empty_row_reads_nothing(name: str):
    network = made(name)
    params = start(network)
    wider = [jnp.pad(x, ((0, 1), (0, 4))) for x in (ROWS, SEGMENTS)]
    y = answers(network, params, *wider)
    np.testing.assert_allclose(y[:3], answers(network, params), atol=1e-6)
    assert not y[3].any()


# ---- the rules ------------------------------------------------------------------------------------------------------

PAIR, ONES = jnp.ones(5, bool), jnp.ones(5)


def test_the_delta_rule_recalls_as_many_orthogonal_keys_as_there_are_features():
    """With a strength of 1: each key its own value and nothing of the others'."""
    keys = jnp.asarray(np.diag(random.uniform(0.5, 2, 5)), jnp.float32)
    read = jax.vmap(lambda query: read_delta_rule(query, keys, PAIR, ONES))(3 * keys)
    np.testing.assert_allclose(read, np.eye(5), atol=1e-5)
    read = jax.vmap(lambda query: read_sum_rule(query, keys, PAIR))(keys)
    np.testing.assert_allclose(read, np.eye(5), atol=1e-5)


def test_of_a_key_that_comes_again_the_delta_rule_recalls_the_last_and_the_sum_rule_the_mean():
    keys = jnp.eye(5)[jnp.array([0, 1, 0, 2, 0])]
    np.testing.assert_allclose(read_delta_rule(keys[0], keys, PAIR, ONES), [0, 0, 0, 0, 1], atol=1e-5)
    np.testing.assert_allclose(read_delta_rule(keys[0], keys, PAIR, ONES / 2), [1 / 8, 0, 1 / 4, 0, 1 / 2], atol=1e-5)
    np.testing.assert_allclose(read_sum_rule(keys[0], keys, PAIR), np.array([1, 0, 1, 0, 1]) / 3, atol=1e-5)


def test_what_is_no_pair_is_not_read():
    key, query = (jnp.asarray(random.uniform(0, 1, shape), jnp.float32) for shape in ((5, 3), 3))
    pair = jnp.array([True, False, True, True, False])
    for read, more in ((read_softmax, ()), (read_sum_rule, ()), (read_delta_rule, (ONES / 2,))):
        found = read(query, key, pair, *more)
        alone = read(query, key[pair], PAIR[:3], *(one[:3] for one in more))
        np.testing.assert_allclose(found[pair], alone, atol=1e-6)
        assert not found[~pair].any()
        assert not read(query, key, ~PAIR, *more).any()


# ---- random features ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [3, 8, 20])
def test_directions_are_orthogonal_in_blocks(count: int):
    drawn = np.asarray(orthogonal_directions(jax.random.key(0), count, 8))
    assert drawn.shape == (count, 8)
    products = drawn @ drawn.T
    for first in range(0, count, 8):
        block = products[first : first + 8, first : first + 8]
        np.testing.assert_allclose(block - np.diag(np.diag(block)), 0, atol=1e-4)


def test_directions_are_as_long_as_normal_vectors_and_favour_none():
    drawn = np.asarray(orthogonal_directions(jax.random.key(1), 8 * 500, 8))
    assert np.square(drawn).sum(axis=1).mean() == pytest.approx(8, rel=0.05)
    np.testing.assert_allclose(drawn.T @ drawn / len(drawn), np.eye(8), atol=0.1)
    np.testing.assert_allclose(drawn.mean(axis=0), 0, atol=0.1)


def test_products_of_random_features_are_exponentials_of_products_in_the_mean():
    x = jnp.asarray(random.normal(size=(6, 8)) / 4, jnp.float32)
    found = favor_features(x, orthogonal_directions(jax.random.key(2), 8 * 1000, 8))
    assert found.shape == (6, 16_000)
    np.testing.assert_allclose(found @ found.T, np.exp(x @ x.T), rtol=0.1)


def test_favor_alone_draws_and_without_a_key_always_the_same():
    for name in ("favor64", "dpfp1"):
        network = made(name)
        params = start(network)
        one, other = (answers(network, params, rng=jax.random.key(i)) for i in (1, 2))
        assert (np.abs(one - other).max() > 1e-4) == (name == "favor64")
        np.testing.assert_array_equal(answers(network, params), answers(network, params))


# ---- how it starts, and how it is built -----------------------------------------------------------------------------


def test_the_parameters_and_how_they_start():
    network = AssociativeMemory(20)
    inputs = jnp.zeros((1, 41), jnp.int32)
    shapes = {"embedding": (40, 44), "key_kernel": (64, 64), "query_kernel": (44, 64), "key_bias": (64,)}
    params: Any = jax.jit(network.init)(jax.random.key(0), inputs)["params"]
    assert {name: leaf.shape for name, leaf in params.items()} == {**shapes, "query_bias": (64,)}
    assert np.std(params["embedding"]) == pytest.approx(1, rel=0.1)
    assert np.abs(params["query_kernel"]).max() == pytest.approx((6 / 108) ** 0.5, rel=0.02)  # Glorot's bound

    other = AssociativeMemory(20, kernel="dpfp", update_rule="delta")
    params = jax.jit(other.init)(jax.random.key(0), inputs)["params"]
    assert params["strength_kernel"].shape == (64, 1)
    assert np.abs(params["key_kernel"]).max() == pytest.approx(1 / 8, rel=0.02)
    assert np.abs(params["query_kernel"]).max() == pytest.approx(1 / 8, rel=0.02)
    assert np.abs(params["strength_kernel"]).max() <= 1 / 8


def test_a_memory_is_not_streamed():
    with pytest.raises(ValueError, match="reads a row at once and can't be streamed"):
        made("softmax").apply(
            {"params": start(made("softmax"))}, ROWS, state=(), positions=POSITIONS, segments=SEGMENTS
        )


def config(**fields: Any) -> Any:
    made = get_config()
    made.update_from_flattened_dict(fields)
    return made


@pytest.mark.parametrize(("name", "rule"), KINDS)
def test_the_loop_builds_and_trains_it(name: str, rule: str):
    fields = {"task.pairs": 5, "task.with_replacement": rule == "delta", "training.steps_per_call": 1}
    run = builder.build_run(
        config(**fields, **{"model.associative_memory": name, "model.update_rule": rule, "model.width": 8})
    )
    assert run.model == AssociativeMemory(5, 8, update_rule=rule, **ASSOCIATIVE_MEMORIES[name])
    assert run.config["versions"]["associative_memory"] == AssociativeMemory.VERSION
    replica = jax.eval_shape(partial(trainer.init_train_state, run), 0, 1e-3)
    after, measured = jax.eval_shape(partial(trainer.train_steps, run), replica, run.task)
    assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, replica)
    assert set(measured) == {"loss", "score", "gradient_norm"}
    costs = trainer.run_costs(run)
    assert costs["parameters"] == count_params(replica.params)
    assert costs["state_floats"] == 0
    assert costs["step_flops"] > 0


@pytest.mark.parametrize("mixer", ["gru", "attention"])
def test_the_same_rows_train_a_stack_of_mixers(mixer: str):
    run = builder.build_run(
        {**get_config(mixer).to_dict(), "task": {"name": "associations", "pairs": 3, "with_replacement": True}}
    )
    assert isinstance(run.model, models.Skeleton)
    assert "associative_memory" not in run.config["versions"]
    replica = jax.eval_shape(partial(trainer.init_train_state, run), 0, 1e-3)
    score = partial(trainer.evaluate_split, run, run.task.splits["test"])
    assert jax.eval_shape(score, replica, run.task, trainer.split_seed("test"))["loss"].shape == ()


def test_a_few_pairs_are_learnt():
    fields = {
        "task.pairs": 6,
        "model.associative_memory": "dpfp1",
        "optimizer.learning_rate": 1e-2,
        "training.steps": 200,
    }
    run = builder.build_run(config(**fields))
    replica = jax.jit(partial(trainer.init_train_state, run))(0, 1e-2)
    step = jax.jit(partial(trainer.train_steps, run))
    losses = []
    for _ in range(2):
        replica, measured = step(replica, run.task)
        losses.append(float(measured["loss"]))
    assert losses[0] < 0.5
    assert losses[1] < 0.02
    found = jax.jit(partial(trainer.evaluate_split, run, run.task.splits["test"]))(
        replica, run.task, trainer.split_seed("test")
    )
    assert found["score"] < 0.01


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"associative_memory": "sofmax"},
            r"model\.associative_memory=sofmax: must be one of softmax, linear, .*; did you mean softmax\?",
        ),
        (
            {"associative_memory": "linear", "update_rule": "dleta"},
            r"model\.update_rule=dleta: .*; did you mean delta\?",
        ),
        (
            {"associative_memory": "softmax", "update_rule": "delta"},
            r"model\.update_rule=delta: .* softmax has none of; use sum",
        ),
        (
            {"associative_memory": "linear", "encoder_decoder": "dot"},
            r"model\.encoder_decoder=dot: does not go with model\.associative_memory=linear; use none",
        ),
        ({"associative_memory": "linear", "dtype": "bfloat16"}, r"model\.dtype=bfloat16: does not go .*; use float32"),
    ],
)
def test_what_can_not_be_a_memory_is_refused(fields: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message) as caught:
        builder.build_run(config(**{f"model.{name}": value for name, value in fields.items()}))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("task", [{"name": "recall"}, {"name": "adding"}, {"name": "copy_memory", "delay": 4}])
def test_a_memory_needs_rows_of_associations(task: dict[str, Any]):
    fields = {**config(**{"model.associative_memory": "dpfp2"}).to_dict(), "task": task}
    with pytest.raises(
        ValueError, match=r"model\.associative_memory=dpfp2: this task has no rows of keys and values; associations"
    ):
        builder.build_run(fields)
