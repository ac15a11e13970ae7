"""Train a small GRU on associative recall, load it back, and stream a sequence through it token by token.

.venv/bin/python -m examples.quickstart        (ten seconds on two cores)
"""

import tempfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

import tasks
import train
from configs import recall


def main(workdir: Path) -> None:
    # A config is a file of configs/ with the mixer as its argument; every field can be changed.
    config: Any = recall.get_config("gru")
    config.task.pairs, config.task.max_length = 2, 8
    config.model.width = 16
    config.training.steps, config.training.eval_every = 300, 100
    config.ensemble.seeds = (0, 1)  # two members, trained together in one program

    # The same call again goes on where it was, or returns what is finished.
    result = train.train(config, workdir, tensorboard=False)
    for member in result["members"]:
        print(f"seed {member['seed']}: test {result['metric']} {member['test']:.3f}, chance {result['chance']:.3f}")

    # A run is task, model and config; params are those of the step with the best validation score.
    run, params = train.load(workdir, member=0)
    batch = run.task.sample(tasks.random_key(0), 1, 8, 8)
    whole, _ = run.model.apply({"params": params}, batch.inputs)

    # Every causal model streams: the same call, with the state of the last one.
    state, outputs = None, []
    for t in range(8):
        token = batch.inputs[:, t : t + 1]
        y, state = run.model.apply(
            {"params": params},
            token,
            state=state,
            positions=jnp.full((1, 1), t),
            segments=jnp.ones((1, 1), jnp.int32),
        )
        outputs.append(y)
    difference = jnp.abs(whole - jnp.concatenate(outputs, axis=1)).max()
    floats = sum(leaf.size for leaf in jax.tree.leaves(state))
    print(f"whole and streamed outputs differ by {difference:.1e}; the state has {floats} numbers")
    assert difference < 1e-4


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        main(Path(folder) / "quickstart")
