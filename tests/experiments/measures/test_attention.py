from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import models
from configs import translation
from experiments.measures import attention
from models.ops.normalizers import NORMALIZERS
from tasks.real.parallel_text import ParallelText
from tests.experiments.measures import params, run, value_of
from training import builder


@pytest.mark.parametrize("normalizer", NORMALIZERS)
def test_what_is_normalized_together_moves_together(normalizer: str):
    of = run("attention", model__attention__normalizer=normalizer, model__positions="none")
    if normalizer == "softmax":
        assert value_of("coupled", of) == pytest.approx(1, abs=1e-4)
    elif normalizer == "linear":  # where all scores are below 0 nothing sums to one
        assert value_of("coupled", of) > 0.5
    else:
        assert value_of("coupled", of) < 1e-6


def test_heads_that_are_the_same_are_not_diverse():
    of = run("attention", model__positions="none", model__attention__heads=2)
    own = params(of)
    assert 0 < value_of("diverse", of, own) < 1
    for name in ("query_kernel", "key_kernel"):
        own["mixer_0"][name] = jnp.concatenate([own["mixer_0"][name][:, :4]] * 2, axis=1)
    assert value_of("diverse", of, own) < 1e-6
    assert value_of("diverse", run("attention", model__attention__heads=1)) == 0


def test_similar_tokens_with_one_matrix_for_query_and_key_get_the_higher_weights():
    """Without norm, positions and further heads, q·k of an embedding of unit length is its cosine: a rank of 1."""
    fields: Any = {
        "task__pairs": 4,
        "model__attention__heads": 1,
        "model__attention__tied_projections": "qk",
        "model__hidden_size": 8,
        "model__norm": "none",
    }
    of = run("attention", model__positions="none", **fields)
    own = params(of)
    table = own["embed"]["embedding"]
    own["embed"]["embedding"] = table / jnp.linalg.norm(table, axis=1, keepdims=True)
    own["mixer_0"]["query_kernel"] = jnp.eye(8)
    assert value_of("similar", of, own) > 0.99
    assert value_of("similar gain", of) == pytest.approx(0, abs=1e-6)
    assert value_of("similar before", of) == value_of("similar", of)


def test_aligned_is_the_share_of_weights_on_the_word_that_is_translated(monkeypatch: pytest.MonkeyPatch):
    """1 for weights put there by construction, about one in the number of words for others."""
    config: Any = translation.get_config("gru")
    config.task.max_items, config.model.width = 6, 8
    of = builder.build_run(config)
    by_chance = value_of("aligned", of)
    assert 0 <= by_chance < 0.5

    def perfect(run: Any, params: Any, batch: Any) -> list[Any]:
        inputs = np.asarray(batch.inputs)
        source, target = inputs[:, :6] - 3, inputs[:, 7:] - 3 - 20
        weights = np.zeros((len(inputs), 1, 7, 6), np.float32)
        for row, (words, said) in enumerate(zip(source, target, strict=True)):
            for i, word in enumerate(said):
                near = [j for j in (i, i ^ 1) if words[j] == word]
                weights[row, 0, i, near[0] if len(near) == 1 else near] = 1
        return [jnp.asarray(weights)]

    monkeypatch.setattr(attention, "attention_weights", perfect)
    assert value_of("aligned", of) > 0.95


def test_what_attention_looks_at_needs_attention():
    with pytest.raises(ValueError, match="needs attention in the model"):
        value_of("diverse", run("gru"))


@cache
def verses(mixer: str = "gru", encoder_decoder: str = "additive") -> builder.Run:
    """An encoder–decoder on pairs whose every word is linked to the word at the same place."""
    rows = np.array([[5, 6, 7, 8], [8, 7, 0, 0], [6, 5, 8, 0], [7, 0, 0, 0]])
    pairs = {split: rows for split in ("train", "validation", "test")}  # noqa: C420
    links = (rows[:, :, None] > 0) * np.eye(4, dtype=bool)
    task = ParallelText(pairs, pairs, ("", "|", ".", *"abcdefg"), {split: links for split in pairs})  # noqa: C420
    config: Any = translation.get_config(mixer)
    config.model.update(width=8, encoder_decoder=encoder_decoder)
    model = models.resolve_model(config.model.to_dict(), task.max_length)
    sizes: dict[str, Any] = {"vocabulary": 10, "channels": 0, "outputs": 10, "per": "token", "separator": 1}
    return builder.Run(
        {**config.to_dict(), "model": model}, task, models.build_model(model, **sizes), run("gru").optimizer
    )


def test_alignment_error_counts_links(monkeypatch: pytest.MonkeyPatch):
    """With weights on the right word it is 0; on the first word, one in four, two, three and one is right."""
    of = verses()

    def looking(where: Any) -> Any:
        batch, *_ = attention.linked_pairs(of)
        weights = jax.nn.one_hot(jnp.broadcast_to(where, (4, 5)), of.task.max_length // 2)[:, None]
        assert batch.inputs.shape == (4, of.task.max_length)
        return lambda *_: [weights]

    monkeypatch.setattr(attention, "attention_weights", looking(jnp.arange(5)))
    assert value_of("alignment error", of) == 0
    monkeypatch.setattr(attention, "attention_weights", looking(jnp.zeros(5, jnp.int32)))
    assert value_of("alignment error", of) == pytest.approx(1 - 2 * 4 / (10 + 10))
    assert value_of("alignment gain", of) == pytest.approx(-0.6)


def test_the_diagonal_finds_what_is_on_it():
    assert value_of("diagonal error", verses()) == 0


def test_alignment_of_a_model_as_it_is():
    assert 0 <= value_of("alignment error", verses()) <= 1


def test_alignment_needs_links():
    with pytest.raises(ValueError, match=r"^a measure of alignment needs a task with links, as that of the data set"):
        value_of("alignment error", run("gru"))
