"""A text of one's own: no code, two fields of a config.

.venv/bin/python -m examples.own_data        (half a minute on two cores)

The same on the command line, with any text file in UTF-8:

.venv/bin/python train.py --config=configs/shakespeare.py:gru --config.task.dataset=file \
    --config.task.path=my.txt --workdir=runs/mine
"""

import tempfile
from pathlib import Path
from typing import Any

import train
from configs import shakespeare

TEXT = "Größe ist nicht alles. Ωμέγα folgt auf Alpha, and every character that occurs is a token.\n"


def main(workdir: Path) -> None:
    workdir.mkdir(parents=True, exist_ok=True)
    text = workdir / "my.txt"
    text.write_text(TEXT * 200, encoding="utf-8")

    config: Any = shakespeare.get_config("gru")
    config.task = {"name": "characters", "dataset": "file", "path": str(text), "max_length": 32}
    config.model.width = 16
    config.training.steps, config.training.eval_every = 200, 100
    result = train.train(config, workdir / "run", data_dir=workdir / "data", tensorboard=False)

    run, _ = train.load(workdir / "run", data_dir=workdir / "data")
    print(f"{run.task.vocabulary} characters, Ω and ß among them: {'Ω' in run.task.names and 'ß' in run.task.names}")
    rule, score = result["baseline"]
    print(f"test {result['metric']} {result['members'][0]['test']:.3f}; {rule} {score:.3f}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        main(Path(folder))
