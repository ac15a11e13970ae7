"""The runs that explore shows, the sentence that they read, and what each of them makes of it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from configs import text as text_config
from configs import titles
from experiments.ablation.own_data import OwnData
from experiments.ablation.study import load_config_file
from experiments.inspection import roll_call
from experiments.inspection.activations import Activations, capture_activations
from experiments.inspection.heads import HeadSummary, summarize_heads
from experiments.inspection.influence import Influence, measure_influence
from experiments.inspection.probes import ProbeResult, probe_blocks
from experiments.inspection.recurrence import RecurrenceReading, read_recurrences
from experiments.measures.common import sample_test_batch
from models.seq2seq import Seq2Seq
from models.skeleton import Skeleton
from tasks.real.tokenization import UNKNOWN_WORD
from tasks.real.words import is_byte_level, is_character_level, split_words
from training import builder, export, files, loop

DEFAULT_SENTENCE = "He tosses the ball to her, and she tosses it back."
MAX_TOKENS = 256  # maps grow with their square
_TRAINING_STEPS, _OWN_DATA_STEPS = 1600, 2500  # on rolls, and on data of one's own
_LEARNING_RATES = {"attention": 3e-3, "lstm": 1e-2, "gru": 1e-2}
_POSITIONS_WITH_LIMIT = ("sinusoidal", "learned", "randomised")


class LoadedRun(NamedTuple):
    """A run or an exported model, its parameters, and where it came from."""

    path: Path
    run: builder.Run
    params: Any


class ModelReading(NamedTuple):
    """A run as it reads the sentence. The description says in one line what the run is."""

    name: str
    description: str
    run: builder.Run
    activations: Activations
    heads: Sequence[HeadSummary]
    influence: Influence
    recurrences: Sequence[RecurrenceReading | None]  # of each block
    probes: Sequence[ProbeResult | None]


# ---- the runs -------------------------------------------------------------------------------------------------------


def default_config(name: str, text: Path, own: OwnData | None = None) -> Any:
    """The config that is trained where no run is given: of a mixer on the file `text` or on own data, or "titles"."""
    if name == "titles":
        return titles.get_config()
    if own:
        config: Any = load_config_file(own.config_file)["get_config"](name)
    else:
        config = text_config.get_config(name)
        config.task.update(path=str(text), max_length=96)
        config.model.width = 48
    # A bias for every distance learns soonest to look back by one: in 1,600 steps sines and cosines do not.
    config.model.positions = ("sinusoidal" if own else "t5") if name == "attention" else "none"
    config.optimizer.learning_rate = _LEARNING_RATES[name]
    steps = _OWN_DATA_STEPS if own else _TRAINING_STEPS
    config.training.update(steps=steps, eval_every=steps // 2)
    if own:
        known = builder.flatten_config(config)  # not all have the options of another mixer
        config.update_from_flattened_dict({field: value for field, value in own.overrides.items() if field in known})
    return config


def train_default_runs(directory: Path, data_dir: str, text: str | None, own: OwnData | None = None) -> list[Path]:
    """Train the runs that are shown where none is given, as far as they are not trained yet; their directories.

    On own data there is no search model, which is one of Shakespeare's titles. Raises ValueError, before anything is
    trained, for a text that they could not read.
    """
    rolls = directory / "roll-call.txt"
    if own is None:
        roll_call.write_text(rolls)
    paths = {name: directory / name if own else directory / "roll-call" / name for name in _LEARNING_RATES}
    reader = builder.build_run(default_config("attention", rolls, own), data_dir)
    check_run(reader, paths["attention"])
    if isinstance(reader.model, Seq2Seq):
        encode_source(reader, text)
    else:
        tokens, _ = encode_input(reader, text)
        validate_input(tokens, token_names(reader.task), [paths["attention"]], [reader])
    paths |= {} if own else {"titles": directory / "titles"}
    for name, path in paths.items():
        loop.train(default_config(name, rolls, own), path, data_dir=data_dir, name=name, tensorboard=False)
    return list(paths.values())


def load_run(directory: Path, data_dir: str, member: int) -> LoadedRun:
    """Load a run or an export. Raises ValueError for a model that explore can't take apart."""
    run, params = export.load(directory, data_dir, member)
    check_run(run, directory)
    return LoadedRun(directory, run, params)


def check_run(run: builder.Run, directory: Path) -> None:
    """Raise ValueError for a model that explore can't take apart."""
    if not isinstance(run.model, Skeleton | Seq2Seq):
        raise ValueError(f"{directory} is an associative memory: explore takes stacks of layers, and encoder–decoders")
    if not run.task.vocabulary:
        raise ValueError(f"{directory} reads real numbers, as pixels are: explore takes models that read tokens")


def model_names(paths: Sequence[Path], runs: Sequence[builder.Run]) -> list[str]:
    """A name for each run: its mixer, with its directory where several have the same mixer."""
    mixers = [run.config["model"]["mixer"].replace(",", " + ") for run in runs]
    return [
        mixer if mixers.count(mixer) == 1 else f"{mixer} ({path.name})"
        for path, mixer in zip(paths, mixers, strict=True)
    ]


def describe_run(directory: Path, run: builder.Run) -> str:
    """What the run is, in one line: its size, its task, and its test score where the result is there."""
    model, task = run.config["model"], run.config["task"]
    size = {0: "a bag of words", 1: "1 layer"}.get(model["depth"], f"{model['depth']} layers")
    description = f"{size} of width {model['width']} on {data_name(task)}"
    path = directory / "result.json"
    if not path.exists():
        return f"{description}, from {directory.name}"
    result = files.read_json(path)
    seeds = run.config["ensemble"]["seeds"]
    score = next((one["test"] for one in result["members"] if one["seed"] == seeds[0]), None)
    return f"{description}, {result['steps']:,} steps" + (f", {score:.2f} {result['metric']} on test" if score else "")


def data_name(task: Mapping[str, Any]) -> str:
    """What a task's data are called: a file, a data set, or the task itself."""
    return Path(task["path"]).name if task.get("path") else task.get("dataset") or task["name"]


# ---- the sentence ---------------------------------------------------------------------------------------------------


def encode_input(run: builder.Run, text: str | None) -> tuple[np.ndarray, str]:
    """The tokens of --input, and a remark on characters or words that the model never saw, or "".

    The input is text where the task has text, else whole numbers with blanks between. Without an input the tokens are
    those of DEFAULT_SENTENCE, or a test sequence where the task does not know all of its characters or words. Raises
    ValueError where no token is left.
    """
    task = run.task
    if text is None:
        if hasattr(task, "encode") and not _unknown_tokens(task, DEFAULT_SENTENCE):
            return np.array(task.encode(DEFAULT_SENTENCE), np.int32), ""
        batch = sample_test_batch(run, 1)
        return np.asarray(batch.inputs[0], np.int32)[np.asarray(batch.segments[0]) != 0], ""
    if not text.strip():
        raise ValueError(f"--input={text!r} is empty: give a few words or tokens")
    if not hasattr(task, "encode"):
        return _parse_token_numbers(task, text), ""
    unknown = _unknown_tokens(task, text)
    by_character = _is_by_character(task)
    if by_character:
        text = "".join(character for character in text if character not in unknown)
        if not text:
            raise ValueError(f"--input: nothing is left of it; the model knows {''.join(sorted(task.names)).strip()}")
    try:
        tokens = np.array(task.encode(text), np.int32)
    except ValueError as error:
        raise ValueError(f"--input: {error}") from None
    if not unknown:
        return tokens, ""
    replaced = not by_character and len(tokens) == len(_split_text(task, text))
    stand_in = task.names[UNKNOWN_WORD if hasattr(task, "tokenizer") else 0]
    fate = f"read as {stand_in}" if replaced else "left out"
    return tokens, f"{fate}, since the model never saw them: {', '.join(map(repr, unknown))}"


def encode_source(run: builder.Run, text: str | None) -> np.ndarray | None:
    """The tokens of --input for an encoder–decoder: words, or else characters, that its task has names for; or numbers.

    None without an input. Raises ValueError for what is no token.
    """
    if text is None:
        return None
    if not hasattr(run.task, "names"):
        return _parse_token_numbers(run.task, text)
    number = {name: token for token, name in enumerate(run.task.names) if name}
    parts = text.split()
    if not number.keys() >= set(parts):
        parts = [character for character in text if not character.isspace()]
    if unknown := [part for part in dict.fromkeys(parts) if part not in number]:
        raise ValueError(f"--input: {unknown[0]!r} is no token of this task; it knows {' '.join([*number][:40])} …")
    return np.array([number[part] for part in parts], np.int32)


def _unknown_tokens(task: Any, text: str) -> list[str]:
    """The characters or words of a text that are no tokens of the task, each once."""
    if getattr(task, "tokenizer", "words") not in ("characters", "words") or is_byte_level(task.names):
        return []  # of pieces of words or bytes, any text is made
    parts = text if _is_by_character(task) else _split_text(task, text)
    return [part for part in dict.fromkeys(parts) if part not in task.names]


def _split_text(task: Any, text: str) -> Sequence[str]:
    return task.split_text(text) if hasattr(task, "split_text") else split_words(text)


def _is_by_character(task: Any) -> bool:
    return task.tokenizer == "characters" if hasattr(task, "tokenizer") else is_character_level(task.names)


def _parse_token_numbers(task: Any, text: str) -> np.ndarray:
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
    is_bound = {"attention", "dense"} & set(model["mixer"].split(",")) or model["positions"] in _POSITIONS_WITH_LIMIT
    return min(model["max_length"], MAX_TOKENS) if is_bound else MAX_TOKENS


def validate_input(
    tokens: np.ndarray, names: Sequence[str], paths: Sequence[Path], runs: Sequence[builder.Run]
) -> None:
    """Raise ValueError where the runs read other tokens than `names`, or can't take as many."""
    for path, run in zip(paths, runs, strict=True):
        if token_names(run.task) != list(names):
            raise ValueError(f"{path} and {paths[0]} read other tokens; give runs on one task")
        if (excess := len(tokens) - max_input_length(run)) > 0:
            raise ValueError(
                f"--input has {len(tokens)} tokens and {path} takes {max_input_length(run)} at most; leave out {excess}"
            )


def token_names(task: Any) -> list[str]:
    """Each token's name; a number where the task has no names."""
    return list(getattr(task, "names", map(str, range(task.vocabulary))))


def output_names(task: Any) -> list[str]:
    """Each output's name: a token's where outputs are tokens, a class's, or a number."""
    if task.outputs == task.vocabulary and not hasattr(task, "classes"):
        return token_names(task)
    return list(getattr(task, "classes", map(str, range(task.outputs))))


# ---- reading it -----------------------------------------------------------------------------------------------------


def read_sentence(name: str, loaded: LoadedRun, tokens: np.ndarray) -> ModelReading:
    """Compute everything that is shown of one model."""
    path, run, params = loaded
    activations = capture_activations(run, params, tokens)
    heads = summarize_heads(run, activations, tokens)
    influence = measure_influence(run, params, tokens)
    recurrences = read_recurrences(run, params, tokens, activations)
    probes = probe_blocks(run, params) if any(recurrences) else [None] * len(recurrences)
    return ModelReading(name, describe_run(path, run), run, activations, heads, influence, recurrences, probes)


def read_with_all(
    loaded: Sequence[LoadedRun], text: str | None
) -> tuple[np.ndarray, list[str], list[ModelReading], str]:
    """The tokens of a text, the names of all tokens, what each run makes of them, and the remark of `encode_input`.

    Raises ValueError for a text, or for runs, that don't fit together.
    """
    paths, runs = [one.path for one in loaded], [one.run for one in loaded]
    tokens, remark = encode_input(runs[0], text)
    names = token_names(runs[0].task)
    validate_input(tokens, names, paths, runs)
    readings = [read_sentence(name, one, tokens) for name, one in zip(model_names(paths, runs), loaded, strict=True)]
    return tokens, names, readings, remark


def taken_apart(readings: Sequence[ModelReading]) -> ModelReading:
    """The model whose path is shown: the first with attention, or else the first."""
    return next((one for one in readings if one.heads), readings[0])
