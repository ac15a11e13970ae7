"""Fifteen seeds and learning rates of one model, trained together or one by one; 500 steps of recall at width 64.

  python -m experiments.benchmarks.ensemble lstm vmap

The mode is "apart" (one by one in one process, compiled once), "map" or "vmap". Prints one line of JSON with seconds:
"whole" with compiling, "warm" without.
"""

import json
import sys
import time
from typing import Any

import jax

import models
from configs.recall import get_config
from training import builder, ensemble, runtime

MODES = ("apart", "map", "vmap")
SEEDS, RATES = (0, 1, 2, 3, 4), (1e-3, 3e-3, 1e-2)
STEPS, STEPS_PER_CALL = 500, 50


def time_training(mixer: str, mode: str) -> dict[str, float]:
    """Seconds of the training steps alone: nothing is evaluated or saved."""
    config: Any = get_config(mixer)
    config.training.update(steps=STEPS, steps_per_call=STEPS_PER_CALL, eval_every=STEPS)
    config.ensemble.seeds, config.ensemble.learning_rates = SEEDS, RATES
    config.ensemble.mode = "map" if mode == "apart" else mode
    runtime.configure_runtime(1 if mode == "apart" else len(SEEDS) * len(RATES))
    jax.config.update("jax_enable_compilation_cache", False)
    run = builder.build_run(config)
    placement = ensemble.plan_ensemble(run.config)
    begun = time.perf_counter()
    mesh = ensemble.make_mesh(placement)
    task = jax.device_put(run.task, jax.NamedSharding(mesh, jax.P()))
    states = [ensemble.init_ensemble(run, placement, mesh)]
    if mode == "apart":
        count, placement = len(placement.seeds), placement._replace(seeds=SEEDS[:1], learning_rates=RATES[:1])
        states = [jax.tree.map(lambda leaf, i=i: leaf[i : i + 1], states[0]) for i in range(count)]
    train_steps = ensemble.jit_train_steps(run, placement, mesh).lower(states[0], task).compile()
    compile_seconds = time.perf_counter() - begun
    begun = time.perf_counter()
    for state in states:
        for _ in range(STEPS // STEPS_PER_CALL):
            state, _ = train_steps(state, task)
        jax.block_until_ready(state)
    warm = time.perf_counter() - begun
    return {"whole": compile_seconds + warm, "warm": warm}


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in models.MIXERS or sys.argv[2] not in MODES:
        choices = f"{'|'.join(MODES)}, MIXER one of {', '.join(models.MIXERS)}"
        sys.exit(f"usage: python -m experiments.benchmarks.ensemble MIXER {choices}")
    print(json.dumps(time_training(*sys.argv[1:])))
