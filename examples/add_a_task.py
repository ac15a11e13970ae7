"""A task of one's own: majority. Which of two symbols is there more often?

.venv/bin/python -m examples.add_a_task        (half a minute on two cores)

To keep it: put imports and class into tasks/synthetic/majority.py, and name it in tasks/__init__.py.
"""

import tempfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray

from tasks.base import Batch, Task, positions_and_segments, static


class Majority(Task):
    """Name the symbol that there is more of in a row of a's and b's.

    Tokens 1 and 2 are a and b, and 0 is padding. Rows have an odd number of symbols, so that there is no draw; if
    `length` is even, the last step is padding.

    Example:
        input   a a b b a b b a a b a b a a a a a a a b b
        target  a
    """

    max_length: int = static(21)  # a setting, config.task.max_length

    VERSION = 1
    vocabulary = 3
    outputs = 2
    target_level = "sequence"  # one label for each row, not for each step
    chance = 0.5
    baseline = ("always a", 0.5)

    def validate(self) -> None:
        self.require("max_length", self.max_length % 2 == 1, "must be an odd number")

    def sample(
        self, key: PRNGKeyArray, batch: int, max_length: int, length: Int[Array, ""] | int, subset: str = "train"
    ) -> Batch:
        symbols = length - 1 + length % 2
        positions, segments = positions_and_segments(batch, max_length, symbols)  # segment 0 from `symbols` on
        is_b = jax.random.bernoulli(key, 0.5, (batch, max_length)) * segments
        targets = (2 * is_b.sum(axis=1) > symbols).astype(jnp.int32)
        return Batch((1 + is_b) * segments, targets, jnp.ones(batch), positions, segments)

    def input_symbol(self, value: Any) -> str:
        return "·ab"[int(value)]  # how `python -m tasks majority` shows a token,

    def target_symbol(self, value: Any) -> str:
        return "ab"[int(value)]  # and a target


def main(workdir: Path) -> None:
    import tasks
    import train
    from configs import base

    tasks.TASKS["majority"] = Majority  # what the line in tasks/__init__.py does

    config: Any = base("gru")  # what configs/majority.py would return
    config.task = {"name": "majority", "max_length": 21}
    config.model.width, config.training.steps, config.training.eval_every = 16, 300, 100
    result = train.train(config, workdir, tensorboard=False)
    rule, score = result["baseline"]
    print(f"majority: test accuracy {result['members'][0]['test']:.3f}, {rule} {score:.3f}, chance {result['chance']}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        main(Path(folder) / "majority")
