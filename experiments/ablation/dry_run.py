"""What running a study would take: trials, programs, time and memory, as far as earlier trials tell."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from experiments.ablation.groups import plan_groups
from experiments.ablation.result_store import open_store
from experiments.ablation.runner import reported_trials, tuning_trials
from experiments.ablation.study import Scale, Study, resolve_settings
from experiments.ablation.trials import candidate_rates
from training import builder, ensemble, trainer
from training.progress import format_duration

_STARTUP_SECONDS = 4.0  # that a program takes to build, compile and save, on two cores


def describe_plan(
    name: str,
    study: Study,
    scale: Scale,
    folder: Path,
    data_dir: str,
    selected: Mapping[str, Sequence[str]],
    recorded: Sequence[Mapping[str, Any]] = (),
) -> str:
    """One line per program that would be run, and a summary; time follows from the results at hand."""
    with open_store(folder) as store:
        settings = resolve_settings(study, scale, selected)
        tuning = tuning_trials(study, scale, settings)
        groups = plan_groups(store.results, tuning, study, folder, data_dir, measure=False)
        # Which rate will be the best is not known yet; they all cost the same.
        wanted = reported_trials(scale, settings, [candidate_rates(setting, scale)[0] for setting in settings])
        groups += plan_groups(store.results, wanted, study, folder, data_dir)
        results = [*store.results.values(), *recorded]
    speeds = {mixer: statistics.median(values) for mixer, values in training_speeds(results).items()}
    lines, trials, seconds, largest, unknown = [], 0, 0.0, 0.0, 0
    for group in groups:
        run = builder.build_run(group.config, group.data_dir)
        cost, members = trainer.run_costs(run), len(ensemble.plan_ensemble(group.config).seeds)
        speed = speeds.get(group.config["model"]["mixer"], speeds.get("", 0.0))
        flops = cost["step_flops"] * group.config["training"]["steps"] * members
        needed = flops / speed if speed and group.trained else 0
        memory = estimate_memory(run, cost, members)
        trials, seconds, largest = trials + members, seconds + needed + _STARTUP_SECONDS, max(largest, memory)
        unknown += not needed
        lines.append(
            f"{group.name:<44} {members:>3} cells  {cost['parameters']:>10,} parameters  "
            f"{memory / 2**20:>7.0f} MiB  {format_duration(needed + _STARTUP_SECONDS) if needed else '?':>8}"
        )
    rest = f", without {unknown} programs of which nothing is known" if unknown else ""
    lines.append(
        f"{name}: {trials} cells to run in {len(groups)} programs, about {format_duration(seconds)}{rest}; "
        f"at most {largest / 2**20:.0f} MiB at once. Time is judged by the speed of recorded cells, memory by "
        f"parameters and one batch of activations."
    )
    return "\n".join(lines)


def training_speeds(results: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    """FLOPs per second at which trials were trained, by mixer; those of all under ""."""
    speeds: dict[str, list[float]] = {}
    for result in results:
        if float(result["steps"]) and float(result["training_seconds"]) > 0:  # nan in old records
            speed = float(result["step_flops"]) * float(result["steps"]) / float(result["training_seconds"])
            for name in {result.get("config", {}).get("model.mixer", ""), ""}:
                speeds.setdefault(name, []).append(speed)
    return speeds


def estimate_memory(run: builder.Run, cost: Mapping[str, Any], ensemble_size: int) -> float:
    """Bytes, roughly: four copies of the parameters per member, and one member's gradient and activations."""
    batch, length = run.config["training"]["batch_size"], run.config["model"]["max_length"]
    shape = (batch, length) if run.task.vocabulary else (batch, length, run.task.channels)
    inputs = jax.ShapeDtypeStruct(shape, jnp.int32 if run.task.vocabulary else jnp.float32)

    def capture_activations(params: Any, inputs: Any) -> Any:
        return run.model.apply({"params": params}, inputs, capture_intermediates=True)[1]

    params = jax.eval_shape(lambda: trainer.init_params(run, jnp.uint32(0)))
    shapes = jax.eval_shape(capture_activations, params, inputs)
    activations = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(shapes))
    return 4 * cost["parameters"] * (4 * ensemble_size + 1) + 3 * activations
