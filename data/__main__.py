"""List the data sets, or describe what files of yours would become, before anything is prepared.

  python -m data list                                  the data sets that have a name, and the kinds of files
  python -m data describe notes.txt                    documents, splits, tokens, what would be left out
  python -m data describe genes.csv --task=labelled --sequence_column=seq --label_column=kind
  python -m data describe power.csv --task=series --time_column=date

--task is text, labelled, pairs or series, as the files in configs/ are called; without it, it is taken from the file.
All other flags are fields of `config.task` that say how files are read, as --tokenizer=bpe; --task=TASK --help lists
them. The exit status is 1 where files would be refused, of which a line says what is "to be mended".
"""

import argparse
import ast
import dataclasses
import importlib
import importlib.util
import os
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from data import DATASETS
from data.files import KINDS, find_sources, parse_options
from data.files.sources import skipped_notes
from tasks.base import suggest_name

CONFIGS = {"text": "text", "labelled": "classification", "pairs": "parallel_text", "series": "series"}  # file: task
_COLUMNS = {"labelled": {"sequence", "label"}, "pairs": {"source", "target"}, "text": {"text"}}  # of each by default

_MENDED = "to be mended: "  # begins a line of a description that says why training would refuse the files


def list_data() -> Iterator[str]:
    """A line for each data set, and for each kind of files."""
    yield "Data sets, by --config.task.dataset (docs/data.md has sources and licenses):"
    for name, module in DATASETS.items():
        yield f"  {name:<20} {_first_line(module) if 'sources' in module else 'by way of tensorflow-datasets'}"
    yield "Files of yours, by --config.task.path:"
    for config, task in CONFIGS.items():
        yield f"  configs/{config + '.py':<12} {_first_line(f'configs.{config}')} (task {task})"


def _first_line(module: str) -> str:
    """The first line of a module's docstring, without importing it."""
    spec = importlib.util.find_spec(module)
    source = Path(spec.origin).read_text("utf-8") if spec and spec.origin else ""
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]


def describe_files(path: str, task: str, flags: Sequence[str]) -> Iterator[str]:
    """What files would become as data of a task, and the command that trains on them.

    Raises ValueError or OSError, in one line, for what is wrong.
    """
    config = _config_name(task) if task else guess_config(path)
    fields = {"path": path, **parse_flags(config, flags)}
    kind, options = parse_options(CONFIGS[config], fields)
    yield f"{path}, as configs/{config}.py reads it:"
    files = find_sources(options, skipped=(skipped := []))
    lines = kind.describe(options, files, None)
    for line in [*lines, *skipped_notes(skipped)]:
        yield f"  {line}"
    if any(line.startswith(_MENDED) for line in lines):
        return
    given = " ".join(shlex.quote(f"--config.task.{name}={value}") for name, value in fields.items())
    yield f"one model:    python train.py --config=configs/{config}.py:lstm {given} --workdir=runs/mine"
    yield f"four mixers:  python -m experiments.run --study=own_data --config=configs/{config}.py {given}"


def guess_config(path: str) -> str:
    """The config file for files of this kind. Raises ValueError for a table whose columns do not say it."""
    from data.files import sources, tables

    first = sources.find_files("path", path)[0]
    suffix = sources.data_suffix(first)
    if suffix in sources.FASTA_SUFFIXES:
        return "labelled"
    if suffix not in sources.TABLE_SUFFIXES:
        return "text"
    columns = tables.column_names("path", first)
    for config, wanted in _COLUMNS.items():
        if wanted <= set(columns):
            return config
    raise ValueError(
        f"{path}: a table with the columns {', '.join(columns)}: say what it is by --task=text, labelled, pairs or "
        f"series, and name columns by flags, as --sequence_column={columns[0]}"
    )


def _config_name(task: str) -> str:
    by_task = {task: config for config, task in CONFIGS.items()}
    known = {**{config: config for config in CONFIGS}, **by_task}
    if task not in known:
        raise ValueError(f"--task={task}: {suggest_name(task, known)}must be one of {', '.join(CONFIGS)}")
    return known[task]


def option_defaults(config: str) -> dict[str, Any]:
    """The fields of a kind of files, with their defaults."""
    options: Any = importlib.import_module(KINDS[CONFIGS[config]]).Options
    missing = dataclasses.MISSING
    return {
        field.name: "" if field.default is missing else field.default
        for field in dataclasses.fields(options)
        if field.name != "path"
    }


def list_fields(task: str) -> Iterator[str]:
    """A line for each field of a kind of files: its default, and what its config says of it.

    Raises ValueError for a task that takes no files.
    """
    config = _config_name(task)
    comments = _read_comments(config)
    yield f"python -m data describe PATH --task={config}, with fields of config.task (configs/{config}.py):"
    for name, default in option_defaults(config).items():
        flag = f"--{name}={'' if default == () else default}"
        yield f"  {flag:<30} {comments.get(name, '')}".rstrip()


def _read_comments(config: str) -> dict[str, str]:
    """The comment at each field of a config's task, or in the line above it."""
    spec, comments, above = importlib.util.find_spec(f"configs.{config}"), {}, ""
    for line in Path(spec.origin).read_text("utf-8").splitlines() if spec and spec.origin else ():
        if found := re.match(r'\s+"(\w+)": .*?,(?:  # (.*))?$', line):
            comments[found[1]] = found[2] or above
        above = line.strip().removeprefix("# ") if line.strip().startswith("# ") else ""
    return comments


def parse_flags(config: str, flags: Sequence[str]) -> dict[str, Any]:
    """Fields from flags such as --tokenizer=bpe. Raises ValueError for what the kind of files does not have."""
    known, fields = option_defaults(config), {}
    for flag in flags:
        name, equals, text = flag.removeprefix("--").removeprefix("config.task.").partition("=")
        if not flag.startswith("--") or not equals:
            raise ValueError(f"{flag!r} is no flag: write --field=value")
        if name not in known:
            raise ValueError(
                f"--{name}: configs/{config}.py reads no such field of files; {suggest_name(name, known)}it reads "
                f"{', '.join(known)}"
            )
        fields[name] = _parse_value(f"--{name}", text, known[name])
    return fields


def _parse_value(flag: str, text: str, default: Any) -> Any:
    if isinstance(default, bool):
        if text.lower() not in ("true", "false"):
            raise ValueError(f"{flag}={text}: must be true or false")
        return text.lower() == "true"
    if isinstance(default, (int, float)):
        try:
            return type(default)(text)
        except ValueError:
            raise ValueError(f"{flag}={text}: must be a number") from None
    return text


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m data", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", choices=("list", "describe"))
    parser.add_argument("path", nargs="?", help="a file, a folder or a pattern, to describe")
    parser.add_argument("--task", default="", help="what the files are: text, labelled, pairs, series")
    argv, first = sys.argv[1:] if argv is None else argv, argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--task", default="")
    first.add_argument("--help", "-h", action="store_true")
    help_of = first.parse_known_args(argv)[0]
    is_refused = False
    try:
        if help_of.help and help_of.task:
            for line in list_fields(help_of.task):
                print(line)
            return
        args, rest = parser.parse_known_args(argv)
        if args.action == "list":
            lines = list_data()
        elif args.path is None:
            raise ValueError("describe: name a file, a folder or a pattern, as python -m data describe notes.txt")
        else:
            lines = describe_files(args.path, args.task, rest)
        for line in lines:
            print(line)
            is_refused |= line.strip().startswith(_MENDED)
    except BrokenPipeError:  # as of `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (ValueError, OSError) as error:
        parser.exit(1, f"error: {error}\n")
    if is_refused:
        sys.exit(1)


if __name__ == "__main__":
    main()
