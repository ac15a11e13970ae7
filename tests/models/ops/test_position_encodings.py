from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import jax.test_util
import numpy as np
import pytest

from models.mixers.recurrent import Recurrence
from models.ops.position_encodings import (
    RANDOM_POSITION_LIMIT,
    T5_BUCKETS,
    alibi_bias,
    apply_rope,
    draw_positions,
    evenly_spaced_positions,
    hard_alibi_mask,
    lookup_encoding,
    sinusoidal_encoding,
    t5_bias,
    t5_bucket,
    transformer_xl_bias,
    window_mask,
)
from models.skeleton import Skeleton


@pytest.mark.parametrize("width", [8, 7])
def test_sinusoidal_is_the_written_formula(width: int):
    """PE(pos, 2i) = sin(pos / 10000^(2i/d)), PE(pos, 2i+1) = cos(the same)   (Vaswani et al. 2017, §3.5)."""
    positions = [0, 1, 5, 63, 3]
    expected = [
        [(np.cos if k % 2 else np.sin)(p / 10000 ** (2 * (k // 2) / width)) for k in range(width)] for p in positions
    ]
    np.testing.assert_allclose(sinusoidal_encoding(jnp.array(positions), width), expected, atol=1e-5)


def test_learned_is_a_table_that_ends():
    """Rows by position; nan past the last, not its copy; gradients reach the rows that were read alone."""
    table = jnp.arange(12.0).reshape(4, 3)
    found = lookup_encoding(jnp.array([2, 0, 4, 100]), table)
    np.testing.assert_array_equal(found[:2], table[jnp.array([2, 0])])
    assert np.isnan(found[2:]).all()
    gradient = jax.grad(lambda t: lookup_encoding(jnp.array([2, 0, 2]), t).sum())(table)
    np.testing.assert_array_equal(gradient[:, 0], [1, 0, 2, 0])


def test_rope_turns_by_distance_alone():
    """Products of a rotated query and key depend on their distance and on no more; lengths stay."""
    random = np.random.default_rng(0)
    q, k = (jnp.asarray(random.normal(size=(2, 1, 6)), jnp.float32) for _ in range(2))

    def score(at_query: int, at_key: int) -> np.ndarray:
        turned = apply_rope(q, jnp.array([at_query])), apply_rope(k, jnp.array([at_key]))
        return np.asarray(jnp.einsum("htk,hsk->h", *turned))

    np.testing.assert_allclose(score(3, 1), score(40, 38), atol=1e-4)
    np.testing.assert_allclose(score(0, 0), np.einsum("htk,hsk->h", q, k), atol=1e-5)
    assert np.abs(score(3, 1) - score(4, 1)).min() > 1e-3, "the distance does matter"
    assert np.abs(score(3, 1) - score(1, 3)).min() > 1e-3, "and so does its sign"
    turned = apply_rope(jnp.tile(q, (1, 9, 1)), jnp.arange(9) * 11)
    np.testing.assert_allclose(np.linalg.norm(turned, axis=-1), np.linalg.norm(q, axis=-1) * np.ones(9), rtol=1e-5)


def test_rope_rotates_pair_i_by_its_frequency():
    """Feature i and i + K/2 turn together, by position / 10000^(2i/K)   (Su et al. 2021, eq. 34)."""
    x = jnp.zeros((1, 1, 4)).at[0, 0, 1].set(1.0)
    angle = 50 / 10000 ** (2 / 4)
    np.testing.assert_allclose(apply_rope(x, jnp.array([50]))[0, 0], [0, np.cos(angle), 0, np.sin(angle)], atol=1e-6)


def test_alibi_slopes_of_eight_heads():
    """1/2, 1/4 … 1/256, and a bias linear in the distance (Press et al. 2022, §3)."""
    bias = np.asarray(alibi_bias(jnp.array([5, 0]), jnp.array([5, 4, 2, 0]), 8))
    np.testing.assert_allclose(bias[:, 0, 1], [-(2.0**-h) for h in range(1, 9)])
    np.testing.assert_allclose(bias[:, 0], bias[:, 0, 1:2] * [0, 1, 3, 5])
    np.testing.assert_allclose(bias[:, 1], bias[:, 0, 1:2] * [5, 4, 2, 0], err_msg="by distance, ahead as behind")


def test_near_counts_the_query_itself():
    """The last `reach` positions, by what they say and not by where they stand."""
    keys = jnp.array([9, 3, 5, 4, 1, 0, 6])
    np.testing.assert_array_equal(window_mask(jnp.array([5]), keys, 1), [keys == 5])
    np.testing.assert_array_equal(window_mask(jnp.array([5]), keys, 3), [(keys >= 3) & (keys <= 7)])


def test_hard_alibi_limits_half_of_the_heads():
    """Head 1 sees 1 token, head 2 two …, the rest see all (Jelassi et al. 2024)."""
    places = jnp.arange(9)
    seen = np.asarray(hard_alibi_mask(places, places, 7) & (places[None, :] <= places[:, None]))
    for h in range(7):
        np.testing.assert_array_equal(seen[h].sum(axis=-1), [min(t + 1, h + 1 if h < 3 else 9) for t in range(9)])
    assert hard_alibi_mask(jnp.array([10**9]), jnp.array([0]), 4)[:, 0, 0].tolist() == [False, False, True, True]


def bucket_of_t5(distance: int, causal: bool) -> int:
    """As the paper's code has it, with logarithms; 1e-9 stands for exact arithmetic."""
    count, first = T5_BUCKETS, 0
    if not causal:
        count //= 2
        first = count if distance < 0 else 0
        distance = abs(distance)
    distance = max(distance, 0)
    exact = count // 2
    if distance < exact:
        return first + distance
    further = np.log(distance / exact) / np.log(128 / exact) * (count - exact)
    return first + min(exact + int(further + 1e-9), count - 1)


@pytest.mark.parametrize("causal", [True, False])
def test_t5_buckets(causal: bool):
    """Each of the short distances has its own, longer ones share, none stands for both sides, and all are in use, but
    for the one that stands for no distance ahead."""
    distances = np.arange(-300, 301)
    found = np.asarray(t5_bucket(jnp.asarray(distances)[None], causal))[0]
    np.testing.assert_array_equal(found, [bucket_of_t5(int(d), causal) for d in distances])
    assert set(found.tolist()) == set(range(T5_BUCKETS)) - (set() if causal else {T5_BUCKETS // 2})
    assert (found[distances >= 128] == found[-1]).all()


def test_t5_is_a_table_by_distance():
    """One number a head and bucket; its gradient counts how often it was read."""
    table = jnp.asarray(np.random.default_rng(0).normal(size=(2, T5_BUCKETS)), jnp.float32)
    queries, keys = jnp.array([7, 3]), jnp.array([7, 5, 0])
    np.testing.assert_array_equal(t5_bias(queries, keys, table, True)[:, 0], table[:, jnp.array([0, 2, 7])])
    np.testing.assert_array_equal(t5_bias(queries, keys, table, False)[:, 1], table[:, jnp.array([20, 18, 3])])
    reads = jax.grad(lambda table: t5_bias(queries, keys, table, True).sum())(table)
    assert {i: int(n) for i, n in enumerate(reads[0]) if n} == {0: 3, 2: 1, 3: 1, 7: 1}


def test_transformer_xl_is_the_written_formula():
    """q·W·φ(t − s), φ being sines and then cosines of the distance, for distances of either sign and in any order."""
    random = np.random.default_rng(0)
    query, kernel = random.normal(size=(2, 3, 4)), random.normal(size=(6, 2, 4))
    queries, keys = [5, 0, 40], [5, 4, 41, 0]
    expected = np.zeros((2, 3, 4))
    for t, at in enumerate(queries):
        for s, of in enumerate(keys):
            angles = (at - of) / 10000 ** (np.arange(3) * 2 / 6)
            feature = np.concatenate([np.sin(angles), np.cos(angles)])
            expected[:, t, s] = np.einsum("hk,f,fhk->h", query[:, t], feature, kernel)
    arguments = jnp.asarray(query), jnp.array(queries), jnp.array(keys), jnp.asarray(kernel)
    np.testing.assert_allclose(transformer_xl_bias(*arguments), expected, atol=1e-4)


@pytest.mark.parametrize("causal", [True, False])
def test_scores_hang_on_distances_alone(causal: bool):
    """Of everything that attention adds to its scores or hides by position."""
    random = np.random.default_rng(0)
    query, kernel, table = (
        jnp.asarray(random.normal(size=shape), jnp.float32) for shape in ((2, 5, 4), (6, 2, 4), (2, T5_BUCKETS))
    )
    places = jnp.array([3, 0, 7, 100, 4])
    for function in (
        lambda at: alibi_bias(at, at, 2),
        lambda at: hard_alibi_mask(at, at, 4),
        lambda at: t5_bias(at, at, table, causal),
        lambda at: transformer_xl_bias(query, at, at, kernel),
    ):
        np.testing.assert_allclose(function(places + 211), function(places), atol=1e-3)
        assert np.abs(np.asarray(function(places * 2), float) - np.asarray(function(places), float)).max() > 0.1


def test_gradients_are_finite_differences():
    with jax.enable_x64(True):
        random = np.random.default_rng(0)
        query, kernel, table = (jnp.asarray(random.normal(size=s)) for s in ((2, 3, 4), (6, 2, 4), (2, T5_BUCKETS)))
        at = jnp.array([4, 0, 9])
        check = partial(jax.test_util.check_grads, order=2, atol=1e-5)
        check(jax.jit(lambda query, kernel: transformer_xl_bias(query, at, at, kernel)), (query, kernel))
        check(jax.jit(lambda table: t5_bias(at, at, table, False)), (table,))
        check(jax.jit(lambda query: apply_rope(query, at)), (query,))


def test_randomised_positions_are_drawn_in_order_and_without_replacement():
    """As many as the longest sequence has, over the whole range; behind them the table is past every position."""
    draw = jax.jit(draw_positions, static_argnums=2)
    tables = np.stack([draw(jax.random.key(seed), jnp.int32(20), 30) for seed in range(200)])
    assert (np.diff(tables[:, :20]) > 0).all()
    assert tables[:, :20].min() >= 0
    assert tables[:, :20].max() < RANDOM_POSITION_LIMIT
    assert (tables[:, 20:] == RANDOM_POSITION_LIMIT).all()
    assert len({tuple(table) for table in tables}) == 200
    means = np.arange(1, 21) * (RANDOM_POSITION_LIMIT + 1) / 21 - 1  # of the sorted draws
    np.testing.assert_allclose(tables[:, :20].mean(axis=0), means, atol=40)
    everything = draw(jax.random.key(0), jnp.int32(RANDOM_POSITION_LIMIT), RANDOM_POSITION_LIMIT)
    np.testing.assert_array_equal(everything, np.arange(RANDOM_POSITION_LIMIT))
    for size in (1, 7, 500, RANDOM_POSITION_LIMIT):
        table = np.asarray(evenly_spaced_positions(size))
        assert len(set(table.tolist())) == size
        assert table.max() < RANDOM_POSITION_LIMIT


STEPS = 5
RANDOMISED = Skeleton(
    mixers=(partial(Recurrence, cell="rnn", hidden_size=3),),
    depth=1,
    width=8,
    vocabulary=0,
    channels=4,
    outputs=3,
    max_length=STEPS,
    positions="randomised",
)


def test_randomised_positions_in_a_network():
    """Drawn anew with every rng; without one they are what they always are, whole or one by one; nan past the end."""
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, STEPS, 4)), jnp.float32)
    params = jax.jit(RANDOMISED.init)(jax.random.key(0), x)
    call = jax.jit(RANDOMISED.apply)
    one, same, other = (call(params, x, rng=jax.random.key(seed))[0] for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 1e-3
    whole, _ = call(params, x)
    ys, state = [], None
    segments = jnp.ones((2, 1), jnp.int32)
    for t in range(STEPS):
        y, state = call(params, x[:, [t]], positions=jnp.full((2, 1), t), segments=segments, state=state)
        ys.append(y)
    np.testing.assert_allclose(jnp.concatenate(ys, axis=1), whole, atol=1e-5)
    y, _ = call(params, x[:, :1], positions=jnp.full((2, 1), STEPS), segments=segments)
    assert np.isnan(y).all()


def test_randomised_positions_are_as_many_as_tokens():
    """Padding, whatever position it has, is not counted: three tokens, padded or not, get the same three."""
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, STEPS, 4)), jnp.float32)
    params = jax.jit(RANDOMISED.init)(jax.random.key(0), x)
    call: Any = partial(jax.jit(RANDOMISED.apply), params, rng=jax.random.key(3))
    padded, _ = call(x, positions=jnp.array([[0, 1, 2, 4, 4]]), segments=jnp.array([[1, 1, 1, 0, 0]]))
    alone, _ = call(x[:, :3])
    np.testing.assert_allclose(padded[:, :3], alone, atol=1e-6)
    assert np.isfinite(padded).all()
    longer, _ = call(x)
    assert np.abs(longer[:, :3] - alone).max() > 1e-3
