"""A task of one's own: majority. Were there more ones than zeros?

.venv/bin/python -m examples.add_a_task        (half a minute on two cores)

To keep it: put imports and class into tasks/synthetic/majority.py, and name it in tasks/__init__.py.
"""

import math
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray

from tasks.base import Batch, Task, positions_and_segments, static


class Majority(Task):
    """A row of bits, and after the last of them the one that occurs more often: 0 1 1 0 1 → 1."""

    max_length: int = static(15)  # a setting, config.task.max_length

    vocabulary = 2
    outputs = 2
    target_level = "sequence"
    chance = 0.5

    def validate(self) -> None:
        self.require("max_length", self.max_length % 2 == 1, "must be odd, so that no row is a draw")

    @property
    def baseline(self) -> tuple[str, float]:
        """The last bit is right unless the others have a majority of two or more against it."""
        others = self.max_length - 1
        return "the last bit", 0.5 + math.comb(others, others // 2) / 2**self.max_length

    def sample(
        self, key: PRNGKeyArray, batch: int, max_length: int, length: Int[Array, ""] | int, subset: str = "train"
    ) -> Batch:
        positions, segments = positions_and_segments(batch, max_length, length)  # segment 0 from `length` on
        bits = jax.random.bernoulli(key, shape=(batch, max_length)).astype(jnp.int32) * segments
        targets = (2 * bits.sum(axis=1) > length).astype(jnp.int32)
        return Batch(bits, targets, jnp.ones(batch), positions, segments)


def main(workdir: Path) -> None:
    import tasks
    import train
    from configs import base

    tasks.TASKS["majority"] = Majority  # what the line in tasks/__init__.py does

    config = base("gru")  # what configs/majority.py would return
    config.task = {"name": "majority", "max_length": 15}
    config.model.width, config.training.steps, config.training.eval_every = 16, 300, 100
    result = train.train(config, workdir, tensorboard=False)
    rule, score = result["baseline"]
    print(f"majority: test accuracy {result['members'][0]['test']:.3f}, {rule} {score:.3f}, chance {result['chance']}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        main(Path(folder) / "majority")
