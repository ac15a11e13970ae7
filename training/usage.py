"""The lists of mixers, config files and fields in the help of train.py, from the registries themselves."""

import importlib
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import configs
import models

OWN_FILES = ("text", "labelled", "pairs", "series")  # files in configs/ for files that a user names
_WIDTH = 118


def fill_usage(template: str) -> str:
    """Fill in {mixers}, {files}, {own_files} and {fields}, which stand in lines of their own."""
    mixers = "Mixers: " + ", ".join(models.MIXERS) + " (python -m models says where each is from)."
    return template.format(
        mixers=_wrap(f"{mixers} Stacks of several: {', '.join(models.HYBRIDS)}."),
        files=_wrap("Files: " + ", ".join(list_config_files()) + " (in configs/)."),
        own_files="\n".join(map(_describe_own_files, OWN_FILES)),
        fields=_describe_fields(),
    )


def list_config_files() -> list[str]:
    """The names of the files in configs/, sorted."""
    return sorted(path.stem for path in Path(configs.__file__).parent.glob("[a-z]*.py"))


def _describe_own_files(name: str) -> str:
    """What a config for a user's files is for, and the fields of its task."""
    module = importlib.import_module(f"configs.{name}")
    own = [field for field in module.get_config().task if field not in ("name", "path")]
    fields = " ".join(["path", *own])
    return _wrap(f"  {name + '.py':<12} {(module.__doc__ or '').splitlines()[0]} Fields: {fields}", indent=15)


def _describe_fields() -> str:
    groups: Mapping[str, Any] = configs.default_fields("attention")
    lines = []
    for group, fields in groups.items():
        names = " ".join(name for name in fields if name not in models.MIXERS)
        if group == "task":
            names += ", and the task's own fields: recall has pairs, symbols and max_length"
        if group == "model":
            options = {mixer: models.mixer_options(mixer) for mixer in models.MIXERS}
            per_mixer = " ".join(f"{mixer}({' '.join(fields)})" for mixer, fields in options.items() if fields)
            names += f"; and each mixer's options, as model.lstm.forget_bias: {per_mixer}"
        lines.append(_wrap(f"  {group:<10} {names}", indent=13))
    return "\n".join(lines)


def _wrap(text: str, indent: int = 0) -> str:
    return textwrap.fill(
        text, _WIDTH, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False,
        drop_whitespace=True,
    )  # fmt: skip
