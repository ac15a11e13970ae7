"""Look inside: what a model does with one sentence, as one HTML file that opens offline.

  make explore                                            trains what it needs, in under three minutes, and writes
                                                          runs/explore/explore.html
  python -m experiments.explore --input="tom4 mia6 tom4 mia6"            another text; nothing is trained again
  python -m experiments.explore --config=configs/shakespeare.py          other data: train on Shakespeare first
  python -m experiments.explore --workdir=runs/lstm,runs/deep            other runs, or what --export wrote
  python -m experiments.explore --workdir=runs/recall --input="3 9 4 10 3"   a generated task: tokens as numbers
  python -m experiments.explore --config=configs/text.py --config.task.path=notes.txt    trained on your text first
  python -m experiments.explore --figures                 the maps as SVG and PDF too, and all arrays as .npz

Without runs or data, attention, an LSTM and a GRU are trained on rolls of names and numbers that are read out again,
where the past matters (experiments/inspection/roll_call.py).

The page shows the path of the text through the first model with attention, what every head looks at, how far each token
moves each prediction in all of the models, what a recurrence keeps, softmax by hand, and search as attention. For that
last part one of the runs has to be of configs/titles.py.

Characters that a model never saw are left out, with a remark; anything else that can't be shown is refused in one line.
Models must read tokens, not pixels. Encoder–decoders have a page of their own: what each step of the target looks at in
the source. --input is a source, for which the model writes a target; or numbers with the separator, a whole row.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import flags

import tasks
from experiments.ablation import own_data
from experiments.inspection import roll_call
from experiments.inspection.bridge_page import write_bridge_page
from experiments.inspection.bridges import bridge_arrays, build_row, is_encoder_decoder, read_bridge
from experiments.inspection.figures import save_arrays, write_figures
from experiments.inspection.html_page import write_page
from experiments.inspection.page_data import SearchPanel
from experiments.inspection.reading import (
    DEFAULT_SENTENCE,
    LoadedRun,
    describe_run,
    encode_source,
    load_run,
    model_names,
    output_names,
    read_with_all,
    taken_apart,
    token_names,
    train_default_runs,
)
from experiments.inspection.search_model import extract_search_model, is_search_model
from experiments.measures.sampling import decode_text
from training import cli, runtime
from training.runtime import DEFAULT_DATA_DIR

DIRECTORY = Path("runs/explore")


def main() -> None:
    args: Any = flags.FLAGS
    runtime.configure_runtime()
    own = own_data.read_config_flag(args)
    if own and (args.workdir is not None or own.mixer):
        raise ValueError("--config names data to train attention, lstm and gru on: leave out --workdir and the mixer")
    if own:
        check_task(own.task["name"])
    directory = DIRECTORY.with_name(f"explore-on-{own.name}") if own else DIRECTORY
    text, about = args.input, ""
    if args.workdir is None:
        about = "" if own else roll_call.ABOUT
        text = text if own or text is not None else roll_call.read_out(roll_call.EXAMPLE, 2)
        paths = train_default_runs(directory, args.data_dir, text, own)
    else:
        try:
            paths = [Path(cli.DirectoryParser().parse(path)) for path in args.workdir or [""]]
        except ValueError as error:
            raise ValueError(f"--workdir= {error}") from None
    out = Path(args.out or directory / "explore.html")
    written = write_exploration(paths, text, out, args.data_dir, args.member, args.figures, about)
    print("wrote " + ", ".join(map(str, written)))


def check_task(name: str) -> None:
    """Raise ValueError, before any data are prepared, for a task whose models read no tokens."""
    if tasks.TASKS[name].vocabulary == 0:
        raise ValueError(f"task.name={name}: explore takes text, labelled and pairs, whose models read tokens")


def write_exploration(
    paths: Sequence[Path], text: str | None, out: Path, data_dir: str, member: int, figures: bool, about: str = ""
) -> list[Path]:
    """Load the runs, read the sentence with each, and write the page; the files written.

    A search model has a part of the page to itself. It reads the sentence only where it is the only kind of model.
    """
    loaded = [load_run(path, data_dir, member) for path in paths]
    if any(is_encoder_decoder(one.run) for one in loaded):
        return write_bridges(loaded, text, out, figures)
    search_models = [one for one in loaded if is_search_model(one.run)]
    loaded = [one for one in loaded if not is_search_model(one.run)] or loaded
    tokens, names, readings, remark = read_with_all(loaded, text)
    if remark:
        print(remark, file=sys.stderr)
    panel = build_search_panel(search_models[0], title_details()) if search_models else None
    outputs = output_names(taken_apart(readings).run.task)
    sentence = decode_text(loaded[0].run.task, tokens.tolist())
    written = [write_page(out, sentence, tokens, names, outputs, readings, panel, repeat_command(), about)]
    if figures:
        written += write_figures(out, tokens, [names[token] for token in tokens], readings)
    return written


def write_bridges(loaded: Sequence[LoadedRun], text: str | None, out: Path, figures: bool) -> list[Path]:
    """The same for encoder–decoders on one task; of figures only the arrays. Of a source, the first writes the target.

    Raises ValueError for other models beside them.
    """
    for one in loaded:
        if not is_encoder_decoder(one.run) or token_names(one.run.task) != token_names(loaded[0].run.task):
            raise ValueError(f"{one.path} reads other rows than {loaded[0].path}: give encoder–decoders on one task")
    first = loaded[0]
    row = build_row(first.run, first.params, encode_source(first.run, text))
    labels = model_names([one.path for one in loaded], [one.run for one in loaded])
    readings = [
        read_bridge(label, describe_run(one.path, one.run), one.run, one.params, row)
        for label, one in zip(labels, loaded, strict=True)
    ]
    names = token_names(first.run.task)
    text = " ".join(names[token] for token in row.tolist())
    written = [write_bridge_page(out, text, row, first.run.task, names, readings, repeat_command())]
    if figures:
        written.append(save_arrays(out, bridge_arrays(row, readings)))
    return written


def build_search_panel(loaded: LoadedRun, details: Mapping[str, tuple[str, int]]) -> SearchPanel:
    """The search model, its titles with kind and year as far as `details` has them."""
    path, run, params = loaded
    classes = [(title, *details.get(title, ("", 0))) for title in run.task.classes]
    return SearchPanel(extract_search_model(run, params), run.task.names, classes, describe_run(path, run))


def title_details() -> dict[str, tuple[str, int]]:
    """Kind and year of each of Shakespeare's works, by title."""
    from data.sources.titles import WORKS  # not above: tensorflow-datasets takes its time

    return {title: (kind, year) for title, kind, year in WORKS.values()}


def repeat_command() -> str:
    """What to type for the same page."""
    return " ".join(["python -m experiments.explore", *map(_quote_word, sys.argv[1:])])


def _quote_word(word: str) -> str:
    return f"'{word}'" if " " in word else word


if __name__ == "__main__":
    own_data.define_config_flag()
    flags.DEFINE_list("workdir", None, "Runs to look into: workdirs, or what train.py --export wrote.")
    flags.DEFINE_string("input", None, f"The text; {DEFAULT_SENTENCE!r} unless given, or a roll.")
    flags.DEFINE_string("out", None, "The page; runs/explore/explore.html unless given.")
    flags.DEFINE_integer("member", 0, "Which member of each workdir.")
    flags.DEFINE_bool("figures", False, "Write the maps as SVG and PDF too, and all arrays as .npz.")
    cli.define_directory("data_dir", DEFAULT_DATA_DIR, "Where real data are prepared, once, and read from.")
    cli.run_command(main)
