"""Train on a text of your own, by its path.

.venv/bin/python -m examples.own_data        (half a minute on two cores)

From the command line: `.venv/bin/python train.py --config=configs/text.py:gru --config.task.path=notes.txt
--workdir=runs/notes`. docs/own-data.md has the other kinds of files, and what else runs on them.
"""

import tempfile
from pathlib import Path
from typing import Any


def main(workdir: Path) -> None:
    import train
    from configs import text

    workdir.mkdir(parents=True, exist_ok=True)
    notes = workdir / "notes.txt"
    lines = (f"Größe {i} ist nicht alles. Ωμέγα follows Alpha, and every character is a token.\n\n" for i in range(200))
    notes.write_text("".join(lines), "utf-8")

    config: Any = text.get_config("gru")
    config.task.path = str(notes)  # a file, a folder, or a pattern
    config.task.max_length, config.model.width = 32, 16
    config.training.steps, config.training.eval_every = 200, 100
    result = train.train(config, workdir / "run", data_dir=workdir / "data", tensorboard=False)

    run, _ = train.load(workdir / "run", data_dir=workdir / "data")
    print(f"{run.task.vocabulary} tokens, Ω and ß among them: {set('Ωß') <= set(run.task.names)}")
    print(run.task.decode(run.task.encode("Größe")), end=", ")
    rule, score = result["baseline"]
    print(f"test {result['metric']} {result['members'][0]['test']:.3f}; {rule} {score:.3f}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        main(Path(folder))
