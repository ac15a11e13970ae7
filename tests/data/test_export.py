"""What an export keeps of a task on real data (`train.describe_task`)."""

import importlib
from pathlib import Path
from typing import Any

import jax
import pytest

import tasks
import train
from training import files, task_description, trainer


def configured(name: str) -> dict[str, Any]:
    return importlib.import_module(f"configs.{name}").get_config("rnn").to_dict()


@pytest.mark.parametrize(
    "name",
    ["bible", "digits", "irish", "mnist_5k", "peptides", "phonemes", "shakespeare", "splice", "titles", "verses"],
)
def test_what_is_kept_of_a_task_builds_the_same_model(name: str, load, tmp_path: Path):
    """Of every kind of task on real data: its shapes and names go through JSON and back."""
    arrays = load(name)
    (config,) = [
        found
        for path in sorted((Path(train.__file__).parent / "configs").glob("[a-z]*.py"))
        if (found := configured(path.stem))["task"].get("dataset") == name
    ][:1]
    fields = {key: value for key, value in config["task"].items() if key not in ("name", "dataset")}
    task = tasks.TASKS[config["task"]["name"]](**arrays, **fields)
    files.write_json(tmp_path / "task.json", task_description.describe_task(task))
    again = task_description.task_from_description(config, files.read_json(tmp_path / "task.json", files.TASK_SCHEMA))
    for field in ("vocabulary", "channels", "outputs", "target_level", "max_length", "min_length", "splits", "chance"):
        assert getattr(again, field) == getattr(task, field)
    shapes = jax.eval_shape(lambda task: trainer.sample_longest(task, 4), again)
    assert shapes == jax.eval_shape(lambda task: trainer.sample_longest(task, 4), task)
