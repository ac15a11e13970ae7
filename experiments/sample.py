"""Let a trained model write: text from any run that predicts the next token, tunes that can be played.

  python train.py --config=configs/shakespeare.py:lstm --workdir=runs/lstm
  python -m experiments.sample --workdir=runs/lstm --prompt="ROMEO." --tokens=400 --temperature=0.7
  python train.py --config=configs/irish.py:gru --config.training.steps=3000 --workdir=runs/irish
  python -m experiments.sample --workdir=runs/irish --tunes=50

With --tunes=N it writes N tunes, each from "X:1" to its first blank line; says how many of them parse as ABC (fields
X, T, M and K, notes, and music21 reads it), how many of their bars last as long as the metre says, and the same of as
many tunes of the test set; and leaves all in WORKDIR/tunes.abc and the first that parses in WORKDIR/tune.mid.
"""

import math
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

import models
import tasks
from data import DEFAULT_DATA_DIR
from experiments.measures import abc_notation
from models import decoding
from tasks.real.words import is_character_level
from training import builder, cli, export
from training import files as files_module

TUNE_PROMPT, TUNE_SEPARATOR = "X:1\nT:", "\n\n"  # how a tune begins, and what is behind it
MAX_TUNE_LENGTH = 600  # characters, the most: the longest of `irish` has as many


def extend_context(run: builder.Run, tokens: int) -> builder.Run:
    """The same run, whose attention remembers so many tokens. Raises ValueError where a model is bound to a length."""
    model = {**run.config["model"], "max_length": max(tokens, run.config["model"]["max_length"])}
    if tokens > run.config["model"]["max_length"]:
        for what, bound in (("model.positions=learned", model["positions"] == "learned"),
                            ("the mixer dense", "dense" in models.parse_layer_pattern(model["mixer"]))):  # fmt: skip
            if bound:
                raise ValueError(f"{what} ends at {run.config['model']['max_length']} tokens; ask for fewer")
    task = run.task
    network = models.build_model(model, vocabulary=task.vocabulary, channels=0, outputs=task.outputs, per="token")
    return run._replace(model=network)


def sample_tokens(
    run: builder.Run, params: Any, prompt: Sequence[int], count: int, tokens: int, temperature: float, seed: int
) -> np.ndarray:
    """`count` times `tokens` tokens that follow on the `prompt`, `[count, tokens]`. Raises ValueError for an empty one,
    since a model says what comes next only where something was."""
    if not len(prompt):
        raise ValueError("--prompt: nothing is left of it; give what the text begins with, a letter or a word at least")
    network = extend_context(run, len(prompt) + tokens).model
    before = jnp.asarray([prompt[:-1]], jnp.int32)
    state = network.apply({"params": params}, before)[1] if len(prompt) > 1 else None

    def step(carried: Any, token: Any) -> tuple[Any, Any]:
        place, state_now = (jnp.int32(len(prompt) - 1), state) if carried is None else carried
        at = jnp.reshape(place, (1, 1))
        logits, after = network.apply(
            {"params": params}, jnp.reshape(token, (1, 1)), state=state_now, positions=at, segments=jnp.ones_like(at)
        )
        return logits[0, 0], (place + 1, after)

    draw = partial(decoding.sample_decode, step, prompt[-1], steps=tokens, temperature=temperature)
    return np.asarray(jax.jit(jax.vmap(draw))(jax.random.split(tasks.random_key(seed), count)))


def tokens_to_text(names: Sequence[str], tokens: Sequence[int]) -> str:
    """Tokens of these names as text: characters one after the other, words with blanks between."""
    return ("" if is_character_level(names) else " ").join(names[token] for token in tokens)


class TuneStatistics(NamedTuple):
    """Of so many tunes, those that parse, and how many bars these have and how many of them are full."""

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
    """Tunes, read as ABC (experiments.measures.abc_notation)."""
    good, bars, full = [], 0, 0
    for tune in texts:
        try:
            found = abc_notation.parse_tune(tune)
        except ValueError:
            continue
        good.append(tune)
        bars, full = bars + found.bars, full + found.full_bars
    return TuneStatistics(len(texts), good, bars, full)


def first_paragraph(text: str) -> str:
    """What is before the first blank line."""
    return text.partition(TUNE_SEPARATOR)[0].strip("\n")


def sample_tunes(run: builder.Run, params: Any, count: int, temperature: float, seed: int) -> list[str]:
    """Tunes that a model writes. Raises ValueError where music21, which is to read them, is missing."""
    abc_notation.import_music21()  # said before anything is done
    new = sample_tokens(run, params, run.task.encode(TUNE_PROMPT), count, MAX_TUNE_LENGTH, temperature, seed)
    return [first_paragraph(TUNE_PROMPT + tokens_to_text(run.task.names, row)) for row in new.tolist()]


def human_tunes(run: builder.Run, count: int) -> list[str]:
    """The first whole tunes of the test set."""
    whole = tokens_to_text(run.task.names, np.asarray(run.task.text["test"]).tolist()).split(TUNE_SEPARATOR)
    return [tune for tune in whole if tune.startswith("X:")][:count]


def write_tunes(run: builder.Run, params: Any, count: int, temperature: float, seed: int, into: Path) -> None:
    """Write, count and keep tunes."""
    made = sample_tunes(run, params, count, temperature, seed)
    found = check_tunes(made)
    print(f"written: {found}")
    if not isinstance(run.task.text["test"], jax.ShapeDtypeStruct):  # as in an export whose data are not here
        print(f"of the test set: {check_tunes(human_tunes(run, count))}")
    path = into / "tunes.abc"
    files_module.write_atomically(path, (TUNE_SEPARATOR.join(made) + "\n").encode())
    files = [path, *([abc_notation.write_midi(found.parsed_tunes[0], into / "tune.mid")] if found.parsed_tunes else [])]
    if found.parsed_tunes:
        print(f"\n{found.parsed_tunes[0]}\n")
    print("wrote " + ", ".join(map(str, files)))


def main() -> None:
    args: Any = flags.FLAGS
    into = Path(args.workdir)
    run, params = export.load(into, args.data_dir, args.replica)
    if not run.task.next_tokens or not hasattr(run.task, "encode") or run.config["model"].get("encoder_decoder"):
        raise ValueError(f"{into} holds a model that does not write text; train one with configs/shakespeare.py, say")
    if args.tunes:
        if not set(TUNE_PROMPT) <= set(run.task.names) or run.config["task"].get("dataset") not in ("irish", "oneill"):
            raise ValueError(f"--tunes: {into} was not trained on tunes; train configs/irish.py")
        write_tunes(run, params, args.tunes, args.temperature, args.seed, into)
        return
    if not math.isfinite(args.temperature):
        raise ValueError(f"--temperature={args.temperature}: must be a number, 0 or more")
    prompt = run.task.encode(args.prompt)
    for row in sample_tokens(run, params, prompt, args.samples, args.tokens, args.temperature, args.seed).tolist():
        print(tokens_to_text(run.task.names, [*prompt, *row]), end="\n\n")
    sys.stdout.flush()


if __name__ == "__main__":
    cli.define_directory("workdir", None, "A run's directory, or what train.py exported.", required=True)
    flags.DEFINE_string("prompt", "The ", "What the text begins with.")
    flags.DEFINE_integer("tokens", 400, "How many tokens to write.", lower_bound=1)
    flags.DEFINE_float(
        "temperature", 0.7, "0: always the likeliest token; 1: as likely as the model says.", lower_bound=0
    )
    flags.DEFINE_integer("samples", 1, "How many texts.", lower_bound=1)
    flags.DEFINE_integer("tunes", 0, "How many tunes to write and to check.", lower_bound=0)
    flags.DEFINE_integer("seed", 0, "Another one gives other texts.")
    flags.DEFINE_integer("replica", 0, "Which of a run's replicas.")
    cli.define_directory("data_dir", DEFAULT_DATA_DIR, "Where real data are prepared, once, and read from.")
    cli.run_command(main)
