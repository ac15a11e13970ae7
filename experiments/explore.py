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
from experiments.inspection.html_page import SearchPanel
from experiments.inspection.stages import ADDED_POSITIONS, ModelReading
from experiments.measures import registry
from models.skeleton import Skeleton
from tasks.real.words import is_character_level, split_words
from training import builder, cli, export, files, loop, runtime

DEFAULT_SENTENCE = "He tosses the ball to her, and she tosses it back."
MAX_TOKENS = 256  # tokens: maps grow with their square
_TRAINING_STEPS = 2500  # of each model on Shakespeare
_LEARNING_RATES = {"attention": 3e-3, "lstm": 1e-2, "gru": 1e-2}


# ---- the runs -------------------------------------------------------------------------------------------------------


def default_config(name: str) -> Any:
    """What is trained where no run is given."""
    if name == "titles":
        return titles.get_config()
    made: Any = shakespeare.get_config(name)
    made.model.positions = "sinusoidal" if name == "attention" else "none"
    made.optimizer.learning_rate = _LEARNING_RATES[name]
    made.training.update(steps=_TRAINING_STEPS, eval_every=_TRAINING_STEPS // 2)
    return made


def train_default_runs(directory: Path, data_dir: str, text: str | None) -> list[Path]:
    """The runs that are shown where none is given, trained as far as they are not yet.

    Raises ValueError, before anything is trained, for a text that they could not read.
    """
    reader = builder.build_run(default_config("attention"), data_dir)
    validate_input(encode_input(reader, text)[0], token_names(reader.task), [directory / "attention"], [reader])
    for name in (*_LEARNING_RATES, "titles"):
        loop.train(default_config(name), directory / name, data_dir=data_dir, name=name, tensorboard=False)
    return [directory / name for name in (*_LEARNING_RATES, "titles")]


def load_run(directory: Path, data_dir: str, replica: int) -> tuple[builder.Run, Any]:
    """`train.load`, for models that this page can take apart: ValueError for others."""
    run, params = export.load(directory, data_dir, replica)
    if not isinstance(run.model, Skeleton):
        raise ValueError(f"{directory} is an encoder and a decoder, or a memory: explore takes one stack of layers")
    if not run.task.vocabulary:
        raise ValueError(f"{directory} reads real numbers, as pixels are: explore takes models that read tokens")
    return run, params


def model_names(paths: Sequence[Path], runs: Sequence[builder.Run]) -> list[str]:
    """A name for each: its mixer, and its directory where that is not enough."""
    mixers = [run.config["model"]["mixer"].replace(",", " + ") for run in runs]
    return [
        mixer if mixers.count(mixer) == 1 else f"{mixer} ({path.name})"
        for path, mixer in zip(paths, mixers, strict=True)
    ]


def describe_run(directory: Path, run: builder.Run) -> str:
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


def encode_input(run: builder.Run, text: str | None) -> tuple[np.ndarray, str]:
    """The tokens of --input: of text as the task has it, else whole numbers with blanks between. Beside them what is to
    be said: of characters or words that the model never saw, which are left out or read as the task has it; or nothing.

    Where nothing is given it is `DEFAULT_SENTENCE`, or a sequence of the test where the task does not know all of that.
    Raises ValueError where nothing is left.
    """
    task = run.task
    if text is None:
        if hasattr(task, "encode") and not _unknown_tokens(task, DEFAULT_SENTENCE):
            return np.array(task.encode(DEFAULT_SENTENCE), np.int32), ""
        batch = registry.sample_test_batch(run, 1)
        return np.asarray(batch.inputs[0], np.int32)[np.asarray(batch.segments[0]) != 0], ""
    if not text.strip():
        raise ValueError(f"--input={text!r} is empty: give a few words or tokens")
    if not hasattr(task, "encode"):
        return _parse_token_numbers(task, text), ""
    lost = _unknown_tokens(task, text)
    if is_character_level(task.names):
        text = "".join(character for character in text if character not in lost)
        if not text:
            raise ValueError(f"--input: nothing is left of it; the model knows {''.join(sorted(task.names)).strip()}")
    tokens = np.array(task.encode(text), np.int32)
    kept = not is_character_level(task.names) and len(tokens) == len(split_words(text))
    how = f"read as {task.names[0]}" if kept else "left out"
    return tokens, f"{how}, since the model never saw them: {', '.join(map(repr, lost))}" if lost else ""


def _unknown_tokens(task: Any, text: str) -> list[str]:
    """The characters or words of a text that are no tokens of the task, each once."""
    return [
        part
        for part in dict.fromkeys(text if is_character_level(task.names) else split_words(text))
        if part not in task.names
    ]


def _parse_token_numbers(task: Any, text: str) -> np.ndarray:
    """Tokens given as numbers."""
    for word in text.split():
        if not (word.isascii() and word.isdigit() and int(word) < task.vocabulary):
            raise ValueError(
                f"--input: {word!r} is no token of this task, which has no text; give whole numbers from 0 to "
                f"{task.vocabulary - 1} with blanks between"
            )
    return np.array(list(map(int, text.split())), np.int32)


def max_input_length(run: builder.Run) -> int:
    """The most tokens that a model can take: recurrences any number, up to what a page can show."""
    model = run.config["model"]
    bounded = {"attention", "dense"} & set(model["mixer"].split(",")) or model["positions"] in ADDED_POSITIONS
    return min(model["max_length"], MAX_TOKENS) if bounded else MAX_TOKENS


def validate_input(
    tokens: np.ndarray, names: Sequence[str], paths: Sequence[Path], runs: Sequence[builder.Run]
) -> None:
    """Refuse, with ValueError, what these runs can't be shown side by side for."""
    for path, run in zip(paths, runs, strict=True):
        if token_names(run.task) != list(names):
            raise ValueError(f"{path} and {paths[0]} read other tokens; give runs on one task")
        if len(tokens) > max_input_length(run):
            raise ValueError(
                f"--input has {len(tokens)} tokens and {path} takes {max_input_length(run)} at most; leave out "
                f"{len(tokens) - max_input_length(run)}"
            )


def token_names(task: Any) -> list[str]:
    """What each token looks like: a number where it has no name."""
    return list(getattr(task, "names", map(str, range(task.vocabulary))))


def output_names(task: Any) -> list[str]:
    if task.outputs == task.vocabulary and not hasattr(task, "classes"):
        return token_names(task)
    return list(getattr(task, "classes", map(str, range(task.outputs))))


# ---- everything -----------------------------------------------------------------------------------------------------


def read_sentence(name: str, path: Path, run: builder.Run, params: Any, tokens: np.ndarray) -> ModelReading:
    """Everything that the page shows of one model."""
    found = activations.capture_activations(run, params, tokens)
    moved = activations.measure_influence(run, params, tokens)
    return ModelReading(
        name, describe_run(path, run), run, found, activations.summarize_heads(run, found, tokens), moved
    )


def build_search_panel(path: Path, run: builder.Run, params: Any, about: Mapping[str, tuple[str, int]]) -> SearchPanel:
    """The search model, its titles with kind and year as far as they are known."""
    classes = [(title, *about.get(title, ("", 0))) for title in run.task.classes]
    return SearchPanel(activations.extract_search_model(run, params), run.task.names, classes, describe_run(path, run))


def title_details() -> dict[str, tuple[str, int]]:
    from data.sources.titles import WORKS  # with tensorflow-datasets, which takes its time

    return {title: (kind, year) for title, kind, year in WORKS.values()}


def write_exploration(
    paths: Sequence[Path], text: str | None, out: Path, data_dir: str, replica: int, figures: bool
) -> list[Path]:
    """Load the runs, read the sentence with each, and write the page. Returns the files written."""
    loaded = [(path, *load_run(path, data_dir, replica)) for path in paths]
    bags = [one for one in loaded if activations.is_search_model(one[1])]
    loaded = [one for one in loaded if not activations.is_search_model(one[1])] or loaded
    paths, runs = [path for path, _, _ in loaded], [run for _, run, _ in loaded]
    (tokens, say), names = encode_input(runs[0], text), token_names(runs[0].task)
    validate_input(tokens, names, paths, runs)
    if say:
        print(say, file=sys.stderr)
    readings = [
        read_sentence(name, path, run, params, tokens)
        for name, (path, run, params) in zip(model_names(paths, runs), loaded, strict=True)
    ]
    found = build_search_panel(*bags[0], title_details()) if bags else None
    spelt = sample.tokens_to_text(names, tokens.tolist())
    outputs = output_names(next((one for one in readings if one.heads), readings[0]).run.task)
    how = " ".join(["python -m experiments.explore", *map(_shell_quote, sys.argv[1:])])
    written = [html_page.write_page(out, spelt, tokens, names, outputs, readings, found, how)]
    if figures:
        written += explore_figures.write_figures(out, tokens, [names[token] for token in tokens], readings)
    return written


def _shell_quote(word: str) -> str:
    return f"'{word}'" if " " in word else word


def main() -> None:
    args: Any = flags.FLAGS
    runtime.configure_runtime()
    directory = Path("runs/explore")
    if args.workdir is None:
        paths = train_default_runs(directory, args.data_dir, args.input)
    else:
        try:
            paths = [Path(cli.DirectoryParser().parse(path)) for path in args.workdir or [""]]
        except ValueError as error:
            raise ValueError(f"--workdir= {error}") from None
    written = write_exploration(
        paths, args.input, Path(args.out or directory / "explore.html"), args.data_dir, args.replica, args.figures
    )
    print("wrote " + ", ".join(str(path) for path in written))


if __name__ == "__main__":
    flags.DEFINE_list("workdir", None, "Runs to look into: workdirs, or what train.py --export wrote.")
    flags.DEFINE_string("input", None, f"The sentence; {DEFAULT_SENTENCE!r} unless given.")
    flags.DEFINE_string("out", None, "The page; runs/explore/explore.html unless given.")
    flags.DEFINE_integer("replica", 0, "Which replica of each workdir.")
    flags.DEFINE_bool("figures", False, "Write the maps as SVG and PDF too, and all arrays as .npz.")
    cli.define_directory("data_dir", DEFAULT_DATA_DIR, "Where real data are prepared, once, and read from.")
    cli.run_command(main)
