"""Texts and tunes of small untrained models, whose words mean nothing and whose form can be checked."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import models
from configs import base
from experiments.measures import sampling
from experiments.measures.common import NUM_SEQUENCES
from experiments.measures.registry import evaluate_measures
from tasks.real.characters import Characters
from tasks.real.text import Text
from tasks.real.words import Words
from tests.experiments.measures import TUNE
from training import builder

TEXT = {name: np.arange(40, dtype=np.uint8) % 6 for name in ("train", "validation", "test")}


def untrained_run(mixer: str, **fields: Any) -> tuple[builder.Run, Any]:
    """A run on six characters in windows of eight, and its first parameters."""
    config: Any = base(mixer)
    config.task = {"name": "recall"}
    config.model.width, config.model.depth = 8, 1
    config.model.update(fields)
    model = models.resolve_model(config.model.to_dict(), 8)
    network: Any = models.build_model(model, vocabulary=6, channels=0, outputs=6, per="token")
    task = Characters(TEXT, "abcde\n", max_length=8)
    run = builder.Run({**config.to_dict(), "model": model}, task, network, None)  # pyright: ignore[reportArgumentType]
    return run, network.init(jax.random.key(0), jnp.zeros((1, 8), jnp.int32))["params"]


@pytest.mark.parametrize("mixer", ["gru", "attention"])
def test_at_temperature_0_it_is_the_likeliest_token_after_all_before(mixer: str):
    """Streamed after a prompt, beyond the window of training: the same as the whole sequence read anew each time."""
    run, params = untrained_run(mixer, positions="alibi" if mixer == "attention" else "none")
    new = sampling.sample_tokens(run, params, [1, 2, 3], count=1, tokens=9, temperature=0.0, seed=0)[0].tolist()
    network, text = sampling.extend_context(run, 12).model, [1, 2, 3]
    read: Any = jax.jit(partial(network.apply, {"params": params}))
    for token in new:
        padded = jnp.asarray([text + [0] * (12 - len(text))], jnp.int32)
        segments = (jnp.arange(12) < len(text)).astype(jnp.int32)[None]
        logits, _ = read(padded, positions=jnp.arange(12)[None], segments=segments)
        assert token == int(logits[0, len(text) - 1].argmax())
        text.append(token)


def test_seeds_and_samples_differ():
    run, params = untrained_run("gru")
    one = partial(sampling.sample_tokens, run, params, [1], tokens=12, temperature=1.0)
    first = one(count=3, seed=0)
    assert first.shape == (3, 12)
    assert len({tuple(row) for row in first.tolist()}) == 3
    np.testing.assert_array_equal(first, one(count=3, seed=0))
    assert (first != one(count=3, seed=1)).any()


def test_a_model_that_ends_somewhere():
    run, _ = untrained_run("attention", positions="learned")
    with pytest.raises(ValueError, match=r"^model.positions=learned ends at 8 tokens; ask for fewer$"):
        sampling.extend_context(run, 9)
    run, _ = untrained_run("dense")
    with pytest.raises(ValueError, match=r"^the mixer dense ends at 8 tokens; ask for fewer$"):
        sampling.extend_context(run, 9)


def test_a_text_begins_with_something():
    run, params = untrained_run("gru")
    with pytest.raises(ValueError, match=r"^--prompt: nothing is left of it; give what the text"):
        sampling.sample_tokens(run, params, run.task.encode(""), count=1, tokens=3, temperature=0.0, seed=0)
    assert sampling.sample_tokens(run, params, [1], count=1, tokens=3, temperature=0.0, seed=0).shape == (1, 3)


def test_tokens_as_text():
    assert sampling.tokens_to_text(Characters(TEXT, "abcdef", 8).names, [0, 5, 2]) == "afc"
    assert sampling.tokens_to_text(Words(TEXT, ("?", "the", "cat"), 8).names, [1, 2, 0]) == "the cat ?"


# ---- tunes ----------------------------------------------------------------------------------------------------------


def test_a_tune_without_bar_lines_counts():
    """It was left out: "3 of 3 tunes parse; of their 4 bars 100 % are full"."""
    whole, none = TUNE.replace("CDE2|", "CDEF GABc|c8|"), TUNE.split("CDEF")[0] + "CDE FGA Bcd efg"
    assert str(sampling.check_tunes([whole, none, none])) == "3 of 3 tunes parse (100 %); of their 6 bars 67 % are full"


def test_shares_are_counted():
    statistics = sampling.check_tunes([TUNE, "hello", TUNE, "X:"])
    assert str(statistics) == "2 of 4 tunes parse (50 %); of their 6 bars 67 % are full"
    assert statistics.parsed_tunes == [TUNE, TUNE]
    assert (statistics.parsed_share, statistics.full_share) == (0.5, 4 / 6)
    none = sampling.check_tunes(["x"])
    assert str(none) == "0 of 1 tunes parse (0 %)"
    assert np.isnan(none.full_share)


def test_tunes_are_measured(monkeypatch: pytest.MonkeyPatch):
    """Half of what is written is a tune of three bars, two of them full; the test set is four such bars, all full."""
    names = "".join(sorted(set("\n" + TUNE)))
    whole = TUNE.replace("CDE2|", "CDEF GABc|")
    text = {subset: np.asarray([names.index(c) for c in f"{whole}\n\n{whole}"]) for subset in TEXT}
    run = untrained_run("gru")[0]._replace(task=Characters(text, names, max_length=8))
    rest = [names.index(c) for c in TUNE.removeprefix(sampling.TUNE_PROMPT) + "\n\n"]
    rows = np.asarray([rest, rest[::-1]] * (NUM_SEQUENCES // 2))
    monkeypatch.setattr(sampling, "sample_tokens", lambda *_: rows)
    statistics = evaluate_measures(run, ["tunes that parse", "full bars", "full bars lost"], [(None, 0)])
    assert statistics == [{"tunes that parse": 0.5, "full bars": 2 / 3, "full bars lost": 1 - 2 / 3}]


def test_a_tune_ends_at_a_blank_line():
    assert sampling.first_paragraph(TUNE + "\n\nX:2\nT:more") == TUNE


def own_text(tokenizer: str, names: tuple[str, ...]) -> Text:
    text = {split: np.arange(60) % len(names) for split in ("train", "validation", "test")}
    return Text(text, None, names, tokenizer=tokenizer, max_length=8)


def test_a_text_of_own_tokens_is_written_as_they_spell_it():
    """Bytes as UTF-8 whatever their names, words with blanks, and numbers where nothing else is known."""
    bytewise = own_text("bytes", tuple(f"<{byte}>" for byte in range(256)))
    assert sampling.decode_text(bytewise, sampling.encode_prompt(bytewise, "Größe")) == "Größe"
    words = own_text("words", ("␄", "<unk>", "the", "cat"))
    assert sampling.decode_text(words, sampling.encode_prompt(words, "The cat")) == "the cat"
    numbers = own_text("none", ("0", "1", "2"))
    assert sampling.decode_text(numbers, sampling.encode_prompt(numbers, "2 0 1")) == "2 0 1"
    letters = Characters(TEXT, "abcde\n", max_length=8)
    assert sampling.decode_text(letters, [0, 1]) == "ab"


def test_without_a_prompt_a_text_begins_as_it_can():
    """With "The ", or with the first of the test text where the tokens have no such letters."""
    letters = Characters(TEXT, "abcde\n", max_length=8)
    assert sampling.encode_prompt(letters, None) == TEXT["test"][:8].tolist()
    with pytest.raises(ValueError, match=r"^--prompt: the alphabet has no 'T', 'h'"):
        sampling.encode_prompt(letters, "The ")
