from functools import cache, partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import recall
from experiments.inspection import activations
from models.ops import normalizers, similarity
from training import builder, trainer

TOKENS = np.array([3, 9, 4, 10, 3, 9, 5, 11, 3, 9], np.int32)


@cache
def run(mixer: str, **fields: Any) -> builder.Run:
    config: Any = recall.get_config(mixer)
    config.task.update(pairs=2, max_length=16, symbols=16)
    config.model.width = 8
    config.update_from_flattened_dict({name.replace("__", "."): value for name, value in fields.items()})
    return builder.build_run(config)


def params(of: builder.Run) -> Any:
    """Drawn, biases and norms too, so that no term is nothing."""
    drawn = jax.jit(partial(trainer.init_params, of))(jnp.uint32(0))
    leaves, tree = jax.tree.flatten(drawn)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    noise = [leaf + 0.3 * jax.random.normal(key, leaf.shape) for leaf, key in zip(leaves, keys, strict=True)]
    return jax.tree.unflatten(tree, noise)


def outputs(of: builder.Run, own: Any, tokens: np.ndarray) -> np.ndarray:
    """The model itself, asked without looking inside."""
    y, _ = jax.jit(of.model.apply)({"params": own}, jnp.asarray(tokens)[None])
    return np.asarray(y[0])


def normed(own: Any, name: str, x: np.ndarray) -> np.ndarray:
    return np.asarray(nn.LayerNorm().apply({"params": own[name]}, x))


def close(ours: Any, theirs: Any, within: float = 1e-5) -> None:
    np.testing.assert_allclose(ours, theirs, rtol=within, atol=within)


# ---- the path of a sentence -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("norm", "positions"),
    [("pre", "sinusoidal"), ("post", "learned"), ("none", "randomised"), ("pre", "alibi")],
)
def test_the_path_leads_to_what_the_model_says(norm: str, positions: str):
    """What is captured and what is added up here agree with the model's own arithmetic, stage by stage."""
    of = run("attention", model__norm=norm, model__positions=positions)
    own = params(of)
    found = activations.capture_activations(of, own, TOKENS)
    close(found.logits, outputs(of, own, TOKENS))
    close(found.probabilities.sum(axis=1), 1)
    assert (found.position is None) == (positions == "alibi")
    close(found.placed, found.embedding + (0 if found.position is None else found.position))
    x = found.placed
    for index, block in enumerate(found.blocks):
        close(block.read, normed(own, f"mixer_norm_{index}", x) if norm == "pre" else x)
        x = x + block.mixed
        x = normed(own, f"mixer_norm_{index}", x) if norm == "post" else x
        close(block.added, x)
        x = x + block.feedforward
        x = normed(own, f"feedforward_norm_{index}", x) if norm == "post" else x
        close(block.after, x)
    close(found.final, normed(own, "final_norm", x))
    close(found.logits, found.final @ own["head"]["kernel"] + own["head"]["bias"])


@pytest.mark.parametrize(
    "options", [{}, {"kv_heads": 2, "window": 3}, {"similarity": "cosine", "normalizer": "sigmoid"}]
)
def test_a_head_is_made_of_what_is_shown(options: dict[str, Any]):
    fields: Any = {f"model__attention__{name}": value for name, value in options.items()}
    of = run("attention", model__positions="none", **fields)
    own = params(of)
    block, weights = activations.capture_activations(of, own, TOKENS).blocks[1], own["mixer_1"]
    attended = block.attention
    assert attended
    shown = np.asarray(activations.visible_keys(of, len(TOKENS)))
    heads, groups, size = 4, options.get("kv_heads", 4), attended.query.shape[-1]
    for name, count in (("query", heads), ("key", groups), ("value", groups)):
        made = block.read @ weights[f"{name}_kernel"] + weights[f"{name}_bias"]
        close(getattr(attended, name), made.reshape(len(TOKENS), count, size).swapaxes(0, 1))
    score = similarity.SIMILARITIES[options.get("similarity", "scaled")]
    for head in range(heads):
        group = head * groups // heads
        learnt = {"temperature": weights["temperature"][head]} if "temperature" in weights else {}
        scores = score(jnp.asarray(attended.query[head]), jnp.asarray(attended.key[group]), learnt)
        close(attended.scores[head], np.where(shown[head], scores, 0))
        normalise = normalizers.NORMALIZERS[options.get("normalizer", "softmax")]
        shares, total = normalise(scores, jnp.asarray(shown[head]))
        close(attended.weights[head], shares / total)
        close(attended.heads[head], attended.weights[head] @ attended.value[group])
    assert not attended.weights[~shown].any()
    joined = attended.heads.swapaxes(0, 1).reshape(len(TOKENS), -1)
    close(block.mixed, joined @ weights["output"]["kernel"] + weights["output"]["bias"])


def test_a_recurrence_has_a_path_without_heads():
    of = run("gru", model__feedforward=0.0, model__residual=False)
    own = params(of)
    found = activations.capture_activations(of, own, TOKENS)
    block = found.blocks[0]
    assert block.attention is block.feedforward is None
    np.testing.assert_array_equal(block.after, block.mixed)
    close(found.logits, outputs(of, own, TOKENS))
    assert not activations.summarize_heads(of, found, TOKENS)
    assert "block_1.mixed" in activations.named_arrays(found)
    assert "block_1.weights" not in activations.named_arrays(found)


def test_a_bag_of_words_and_a_hybrid_have_one_too():
    bag = run("attention", model__depth=0, model__positions="none")
    close(
        activations.capture_activations(bag, params(bag), TOKENS).final[0],
        activations.capture_activations(bag, params(bag), TOKENS[::-1].copy()).final[-1],
    )
    found = activations.capture_activations(of := run("rglru,attention"), params(of), TOKENS)
    assert [block.attention is None for block in found.blocks] == [True, False]
    assert {head.block for head in activations.summarize_heads(of, found, TOKENS)} == {1}


# ---- heads ----------------------------------------------------------------------------------------------------------


def looking(at: Any) -> np.ndarray:
    """Weights that are all on one key for each query."""
    return np.eye(len(TOKENS), dtype=np.float32)[[at(t) for t in range(len(TOKENS))]]


def latest(t: int, after: int) -> int:
    """The place `after` the last earlier token that is the same; the token itself where there is none."""
    return max((s + after for s in range(t) if TOKENS[s] == TOKENS[t]), default=t)


@pytest.mark.parametrize(
    ("role", "at"),
    [
        ("previous", lambda t: max(t - 1, 0)),
        ("first", lambda t: 0),
        ("itself", lambda t: t),
        ("same", lambda t: latest(t, 0)),
        ("induction", lambda t: latest(t, 1)),
    ],
)
def test_heads_that_do_one_thing_are_named_by_it(role: str, at: Any):
    uniform = activations.measure_head(np.tril(np.ones((10, 10))) / np.arange(1, 11)[:, None], TOKENS)
    found = activations.measure_head(looking(at), TOKENS)
    assert found[role] == 1
    assert found["entropy"] == 0
    assert activations.classify_head(found, uniform) == role
    assert activations.classify_head(uniform, uniform) == "mixed"


def test_measures_by_hand():
    weights = np.array([[1, 0, 0], [0.5, 0.5, 0], [0.25, 0.25, 0.5]])
    found = activations.measure_head(weights, np.array([7, 8, 7]))
    assert found["previous"] == pytest.approx((0.5 + 0.25) / 2)
    assert found["first"] == pytest.approx((0.5 + 0.25) / 2)
    assert found["itself"] == pytest.approx(2 / 3)
    assert found["same"] == pytest.approx(0.25)  # only the last token was seen before
    assert found["induction"] == pytest.approx(0.25)  # and 8 followed it
    assert found["entropy"] == pytest.approx((0 + 1 + 1.5) / 3)
    assert found["distance"] == pytest.approx((0 + 0.5 + 0.75) / 3)
    none = activations.measure_head(weights, np.array([7, 8, 9]))
    assert np.isnan(none["same"])
    assert np.isnan(none["induction"])
    assert activations.classify_head(none, none) == "mixed"


def test_heads_are_ordered_by_what_they_do():
    of = run("attention")
    found = activations.summarize_heads(of, activations.capture_activations(of, params(of), TOKENS), TOKENS)
    assert [(one.block, one.head) for one in found] == [(block, head) for block in range(2) for head in range(4)]
    assert all(0 <= one.found["entropy"] <= np.log2(10) for one in found)
    roles = [one.role for one in activations.sort_by_role(found)]
    names = [*activations.HEAD_ROLES, "mixed"]
    assert roles == sorted(roles, key=names.index)


# ---- influence ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mixer", ["attention", "lstm", "dense"])
def test_influence_is_causal_and_on_one_scale(mixer: str):
    of = run(mixer)
    found = activations.measure_influence(of, params(of), TOKENS)
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
    for moved in activations.measure_influence(of, own, TOKENS):
        assert np.tril(moved, -1).max() > 1e-3
    for block in range(2):
        own[f"mixer_{block}"] = jax.tree.map_with_path(
            lambda path, leaf: 0 * leaf if "recurrent" in path[-1].key else leaf, own[f"mixer_{block}"]
        )
    for moved in activations.measure_influence(of, own, TOKENS):
        assert np.tril(moved, -1).max() < 1e-6
        assert (np.diagonal(moved) > 1e-4).all()


def test_occlusion_is_the_mean_distance_over_other_tokens():
    of = run("lstm")
    own = params(of)
    predict = lambda tokens: np.asarray(jax.nn.softmax(outputs(of, own, tokens)))  # noqa: E731
    others = np.asarray(activations.draw_replacements(jnp.asarray(TOKENS), of.task.vocabulary))
    assert others.shape == (10, 8)
    assert all(len({*row, token}) == 9 for row, token in zip(others.tolist(), TOKENS.tolist(), strict=True))
    before, expected = predict(TOKENS), np.zeros(10)
    for other in others[2]:
        changed = TOKENS.copy()
        changed[2] = other
        expected += np.abs(predict(changed) - before).sum(axis=1) / 2 / 8
    close(activations.measure_influence(of, own, TOKENS).occlusion[:, 2], expected)


@pytest.mark.parametrize("mixer", ["attention", "tie_embeddings"])
def test_the_gradient_agrees_with_finite_differences(mixer: str):
    of = run(mixer.replace("tie_embeddings", "gru"))
    if mixer == "tie_embeddings":  # the head is the embedding
        of = of._replace(model=of.model.clone(tied=True, outputs=of.model.vocabulary))
    own = params(of)
    said = activations.log_probability_fn(of, own)
    x = own["embed"]["embedding"][TOKENS]
    close(jax.jit(said)(x), jax.nn.log_softmax(outputs(of, own, TOKENS)))
    t, s, step = 8, 3, 1e-2
    best = int(jax.jit(said)(x)[t].argmax())
    log = jax.jit(lambda x: said(x)[t, best])
    slopes = [(log(x.at[s, d].add(step)) - log(x.at[s, d].add(-step))) / (2 * step) for d in range(8)]
    norms = np.asarray(jnp.linalg.norm(jax.jit(jax.grad(log))(x), axis=-1))
    assert np.linalg.norm(slopes) == pytest.approx(norms[s], rel=2e-2)
    close(activations.measure_influence(of, own, TOKENS).gradient[t], norms / norms.sum(), 1e-4)


def test_influence_against_distance():
    moved = np.array([[1, 0, 0], [0.5, 0.5, 0], [0.1, 0.3, 0.6]])
    np.testing.assert_allclose(activations.mean_by_distance(moved), [2.1 / 3, 0.4, 0.1], rtol=1e-6)
