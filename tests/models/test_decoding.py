"""Against a model small enough to write down every sequence: logits depend on the place and on the last two tokens."""

from functools import partial
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.decoding import DecodeOutput, beam_search, greedy_decode, sample_decode

V, STEPS, FIRST = 3, 4, 1
TABLES = jnp.asarray(np.random.default_rng(0).normal(0, 1.5, (5, STEPS, V, V, V)), jnp.float32)


def step(table: Any, state: Any, token: Any) -> Any:
    """The state holds the token before this one, and how many there were."""
    before, count = (0, 0) if state is None else (state["before"], state["count"])
    return table[count, before, token], {"before": token, "count": jnp.int32(count + 1)}


def likelihood(table: Any, tokens: Any) -> float:
    """log p of `tokens` after FIRST."""
    p = np.asarray(jax.nn.log_softmax(table), np.float64)
    behind = (0, FIRST, *tokens)
    triples = zip(behind, behind[1:], behind[2:], strict=False)
    return sum(float(p[place, *triple]) for place, triple in enumerate(triples))


def everything(table: Any, end: int | None, alpha: float) -> list[tuple[float, float, tuple[int, ...], int]]:
    """All sequences of at most STEPS tokens, best first: how good, how likely, tokens filled up with ends, length."""
    found = {}
    for tokens in product(range(V), repeat=STEPS):
        length = tokens.index(end) + 1 if end in tokens else STEPS
        whole = tokens[:length] + (end or 0,) * (STEPS - length)
        p = likelihood(table, tokens[:length])
        found[whole] = (p / ((5 + length) / 6) ** alpha, p, whole, length)
    return sorted(found.values(), reverse=True)


@partial(jax.jit, static_argnames=("width", "end", "steps"))
def beams(table: Any, width: int, end: int | None, alpha: Any = 0.0, steps: int = STEPS) -> DecodeOutput:
    return beam_search(partial(step, table), FIRST, beam_width=width, steps=steps, end_token=end, alpha=alpha)


@partial(jax.jit, static_argnames="end")
def greedily(table: Any, end: int | None) -> DecodeOutput:
    return greedy_decode(partial(step, table), FIRST, steps=STEPS, end_token=end)


@pytest.mark.parametrize("alpha", [0.0, 0.6, 3.0])
@pytest.mark.parametrize("end", [None, 0, 2])
def test_a_beam_that_holds_everything_finds_it_all_in_order(end: int | None, alpha: float):
    for table in TABLES:
        expected = everything(table, end, alpha)
        found = jax.tree.map(np.asarray, beams(table, V**STEPS, end, alpha))
        real = np.isfinite(found.log_probability)
        assert real.sum() == len(expected)
        assert [tuple(tokens) for tokens in found.tokens[: len(expected)].tolist()] == [row[2] for row in expected]
        np.testing.assert_allclose(found.log_probability[real], [row[1] for row in expected], rtol=1e-5)
        np.testing.assert_array_equal(found.length[real], [row[3] for row in expected])


@pytest.mark.parametrize("end", [None, 2])
def test_greedy_is_a_beam_of_one(end: int | None):
    for table in TABLES:
        one, beamed = greedily(table, end), beams(table, 1, end)
        np.testing.assert_array_equal(one.tokens, beamed.tokens[0])
        assert int(one.length) == int(beamed.length[0])
        assert float(one.log_probability) == pytest.approx(float(beamed.log_probability[0]), rel=1e-6)


def test_greedy_takes_the_likeliest_token_until_the_end():
    for table in TABLES:
        before, token, expected = 0, FIRST, []
        while len(expected) < STEPS and token != 2:
            before, token = token, int(table[len(expected), before, token].argmax())
            expected.append(token)
        found = greedily(table, 2)
        assert found.tokens.tolist() == expected + [2] * (STEPS - len(expected))
        assert int(found.length) == len(expected)
        assert float(found.log_probability) == pytest.approx(likelihood(table, expected), rel=1e-5)


@pytest.mark.parametrize("width", [2, 4])
def test_a_narrow_beam_tells_the_truth_about_what_it_found(width: int):
    """Its log probabilities are the model's, it never beats the whole search, and an end stays the end."""
    for table in TABLES:
        found = jax.tree.map(np.asarray, beams(table, width, 2))
        whole = everything(table, 2, 0.0)
        assert found.log_probability[0] <= whole[0][1] + 1e-5
        assert (np.diff(found.log_probability) <= 0).all()
        assert len({tuple(tokens) for tokens in found.tokens.tolist()}) == width
        for tokens, length, p in zip(found.tokens, found.length, found.log_probability, strict=True):
            assert (tokens[length:] == 2).all()
            assert 2 not in tokens[: length - 1]
            assert p == pytest.approx(likelihood(table, tokens[:length]), rel=1e-5)


def test_a_sequence_that_has_ended_is_kept_while_others_go_on():
    """An early end that is likelier than anything that goes on is first, however long the rest is."""
    table = jnp.zeros_like(TABLES[0]).at[0, 0, FIRST].set(jnp.array([0.0, 0.0, 3.0]))
    found = beams(table, 3, 2)
    assert found.tokens[0].tolist() == [2] * STEPS
    assert int(found.length[0]) == 1
    assert (np.asarray(found.length[1:]) > 1).all()


def test_length_normalisation_prefers_the_longer():
    """Where the end costs a little more than another token, a sum prefers it at once, and α = 3 never."""
    table = jnp.zeros_like(TABLES[0]).at[..., 2].set(-0.5)
    short, long = beams(table, V**STEPS, 2), beams(table, V**STEPS, 2, 3.0)
    assert int(short.length[0]) == 1
    assert int(long.length[0]) == STEPS


def test_vmap_is_the_loop():
    for one in (partial(beams, width=2, end=2), partial(greedily, end=2)):
        batch, one_by_one = jax.jit(jax.vmap(one))(TABLES), [one(table) for table in TABLES]
        jax.tree.map(lambda a, *b: np.testing.assert_allclose(a, np.stack(b), rtol=1e-6), batch, *one_by_one)


def test_one_step():
    best = np.asarray(TABLES[0, 0, 0, FIRST]).argsort()[::-1]
    np.testing.assert_array_equal(beams(TABLES[0], 2, None, steps=1).tokens[:, 0], best[:2])
    assert int(greedy_decode(partial(step, TABLES[0]), FIRST, steps=1).tokens[0]) == best[0]


@pytest.mark.parametrize(
    ("fields", "message"), [({"steps": 0}, "steps=0: must be"), ({"beam_width": 0}, "beam_width=0: must")]
)
def test_bad_numbers(fields: dict, message: str):
    with pytest.raises(ValueError, match=message):
        beam_search(partial(step, TABLES[0]), FIRST, **{"steps": 2, "beam_width": 2, **fields})


def test_drawn_tokens_have_the_model_s_probabilities():
    """The share of each pair of first tokens among many draws, against the model; at temperature 0 the likeliest."""
    table = TABLES[0]
    draw = jax.jit(lambda key, t: sample_decode(partial(step, table), FIRST, key, steps=2, temperature=t))
    tokens = np.asarray(jax.vmap(draw, (0, None))(jax.random.split(jax.random.key(0), 20_000), 0.7))
    p = np.asarray(jax.nn.softmax(table / 0.7), np.float64)
    for a, b in product(range(V), repeat=2):
        share = np.mean((tokens[:, 0] == a) & (tokens[:, 1] == b))
        assert share == pytest.approx(p[0, 0, FIRST, a] * p[1, FIRST, a, b], abs=0.02)
    np.testing.assert_array_equal(draw(jax.random.key(0), 0.0), greedily(table, None).tokens[:2])


def test_the_same_key_draws_the_same():
    one, same, other = (
        sample_decode(partial(step, TABLES[1]), FIRST, jax.random.key(k), steps=STEPS) for k in (0, 0, 5)
    )
    np.testing.assert_array_equal(one, same)
    assert one.tolist() != other.tolist()
