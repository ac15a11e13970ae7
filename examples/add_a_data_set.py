"""Add a data set that has a name: a text, read by character.

.venv/bin/python -m examples.add_a_data_set        (half a minute on two cores)

To keep it: save this file as data/sources/notes.py with PATH as it is for you, add the line
`"notes": "data.sources.notes"` to DATASETS in data/__init__.py, and train with
`.venv/bin/python train.py --config=configs/shakespeare.py:gru --config.task.dataset=notes --workdir=runs/notes`.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from data import text
from data.builder import RecordBuilder, assign_split

FINGERPRINT = None  # the file may change: each state of it is prepared in a folder of its own, and has keys of its own
PATH = Path("notes.txt")  # UTF-8, paragraphs with an empty line between them


class Notes(RecordBuilder):
    """One record per paragraph, in the split that a hash of its text decides on."""

    VERSION = tfds.core.Version("1.0.0")
    FEATURES = {"place": tfds.features.Text(), "text": tfds.features.Text()}

    @staticmethod
    def generate_records() -> Iterator[tuple[str, str, dict[str, Any]]]:
        for index, paragraph in enumerate(read_source()):
            place = f"{index:06}"
            yield assign_split(paragraph), place, {"place": place, "text": paragraph}


BUILDER = Notes


def read_source() -> list[str]:
    return [part for part in PATH.read_text("utf-8").split("\n\n") if part.strip()]


def task_arguments(records: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    return text.encode_characters(records, "place", "\n\n")  # in the order of `place`, joined by "\n\n"


def main(workdir: Path) -> None:
    import data
    import train
    from configs import shakespeare
    from examples import add_a_data_set

    workdir.mkdir(parents=True, exist_ok=True)
    add_a_data_set.PATH = workdir / "notes.txt"
    paragraphs = (
        f"Größe {i} ist nicht alles. Ωμέγα follows Alpha, and every character is a token." for i in range(200)
    )
    add_a_data_set.PATH.write_text("\n\n".join(paragraphs), "utf-8")
    data.DATASETS["notes"] = "examples.add_a_data_set"  # what the line in data/__init__.py does

    config: Any = shakespeare.get_config("gru")
    config.task.dataset, config.task.max_length, config.model.width = "notes", 32, 16
    config.training.steps, config.training.eval_every = 200, 100
    result = train.train(config, workdir / "run", data_dir=workdir / "data", tensorboard=False)

    run, _ = train.load(workdir / "run", data_dir=workdir / "data")
    print(f"{run.task.vocabulary} characters, Ω and ß among them: {set('Ωß') <= set(run.task.alphabet)}")
    rule, score = result["baseline"]
    print(f"test {result['metric']} {result['members'][0]['test']:.3f}; {rule} {score:.3f}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        main(Path(folder))
