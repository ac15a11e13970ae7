import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.inspection import influence
from tests.experiments.inspection import TOKENS, close, outputs, params, run


@pytest.mark.parametrize("mixer", ["attention", "dense"])
def test_influence_is_causal_and_on_one_scale(mixer: str):
    of = run(mixer, model__depth=1)
    found = influence.measure_influence(of, params(of), TOKENS)
    ahead = np.triu(np.ones((10, 10), bool), 1)
    for moved in found:
        assert moved.shape == (10, 10)
        assert np.abs(moved[ahead]).max() < 1e-6
        assert 0 <= moved.min() <= moved.max() <= 1
        assert (np.diagonal(moved) > 1e-4).all()
    close(found.gradient.sum(axis=1), 1)


def test_a_recurrence_that_is_cut_is_moved_by_nothing_but_the_token_itself():
    of = run("rnn")
    own = params(of)
    for moved in influence.measure_influence(of, own, TOKENS):
        assert np.tril(moved, -1).max() > 1e-3
    for block in range(2):
        own[f"mixer_{block}"] = jax.tree.map_with_path(
            lambda path, leaf: 0 * leaf if "recurrent" in path[-1].key else leaf, own[f"mixer_{block}"]
        )
    for moved in influence.measure_influence(of, own, TOKENS):
        assert np.tril(moved, -1).max() < 1e-6
        assert (np.diagonal(moved) > 1e-4).all()


def test_occlusion_is_the_mean_distance_over_other_tokens():
    of = run("rnn", model__depth=1)
    own = params(of)
    predict = lambda tokens: np.asarray(jax.nn.softmax(outputs(of, own, tokens)))  # noqa: E731
    others = np.asarray(influence.draw_replacements(jnp.asarray(TOKENS), of.task.vocabulary))
    assert others.shape == (10, 8)
    assert all(len({*row, token}) == 9 for row, token in zip(others.tolist(), TOKENS.tolist(), strict=True))
    before, expected = predict(TOKENS), np.zeros(10)
    for other in others[2]:
        changed = TOKENS.copy()
        changed[2] = other
        expected += np.abs(predict(changed) - before).sum(axis=1) / 2 / 8
    close(influence.measure_influence(of, own, TOKENS).occlusion[:, 2], expected)


@pytest.mark.parametrize("mixer", ["attention", "tie_embeddings"])
def test_the_gradient_agrees_with_finite_differences(mixer: str):
    of = run(mixer.replace("tie_embeddings", "gru"))
    if mixer == "tie_embeddings":  # the head is the embedding
        of = of._replace(model=of.model.clone(tie_embeddings=True, outputs=of.model.vocabulary))
    own = params(of)
    said = influence.log_probability_fn(of, own)
    x = own["embed"]["embedding"][TOKENS]
    close(jax.jit(said)(x), jax.nn.log_softmax(outputs(of, own, TOKENS)))
    t, s, step = 8, 3, 1e-2
    best = int(jax.jit(said)(x)[t].argmax())
    log = jax.jit(lambda x: said(x)[t, best])
    slopes = [(log(x.at[s, d].add(step)) - log(x.at[s, d].add(-step))) / (2 * step) for d in range(8)]
    norms = np.asarray(jnp.linalg.norm(jax.jit(jax.grad(log))(x), axis=-1))
    assert np.linalg.norm(slopes) == pytest.approx(norms[s], rel=2e-2)
    close(influence.measure_influence(of, own, TOKENS).gradient[t], norms / norms.sum(), 1e-4)


def test_influence_against_distance():
    moved = np.array([[1, 0, 0], [0.5, 0.5, 0], [0.1, 0.3, 0.6]])
    np.testing.assert_allclose(influence.mean_by_distance(moved), [2.1 / 3, 0.4, 0.1], rtol=1e-6)
