"""Sampling from a trained model: text of any run that predicts the next token, and statistics of its tunes."""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import models
import tasks
from experiments.measures import abc_notation
from models import decoding
from tasks.real.words import is_character_level
from training import builder

TUNE_PROMPT, TUNE_SEPARATOR = "X:1\nT:", "\n\n"  # how a tune begins, and what separates it from the next
MAX_TUNE_LENGTH = 600  # characters: the longest tune of `irish` has as many


def extend_context(run: builder.Run, tokens: int) -> builder.Run:
    """The same run with room for `tokens` tokens. Raises ValueError where the model is bound to the trained length."""
    model = run.config["model"]
    trained_length = model["max_length"]
    if tokens > trained_length:
        if model["positions"] == "learned":
            raise ValueError(f"model.positions=learned ends at {trained_length} tokens; ask for fewer")
        if "dense" in models.parse_layer_pattern(model["mixer"]):
            raise ValueError(f"the mixer dense ends at {trained_length} tokens; ask for fewer")
    model = {**model, "max_length": max(tokens, trained_length)}
    task = run.task
    network = models.build_model(model, vocabulary=task.vocabulary, channels=0, outputs=task.outputs, per="token")
    return run._replace(model=network)


def sample_tokens(
    run: builder.Run, params: Any, prompt: Sequence[int], count: int, tokens: int, temperature: float, seed: int
) -> np.ndarray:
    """`count` continuations of the `prompt`, [count, tokens].

    Raises ValueError for an empty prompt: a model predicts the next token only where one came before.
    """
    if not len(prompt):
        raise ValueError("--prompt: nothing is left of it; give what the text begins with, a letter or a word at least")
    network = extend_context(run, len(prompt) + tokens).model
    before = jnp.asarray([prompt[:-1]], jnp.int32)
    prompt_state = network.apply({"params": params}, before)[1] if len(prompt) > 1 else None

    def step(carry: Any, token: Any) -> tuple[Any, Any]:
        place, state = (jnp.int32(len(prompt) - 1), prompt_state) if carry is None else carry
        positions = jnp.reshape(place, (1, 1))
        logits, state = network.apply(
            {"params": params},
            jnp.reshape(token, (1, 1)),
            state=state,
            positions=positions,
            segments=jnp.ones_like(positions),
        )
        return logits[0, 0], (place + 1, state)

    sample = partial(decoding.sample_decode, step, prompt[-1], steps=tokens, temperature=temperature)
    return np.asarray(jax.jit(jax.vmap(sample))(jax.random.split(tasks.random_key(seed), count)))


def tokens_to_text(names: Sequence[str], tokens: Sequence[int]) -> str:
    """Join tokens of these names: characters directly, words with blanks between."""
    return ("" if is_character_level(names) else " ").join(names[token] for token in tokens)


def decode_text(task: Any, tokens: Sequence[int]) -> str:
    """The text that tokens of a task spell: as the task decodes them, else by their names, or by their numbers."""
    if hasattr(task, "decode"):
        return task.decode(tokens)
    return tokens_to_text(getattr(task, "names", [str(token) for token in range(task.vocabulary)]), tokens)


def encode_prompt(task: Any, prompt: str | None) -> list[int]:
    """The tokens that a text is to begin with; without a prompt "The ", or the test text's first where that can't be.

    Raises ValueError for a prompt that the task's tokens can't spell.
    """
    try:
        return task.encode("The " if prompt is None else prompt)
    except ValueError as error:
        if prompt is None and not isinstance(task.text["test"], jax.ShapeDtypeStruct):  # as in an export without data
            return np.asarray(task.text["test"][:8]).tolist()
        raise ValueError(f"--prompt: {error}") from None


# ---- tunes ----------------------------------------------------------------------------------------------------------


class TuneStatistics(NamedTuple):
    """Of `total` tunes, those that parse, the number of their bars, and how many of these are full."""

    total: int
    parsed_tunes: list[str]
    bars: int
    full_bars: int

    @property
    def parsed_share(self) -> float:
        return len(self.parsed_tunes) / self.total

    @property
    def full_share(self) -> float:
        return self.full_bars / self.bars if self.bars else float("nan")

    def __str__(self) -> str:
        share = f"; of their {self.bars} bars {100 * self.full_share:.0f} % are full" if self.bars else ""
        return f"{len(self.parsed_tunes)} of {self.total} tunes parse ({100 * self.parsed_share:.0f} %){share}"


def check_tunes(texts: Sequence[str]) -> TuneStatistics:
    """Parse tunes as ABC (experiments.measures.abc_notation) and count their bars."""
    parsed_tunes, bars, full_bars = [], 0, 0
    for text in texts:
        try:
            contents = abc_notation.parse_tune(text)
        except ValueError:
            continue
        parsed_tunes.append(text)
        bars, full_bars = bars + contents.bars, full_bars + contents.full_bars
    return TuneStatistics(len(texts), parsed_tunes, bars, full_bars)


def sample_tunes(run: builder.Run, params: Any, count: int, temperature: float, seed: int) -> list[str]:
    """Tunes that the model writes. Raises ValueError, before anything is sampled, where music21 is not installed."""
    abc_notation.import_music21()  # which is to read them
    rows = sample_tokens(run, params, run.task.encode(TUNE_PROMPT), count, MAX_TUNE_LENGTH, temperature, seed)
    return [first_paragraph(TUNE_PROMPT + tokens_to_text(run.task.names, row)) for row in rows.tolist()]


def first_paragraph(text: str) -> str:
    """The text before the first blank line."""
    return text.partition(TUNE_SEPARATOR)[0].strip("\n")


def human_tunes(run: builder.Run, count: int) -> list[str]:
    """The first whole tunes of the test set."""
    test_text = tokens_to_text(run.task.names, np.asarray(run.task.text["test"]).tolist())
    return [tune for tune in test_text.split(TUNE_SEPARATOR) if tune.startswith("X:")][:count]
