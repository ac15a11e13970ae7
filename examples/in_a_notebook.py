"""Train, draw, compare and look inside from a notebook, where each value with a comment behind it is shown by its cell.

.venv/bin/python -m examples.in_a_notebook        (half a minute on two cores)
"""

import tempfile
from pathlib import Path
from typing import Any

import train
from configs import recall
from experiments import notebook
from experiments.ablation.study import Scale, Study


def main(workdir: Path) -> None:
    config: Any = recall.get_config("attention")
    config.task.update(pairs=2, max_length=8)
    config.training.update(steps=200, eval_every=50)
    config.ensemble.seeds = (0, 1)
    result = train.train(config, workdir / "attention", tensorboard=False)  # a dict: scores, times, cost
    curve = notebook.draw_learning(workdir / "attention")  # a picture
    curve.save(workdir / "learning.pdf")
    rows = notebook.read_log(workdir / "attention")  # what was logged, a dict a row

    inside = notebook.look_inside(workdir / "attention", "3 9 4 10 3")  # heads and influence
    weights = inside.arrays["attention/block_0.weights"]  # [heads, tokens, tokens]

    study = Study(
        question="Does a second layer help?",
        fixed={"config": "recall", "mixer": "gru", "task.pairs": 2, "task.max_length": 8},
        grid={"model.depth": (1, 2)},
        claims=(),
        scales={"smoke": Scale(seeds=(0, 1), overrides={"training.steps": 100, "training.eval_every": 50})},
    )
    depth = notebook.run_study(study, "smoke", workdir / "studies")  # table, verdicts and picture
    scores = [row["test"] for row in depth.rows]  # pandas.DataFrame(depth.rows) has all of each trial

    print(f"{result['metric']} {result['members'][0]['test']:.2f}, {len(rows)} rows; heads {weights.shape}; {scores}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        main(Path(folder) / "notebook")
