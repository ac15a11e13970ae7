from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from experiments.inspection import activations
from experiments.inspection.heads import summarize_heads
from models.ops import normalizers, similarity
from tests.experiments.inspection import TOKENS, close, normed, outputs, params, run


@pytest.mark.parametrize(
    ("norm", "positions"),
    [("pre", "sinusoidal"), ("post", "learned"), ("none", "randomised"), ("pre", "alibi")],
)
def test_the_path_leads_to_what_the_model_says(norm: str, positions: str):
    """What is captured and what is added up here agree with the model's own arithmetic, stage by stage."""
    depth = 2 if positions == "sinusoidal" else 1
    of = run("attention", model__norm=norm, model__positions=positions, model__depth=depth)
    own = params(of)
    found = activations.capture_activations(of, own, TOKENS)
    close(found.logits, outputs(of, own, TOKENS))
    close(found.probabilities.sum(axis=1), 1)
    assert (found.position is None) == (positions == "alibi")
    close(found.input, found.embedding + (0 if found.position is None else found.position))
    x = found.input
    for index, block in enumerate(found.blocks):
        close(block.mixer_input, normed(own, f"mixer_norm_{index}", x) if norm == "pre" else x)
        x = x + block.mixer_output
        x = normed(own, f"mixer_norm_{index}", x) if norm == "post" else x
        close(block.after_mixer, x)
        x = x + block.feedforward
        x = normed(own, f"feedforward_norm_{index}", x) if norm == "post" else x
        close(block.output, x)
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
        made = block.mixer_input @ weights[f"{name}_kernel"] + weights[f"{name}_bias"]
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
    close(block.mixer_output, joined @ weights["output"]["kernel"] + weights["output"]["bias"])


def test_gated_and_differential_attention_are_shown():
    """Scores of the first halves, weights that take the second halves' off, and their sums before norm and gate."""
    options: Any = {f"model__attention__{name}": True for name in ("differential", "output_gate")}
    of = run("attention", model__positions="none", **options)
    found = activations.capture_activations(of, params(of), TOKENS)
    block = found.blocks[0].attention
    assert block
    close(found.logits, outputs(of, params(of), TOKENS))
    half = block.query.shape[-1] // 2
    scores = block.query[..., :half] @ block.key[..., :half].swapaxes(1, 2) / np.sqrt(half)
    close(block.scores, np.tril(scores))
    close(block.weights.sum(axis=-1), block.weights[0, 0, 0])  # 1 − λ
    close(block.heads, block.weights @ block.value)
    for summary in summarize_heads(of, found, TOKENS):
        assert 0 <= summary.measured["entropy"] <= np.log2(len(TOKENS))


def test_a_recurrence_has_a_path_without_heads():
    of = run("rnn", model__feedforward=0.0, model__residual=False)
    own = params(of)
    found = activations.capture_activations(of, own, TOKENS)
    block = found.blocks[0]
    assert block.attention is block.feedforward is None
    np.testing.assert_array_equal(block.output, block.mixer_output)
    close(found.logits, outputs(of, own, TOKENS))
    assert not summarize_heads(of, found, TOKENS)
    assert "block_1.mixer_output" in activations.named_arrays(found)
    assert "block_1.weights" not in activations.named_arrays(found)


def test_a_bag_of_words_and_a_hybrid_have_one_too():
    bag = run("attention", model__depth=0, model__positions="none")
    close(
        activations.capture_activations(bag, params(bag), TOKENS).final[0],
        activations.capture_activations(bag, params(bag), TOKENS[::-1].copy()).final[-1],
    )
    found = activations.capture_activations(of := run("rglru,attention"), params(of), TOKENS)
    assert [block.attention is None for block in found.blocks] == [True, False]
    assert {head.block for head in summarize_heads(of, found, TOKENS)} == {1}
