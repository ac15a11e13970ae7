"""Data of the user's in an experiment: the flag --config, and what it names."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from absl import flags
from ml_collections import config_flags

import configs
import models
import tasks
from experiments.ablation.study import Overrides, Scale, Study, format_labels, resolve_settings
from training import builder
from training.validation import validate_config


class OwnData(NamedTuple):
    """Data that stand in for a study's own: a config file, by its name in configs/ or its path; the mixer behind its
    colon, or ""; the fields that the command line sets; and `config.task` with them."""

    config_file: str
    mixer: str
    overrides: Overrides
    task: Mapping[str, Any]

    @property
    def source(self) -> str:
        """What the user calls the data: a path, else the name of a data set, else that of a task."""
        return self.task.get("path") or self.task.get("dataset") or self.task["name"]

    @property
    def title(self) -> str:
        """The source without its folders, unless it is a pattern."""
        return self.source if "*" in self.source else Path(self.source).name or self.source

    @property
    def name(self) -> str:
        """A word for labels and folders, of the source without folders and endings."""
        stem = Path(self.source).name.split(".")[0] or Path(self.source).name
        return re.sub(r"[^\w-]+", "_", stem)[:40].strip("_") or "data"


def define_config_flag(values: flags.FlagValues = flags.FLAGS) -> None:
    """Define --config, with fields as --config.task.path, as train.py has it."""
    text = "Data of your own in place of the study's: --config=configs/text.py --config.task.path=notes.txt."
    config_flags.DEFINE_config_file("config", None, text, flag_values=values)


def read_config_flag(values: Any) -> OwnData | None:
    """The data that --config names; None without that flag. Raises ValueError where a path or the task is missing."""
    if values.config is None:
        return None
    path, _, mixer = str(config_flags.get_config_filename(values["config"])).partition(":")
    task = values.config.task.to_dict()
    models.validate_choice("task.name", task.get("name", ""), tasks.TASKS)
    if task.get("path") == "":
        raise ValueError("task.path: name a file, a folder or a pattern, as --config.task.path=notes.txt")
    file, folder = Path(path).resolve(), Path(configs.__file__).resolve().parent
    config_file = file.stem if file.parent == folder else str(file)
    return OwnData(config_file, mixer, dict(config_flags.get_override_values(values["config"])), task)


def require_data(name: str, study: Study) -> None:
    """Refuse a study of its user's data without any."""
    if study.needs_data:
        raise ValueError(
            f"--study={name}: give --config=configs/text.py --config.task.path=notes.txt, or configs/labelled.py, "
            f"pairs.py or series.py, with data of yours"
        )


def check_settings(study: Study, scale: Scale, task: Any, selected: Mapping[str, Sequence[str]] | None = None) -> None:
    """Build every setting's model for the task. Raises ValueError, naming the setting, for one that it doesn't fit."""
    for setting in resolve_settings(study, scale, selected):
        try:
            validate_config(setting.config)
            models.validate_model(setting.config["model"])
            builder.assemble_run(setting.config, task, {})
        except ValueError as error:
            raise ValueError(f"{format_labels(setting.labels)}: {error}") from None
