"""Look inside: what a model does with one sentence, as one HTML file that opens offline.

  make explore                                            trains what it needs, in under three minutes, and writes
                                                          runs/explore/explore.html
  python -m experiments.explore --input="To be, or not to be"            another sentence; nothing is trained again
  python -m experiments.explore --workdir=runs/lstm,runs/deep            other runs, or what --export wrote
  python -m experiments.explore --workdir=runs/recall --input="3 9 4 10 3"   a generated task: tokens as numbers
  python -m experiments.explore --figures                 the maps as SVG and PDF too, and all arrays as .npz

The page shows the path of the sentence through the first model with attention, what every head looks at, how far each
token moves each prediction in all of the models, softmax by hand, and search as attention. For that last part one of
the runs has to be of configs/titles.py.

Characters that a model never saw are left out, and said to be; what else can't be shown is refused in one line. Taken
are models that read tokens: no pixels, and no encoder and decoder.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from configs import shakespeare, titles
from data import DEFAULT_DATA_DIR
from experiments import sample
from experiments.inspection import activations, html_page
from experiments.inspection import figures as explore_figures
from experiments.inspection.html_page import Finder
from experiments.inspection.stages import ADDED, Reading
from experiments.measures import registry
from models.skeleton import Skeleton
from tasks.real.words import by_letter, split_words
from training import builder, cli, export, files, loop, runtime

SENTENCE = "He tosses the ball to her, and she tosses it back."
LONGEST = 256  # tokens: maps grow with their square
STEPS = 2500  # of each model on Shakespeare
RATES = {"attention": 3e-3, "lstm": 1e-2, "gru": 1e-2}


# ---- the runs -------------------------------------------------------------------------------------------------------


def config(name: str) -> Any:
    """What is trained where no run is given."""
    if name == "titles":
        return titles.get_config()
    made: Any = shakespeare.get_config(name)
    made.model.positions = "sinusoidal" if name == "attention" else "none"
    made.optimizer.learning_rate = RATES[name]
    made.training.update(steps=STEPS, eval_every=STEPS // 2)
    return made


def trained(directory: Path, data_dir: str, text: str | None) -> list[Path]:
    """The runs that are shown where none is given, trained as far as they are not yet.

    Raises ValueError, before anything is trained, for a text that they could not read.
    """
    reader = builder.build(config("attention"), data_dir)
    check(tokens_of(reader, text)[0], names_of(reader.task), [directory / "attention"], [reader])
    for name in (*RATES, "titles"):
        loop.train(config(name), directory / name, data_dir=data_dir, name=name, tensorboard=False)
    return [directory / name for name in (*RATES, "titles")]


def load(directory: Path, data_dir: str, replica: int) -> tuple[builder.Run, Any]:
    """`train.load`, for models that this page can take apart: ValueError for others."""
    run, params = export.load(directory, data_dir, replica)
    if not isinstance(run.model, Skeleton):
        raise ValueError(f"{directory} is an encoder and a decoder, or a memory: explore takes one stack of layers")
    if not run.task.vocabulary:
        raise ValueError(f"{directory} reads real numbers, as pixels are: explore takes models that read tokens")
    return run, params


def named(paths: Sequence[Path], runs: Sequence[builder.Run]) -> list[str]:
    """A name for each: its mixer, and its directory where that is not enough."""
    mixers = [run.config["model"]["mixer"].replace(",", " + ") for run in runs]
    return [
        mixer if mixers.count(mixer) == 1 else f"{mixer} ({path.name})"
        for path, mixer in zip(paths, mixers, strict=True)
    ]


def told(directory: Path, run: builder.Run) -> str:
    """What a run is, in a line: task, size, and how well it does where its result is there."""
    model, task = run.config["model"], run.config["task"]
    size = {0: "a bag of words", 1: "1 layer"}.get(model["depth"], f"{model['depth']} layers")
    told = f"{size} of width {model['width']} on {task.get('dataset') or task['name']}"
    path = directory / "result.json"
    if not path.exists():
        return f"{told}, from {directory.name}"
    result = files.read_json(path)
    seeds = run.config["ensemble"]["seeds"]
    score = next((one["test"] for one in result["members"] if one["seed"] == seeds[0]), None)
    return f"{told}, {result['steps']:,} steps" + (f", {score:.2f} {result['metric']} on test" if score else "")


# ---- the sentence ---------------------------------------------------------------------------------------------------


def tokens_of(run: builder.Run, text: str | None) -> tuple[np.ndarray, str]:
    """The tokens of --input: of text as the task has it, else whole numbers with blanks between. Beside them what is to
    be said: of characters or words that the model never saw, which are left out or read as the task has it; or nothing.

    Where nothing is given it is `SENTENCE`, or a sequence of the test where the task does not know all of that.
    Raises ValueError where nothing is left.
    """
    task = run.task
    if text is None:
        if hasattr(task, "encode") and not unknown(task, SENTENCE):
            return np.array(task.encode(SENTENCE), np.int32), ""
        batch = registry.drawn(run, 1)
        return np.asarray(batch.inputs[0], np.int32)[np.asarray(batch.segments[0]) != 0], ""
    if not text.strip():
        raise ValueError(f"--input={text!r} is empty: give a few words or tokens")
    if not hasattr(task, "encode"):
        return numbers(task, text), ""
    lost = unknown(task, text)
    if by_letter(task.names):
        text = "".join(character for character in text if character not in lost)
        if not text:
            raise ValueError(f"--input: nothing is left of it; the model knows {''.join(sorted(task.names)).strip()}")
    tokens = np.array(task.encode(text), np.int32)
    kept = not by_letter(task.names) and len(tokens) == len(split_words(text))
    how = f"read as {task.names[0]}" if kept else "left out"
    return tokens, f"{how}, since the model never saw them: {', '.join(map(repr, lost))}" if lost else ""


def unknown(task: Any, text: str) -> list[str]:
    """The characters or words of a text that are no tokens of the task, each once."""
    return [
        part for part in dict.fromkeys(text if by_letter(task.names) else split_words(text)) if part not in task.names
    ]


def numbers(task: Any, text: str) -> np.ndarray:
    """Tokens given as numbers."""
    for word in text.split():
        if not (word.isascii() and word.isdigit() and int(word) < task.vocabulary):
            raise ValueError(
                f"--input: {word!r} is no token of this task, which has no text; give whole numbers from 0 to "
                f"{task.vocabulary - 1} with blanks between"
            )
    return np.array(list(map(int, text.split())), np.int32)


def room(run: builder.Run) -> int:
    """The most tokens that a model can take: recurrences any number, up to what a page can show."""
    model = run.config["model"]
    bounded = {"attention", "dense"} & set(model["mixer"].split(",")) or model["positions"] in ADDED
    return min(model["max_length"], LONGEST) if bounded else LONGEST


def check(tokens: np.ndarray, names: Sequence[str], paths: Sequence[Path], runs: Sequence[builder.Run]) -> None:
    """Refuse, with ValueError, what these runs can't be shown side by side for."""
    for path, run in zip(paths, runs, strict=True):
        if names_of(run.task) != list(names):
            raise ValueError(f"{path} and {paths[0]} read other tokens; give runs on one task")
        if len(tokens) > room(run):
            raise ValueError(
                f"--input has {len(tokens)} tokens and {path} takes {room(run)} at most; leave out "
                f"{len(tokens) - room(run)}"
            )


def names_of(task: Any) -> list[str]:
    """What each token looks like: a number where it has no name."""
    return list(getattr(task, "names", map(str, range(task.vocabulary))))


def outputs_of(task: Any) -> list[str]:
    if task.outputs == task.vocabulary and not hasattr(task, "classes"):
        return names_of(task)
    return list(getattr(task, "classes", map(str, range(task.outputs))))


# ---- everything -----------------------------------------------------------------------------------------------------


def read(name: str, path: Path, run: builder.Run, params: Any, tokens: np.ndarray) -> Reading:
    """Everything that the page shows of one model."""
    found = activations.look(run, params, tokens)
    moved = activations.influence(run, params, tokens)
    return Reading(name, told(path, run), run, found, activations.heads(run, found, tokens), moved)


def finder(path: Path, run: builder.Run, params: Any, about: Mapping[str, tuple[str, int]]) -> Finder:
    """The search model, its titles with kind and year as far as they are known."""
    classes = [(title, *about.get(title, ("", 0))) for title in run.task.classes]
    return Finder(activations.search(run, params), run.task.names, classes, told(path, run))


def about_titles() -> dict[str, tuple[str, int]]:
    from data.sources.titles import ABOUT  # with tensorflow-datasets, which takes its time

    return {title: (kind, year) for title, kind, year in ABOUT.values()}


def explore(
    paths: Sequence[Path], text: str | None, out: Path, data_dir: str, replica: int, figures: bool
) -> list[Path]:
    """Load the runs, read the sentence with each, and write the page. Returns the files written."""
    loaded = [(path, *load(path, data_dir, replica)) for path in paths]
    bags = [one for one in loaded if activations.searches(one[1])]
    loaded = [one for one in loaded if not activations.searches(one[1])] or loaded
    paths, runs = [path for path, _, _ in loaded], [run for _, run, _ in loaded]
    (tokens, say), names = tokens_of(runs[0], text), names_of(runs[0].task)
    check(tokens, names, paths, runs)
    if say:
        print(say, file=sys.stderr)
    readings = [
        read(name, path, run, params, tokens)
        for name, (path, run, params) in zip(named(paths, runs), loaded, strict=True)
    ]
    found = finder(*bags[0], about_titles()) if bags else None
    spelt = sample.spelt(names, tokens.tolist())
    outputs = outputs_of(next((one for one in readings if one.heads), readings[0]).run.task)
    how = " ".join(["python -m experiments.explore", *map(quoted, sys.argv[1:])])
    written = [html_page.write(out, spelt, tokens, names, outputs, readings, found, how)]
    if figures:
        written += explore_figures.write(out, tokens, [names[token] for token in tokens], readings)
    return written


def quoted(word: str) -> str:
    return f"'{word}'" if " " in word else word


def main() -> None:
    args: Any = flags.FLAGS
    runtime.prepare()
    directory = Path("runs/explore")
    if args.workdir is None:
        paths = trained(directory, args.data_dir, args.input)
    else:
        try:
            paths = [Path(cli.Directory().parse(path)) for path in args.workdir or [""]]
        except ValueError as error:
            raise ValueError(f"--workdir= {error}") from None
    written = explore(
        paths, args.input, Path(args.out or directory / "explore.html"), args.data_dir, args.replica, args.figures
    )
    print("wrote " + ", ".join(str(path) for path in written))


if __name__ == "__main__":
    flags.DEFINE_list("workdir", None, "Runs to look into: workdirs, or what train.py --export wrote.")
    flags.DEFINE_string("input", None, f"The sentence; {SENTENCE!r} unless given.")
    flags.DEFINE_string("out", None, "The page; runs/explore/explore.html unless given.")
    flags.DEFINE_integer("replica", 0, "Which replica of each workdir.")
    flags.DEFINE_bool("figures", False, "Write the maps as SVG and PDF too, and all arrays as .npz.")
    cli.define_directory("data_dir", DEFAULT_DATA_DIR, "Where real data are prepared, once, and read from.")
    cli.run(main)
