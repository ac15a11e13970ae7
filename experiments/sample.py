"""Sample from a trained model: text from any run that predicts the next token, tunes that can be played.

  python train.py --config=configs/shakespeare.py:lstm --workdir=runs/lstm
  python -m experiments.sample --workdir=runs/lstm --prompt="ROMEO." --tokens=400 --temperature=0.7
  python train.py --config=configs/text.py:gru --config.task.path=notes.txt --workdir=runs/notes
  python -m experiments.sample --workdir=runs/notes --prompt="Dear "
  python train.py --config=configs/irish.py:gru --config.training.steps=3000 --workdir=runs/irish
  python -m experiments.sample --workdir=runs/irish --tunes=50

With --tunes=N it writes N tunes, each from "X:1" to its first blank line. It prints how many of them parse as ABC
(fields X, T, M and K, notes, and music21 reads it), how many of their bars last as long as the meter says, and the same
of as many tunes of the test set. All of them are in WORKDIR/tunes.abc, and the first that parses in WORKDIR/tune.mid.
"""

import math
import sys
from pathlib import Path
from typing import Any

import jax
from absl import flags

from experiments.measures import abc_notation
from experiments.measures.sampling import (
    TUNE_PROMPT,
    TUNE_SEPARATOR,
    check_tunes,
    decode_text,
    encode_prompt,
    human_tunes,
    sample_tokens,
    sample_tunes,
)
from training import builder, cli, export, files
from training.runtime import DEFAULT_DATA_DIR

TUNE_DATASETS = ("irish", "oneill")


def main() -> None:
    args: Any = flags.FLAGS
    workdir = Path(args.workdir)
    run, params = export.load(workdir, args.data_dir, args.member)
    if not run.task.next_tokens or not hasattr(run.task, "encode") or run.config["model"].get("encoder_decoder"):
        raise ValueError(f"{workdir} holds a model that does not write text; train one with configs/shakespeare.py")
    if args.tunes:
        if not set(TUNE_PROMPT) <= set(run.task.names) or run.config["task"].get("dataset") not in TUNE_DATASETS:
            raise ValueError(f"--tunes: {workdir} was not trained on tunes; train configs/irish.py")
        write_tunes(run, params, args.tunes, args.temperature, args.seed, workdir)
        return
    if not math.isfinite(args.temperature):
        raise ValueError(f"--temperature={args.temperature}: must be a number, 0 or more")
    prompt = encode_prompt(run.task, args.prompt)
    for row in sample_tokens(run, params, prompt, args.samples, args.tokens, args.temperature, args.seed).tolist():
        print(decode_text(run.task, [*prompt, *row]), end="\n\n")
    sys.stdout.flush()


def write_tunes(run: builder.Run, params: Any, count: int, temperature: float, seed: int, directory: Path) -> None:
    """Sample tunes, print what there is to say of them, and leave them in the directory."""
    tunes = sample_tunes(run, params, count, temperature, seed)
    statistics = check_tunes(tunes)
    print(f"written: {statistics}")
    if not isinstance(run.task.text["test"], jax.ShapeDtypeStruct):  # as in an export whose data are not here
        print(f"of the test set: {check_tunes(human_tunes(run, count))}")
    paths = [directory / "tunes.abc"]
    files.write_atomically(paths[0], (TUNE_SEPARATOR.join(tunes) + "\n").encode())
    if statistics.parsed_tunes:
        paths.append(abc_notation.write_midi(statistics.parsed_tunes[0], directory / "tune.mid"))
        print(f"\n{statistics.parsed_tunes[0]}\n")
    print("wrote " + ", ".join(map(str, paths)))


if __name__ == "__main__":
    cli.define_directory("workdir", None, "A run's directory, or what train.py exported.", required=True)
    flags.DEFINE_string("prompt", None, "What the text begins with: 'The ' unless given.")
    flags.DEFINE_integer("tokens", 400, "How many tokens to write.", lower_bound=1)
    flags.DEFINE_float(
        "temperature", 0.7, "0: always the likeliest token; 1: as likely as the model says.", lower_bound=0
    )
    flags.DEFINE_integer("samples", 1, "How many texts.", lower_bound=1)
    flags.DEFINE_integer("tunes", 0, "How many tunes to write and to check.", lower_bound=0)
    flags.DEFINE_integer("seed", 0, "Another one gives other texts.")
    flags.DEFINE_integer("member", 0, "Which of a run's members.")
    cli.define_directory("data_dir", DEFAULT_DATA_DIR, "Where real data are prepared, once, and read from.")
    cli.run_command(main)
