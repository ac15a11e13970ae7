"""Text by any tokens: a score that does not depend on them, and the way from text to tokens and back."""

import math
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from tasks import Characters, Text
from tasks.real import text as text_module

EXAMPLE: Any = Text.example()
ALPHABET = "".join(EXAMPLE.names[1:])


def example_batch(task: Text, text: str) -> tuple:
    """A batch of one row that holds the text, and random outputs for it."""
    tokens = jnp.array([[*task.encode(text), 0]], jnp.int32)
    batch = task.collate(tokens, len(text), len(text))
    outputs = np.random.default_rng(0).normal(size=(1, len(text), task.outputs))
    return jnp.asarray(outputs, jnp.float32), batch


def test_bits_per_byte_of_ascii_characters_are_bits_per_character():
    task = EXAMPLE
    outputs, batch = example_batch(task, "the dog jumps")
    batch = batch._replace(weights=batch.weights.at[0, -1].set(0))  # whose target is the end of the document
    others = Characters({name: np.zeros(20, np.uint8) for name in task.text}, "␄" + ALPHABET, 16)
    assert task.score(outputs, batch) == pytest.approx(float(others.score(outputs, batch)), rel=1e-6)


def test_the_end_of_a_document_costs_bits_and_is_no_byte():
    task = EXAMPLE
    outputs, batch = example_batch(task, "the dog")
    nats = float(task.loss(outputs, batch))
    assert task.score(outputs, batch) == pytest.approx(nats * 7 / 6 / math.log(2), rel=1e-6)


def test_bits_per_byte_count_the_bytes_of_the_targets():
    task = EXAMPLE.replace(token_bytes=3 * np.asarray(EXAMPLE.token_bytes))
    outputs, batch = example_batch(task, "the dog")
    assert task.score(outputs, batch) == pytest.approx(float(EXAMPLE.score(outputs, batch)) / 3, rel=1e-6)
    assert task.chance == pytest.approx(EXAMPLE.chance / 3)
    assert task.baseline[1] == pytest.approx(EXAMPLE.baseline[1] / 3)


def test_tokens_of_unknown_size_are_scored_by_perplexity():
    task = EXAMPLE.replace(token_bytes=None)
    outputs, batch = example_batch(task, "the dog")
    assert task.metric == "perplexity"
    assert task.score(outputs, batch) == pytest.approx(math.exp(task.loss(outputs, batch)), rel=1e-6)
    assert task.chance == pytest.approx(len(task.names))


def test_a_baseline_counts_no_more_than_is_in_memory_of_a_text_on_disk(monkeypatch: pytest.MonkeyPatch):
    task = EXAMPLE
    monkeypatch.setattr(text_module, "_MAX_COUNTED", 20)
    part = task.replace(text={**task.text, "train": task.text["train"][:20]}, train_size=len(task.text["train"]))
    assert task.baseline == part.baseline


@pytest.mark.parametrize(
    ("tokenizer", "names", "text"),
    [
        ("characters", ("␄", *"aß中"), "中aßa"),
        ("bytes", ("␄", *map(str, range(1, 256))), "naïve 中"),
        ("words", ("␄", "<unk>", "the", "dog"), "the dog the"),
    ],
)
def test_text_becomes_tokens_and_tokens_text(tokenizer: str, names: tuple[str, ...], text: str):
    task = EXAMPLE.replace(names=names, tokenizer=tokenizer)
    tokens = task.encode(text)
    assert 0 not in tokens
    assert max(tokens) < len(names)
    assert task.decode(tokens) == text
    assert task.decode([*tokens, 0, *tokens]) == f"{text}\n\n{text}"


def test_what_has_no_token_is_named():
    task = EXAMPLE
    with pytest.raises(ValueError, match=r"^the alphabet has no 'Q', '!'$"):
        task.encode("Quick!!")
    with pytest.raises(ValueError, match=r"^'': has no tokens$"):
        task.encode("")
    assert task.replace(names=("␄", "<unk>", "dog"), tokenizer="words").encode("cat dog") == [1, 2]
    numbers = task.replace(tokenizer="none")
    assert numbers.encode("3 28") == [3, 28]
    with pytest.raises(ValueError, match=r"^'29': is no token of a corpus that came as numbers; give whole numbers"):
        numbers.encode("29")


def test_a_tokenizer_json_that_is_none_is_refused_in_one_line():
    pytest.importorskip("tokenizers")
    with pytest.raises(ValueError, match=r"^task\.tokenizer: is no tokenizer\.json"):
        EXAMPLE.replace(tokenizer="{}").encode("a")


def test_a_corpus_of_numbers_has_no_documents_to_reset_at():
    with pytest.raises(ValueError, match=r"reset_at_documents=True: a corpus of tokens of its own says nothing"):
        EXAMPLE.replace(tokenizer="none", reset_at_documents=True)
