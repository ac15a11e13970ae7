"""Groups of trials that share a compiled program: which ones are missing, and how one is run."""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax

from experiments.ablation.study import Labels, Setting, Study, format_labels, measures_for
from experiments.ablation.trials import TrialResult, is_complete, trial_identity, trial_key
from experiments.measures import registry
from training import builder, ensemble, export, files, loop, provenance, trainer
from training.builder import Run
from training.progress import format_duration


class TrialGroup(NamedTuple):
    """Seeds × learning rates of one config, trained in one program. Plain data, so that it can be sent to a machine."""

    name: str
    labels: Labels  # what its settings have in common
    config: dict[str, Any]
    directory: str
    measures: tuple[str, ...]
    trained: bool
    data_dir: str
    allow_fewer_devices: bool = False


WantedTrials = Sequence[tuple[Setting, Sequence[tuple[int, float]]]]  # settings, each with its (seed, learning rate)
Executor = Callable[[Sequence[TrialGroup]], Iterator[tuple[TrialGroup, list[TrialResult]]]]


def plan_groups(
    results: Mapping[str, TrialResult],
    wanted: WantedTrials,
    study: Study,
    folder: Path,
    data_dir: str,
    mode: str = "auto",
    measure: bool = True,
) -> list[TrialGroup]:
    """The groups that give those of the `wanted` trials that `results` lacks; with `measure`, the study's measures too.

    Settings that differ in nothing but the learning rate share a program. A group is every seed with every rate, so
    rates that lack different seeds become separate groups.
    """
    programs: dict[str, tuple[Setting, list[Labels], dict[float, list[int]]]] = {}
    for setting, trials in wanted:
        program = trial_key(setting.config, 0, 0, study.trained, data_dir)
        first, labels, missing = programs.setdefault(program, (setting, [], {}))
        labels.append(setting.labels)
        names = measures_for(study, setting.labels) if measure else ()
        for seed, rate in trials:
            if not is_complete(results.get(trial_key(first.config, seed, rate, study.trained, data_dir)), names):
                missing.setdefault(rate, []).append(seed)
    groups = []
    for setting, labels, missing in programs.values():
        shared = {axis: v for axis, v in labels[0].items() if all(other[axis] == v for other in labels)}
        names = measures_for(study, setting.labels) if measure else ()
        rates_by_seeds: dict[tuple[int, ...], list[float]] = {}
        for rate, seeds in missing.items():
            rates_by_seeds.setdefault(tuple(seeds), []).append(rate)
        for seeds, rates in rates_by_seeds.items():
            config = json.loads(json.dumps(files.to_jsonable(setting.config)))
            config["ensemble"] |= {"seeds": list(seeds), "learning_rates": rates, "mode": mode}
            keys = [trial_key(config, seed, rate, study.trained, data_dir) for rate in rates for seed in seeds]
            directory = files.fingerprint({"cells": keys} if mode == "auto" else {"cells": keys, "how": mode})
            groups.append(
                TrialGroup(
                    name=format_labels(shared or labels[0]),
                    labels=shared,
                    config=config,
                    directory=str(folder / "groups" / directory),
                    measures=names,
                    trained=study.trained,
                    data_dir=data_dir,
                )
            )
    return groups


class _Trained(NamedTuple):
    """A group's models: one entry per member in `members` and `params`."""

    members: Sequence[Mapping[str, Any]]
    params: Sequence[Any]
    costs: Mapping[str, Any]
    steps: int
    seconds: float
    training_seconds: float
    how: str
    environment: Mapping[str, Any]


def _train_group(group: TrialGroup, run: Run) -> _Trained:
    """Train a group, or find it in its directory."""
    directory = Path(group.directory)
    result = loop.train(
        group.config,
        directory,
        data_dir=group.data_dir,
        name=group.name,
        save_seconds=10,
        tensorboard=False,
        allow_fewer_devices=group.allow_fewer_devices,
    )
    members = result["members"]
    placement = read_group_file(directory, "group.json", files.GROUP_SCHEMA)
    shards = placement.get("shards", 1)  # an older run does not have it
    return _Trained(
        members=members,
        params=export.load_members(directory) if group.measures else [None] * len(members),
        costs=result["cost"],
        steps=result["steps"],
        seconds=result["seconds"],
        training_seconds=result["training_seconds"],
        how=f"{placement['mode']} on {placement['devices']}" + (f" × {shards}" if shards > 1 else ""),
        environment=read_group_file(directory, "environment.json", files.ENVIRONMENTS_SCHEMA)[-1],
    )


def _initialize_group(group: TrialGroup, run: Run) -> _Trained:
    """The models of a group as they begin."""
    plan = ensemble.plan_ensemble(group.config)
    members = [
        {"seed": seed, "learning_rate": rate, "best_step": 0, "died_at": None, "scores": {}}
        for seed, rate in zip(plan.seeds, plan.learning_rates, strict=True)
    ]
    return _Trained(
        members=members,
        params=[trainer.init_params(run, jax.numpy.uint32(member["seed"])) for member in members],
        costs=trainer.run_costs(run),
        steps=0,
        seconds=0.0,
        training_seconds=0.0,
        how="not trained",
        environment=provenance.describe_environment(),
    )


def run_group(group: TrialGroup) -> list[TrialResult]:
    """Train and measure a group; one result per member. What was run before is found in the group's directory."""
    run = builder.build_run(group.config, group.data_dir)
    trained = _train_group(group, run) if group.trained else _initialize_group(group, run)
    begun = time.monotonic()
    alive = [i for i, member in enumerate(trained.members) if member["died_at"] is None]
    models = [(trained.params[i], trained.members[i]["seed"]) for i in alive]
    measured = dict(zip(alive, registry.evaluate_measures(run, group.measures, models), strict=True))
    seconds = trained.seconds + time.monotonic() - begun
    return [
        _trial_result(group, run, trained, member, measured.get(i, {}), seconds / len(trained.members))
        for i, member in enumerate(trained.members)
    ]


def _trial_result(
    group: TrialGroup,
    run: Run,
    trained: _Trained,
    member: Mapping[str, Any],
    measured: Mapping[str, float],
    seconds: float,
) -> TrialResult:
    identity = trial_identity(group.config, member["seed"], member["learning_rate"], group.trained, group.data_dir)
    scores = {split.replace("_", "@", 1): score for split, score in member["scores"].items()}
    if "validation" in member:
        scores["validation"] = member["validation"]
    return TrialResult(
        key=files.fingerprint(identity),
        seed=member["seed"],
        learning_rate=member["learning_rate"],
        metrics={**scores, **measured},
        metric=run.task.metric,
        best=run.task.metric_mode,
        chance=run.task.chance,
        baseline=list(run.task.baseline),
        best_step=member["best_step"],
        died_at=member["died_at"],
        steps=trained.steps,
        parameters=trained.costs["parameters"],
        mixer_parameters=trained.costs["mixer_parameters"],
        state_floats=trained.costs["state_floats"],
        step_flops=trained.costs["step_flops"],
        seconds=seconds,
        training_seconds=trained.training_seconds / len(trained.members),
        group=Path(group.directory).name,
        how=trained.how,
        revision=trained.environment["revision"] + ("+" if trained.environment["source_changed"] else ""),
        device=trained.environment["device"]["kind"],
        packages=trained.environment["packages"],
        measured={name: registry.MEASURE_VERSIONS[name] for name in group.measures},
        config=identity,
    )


def read_group_file(directory: Path, name: str, schema: Mapping[str, Any]) -> Any:
    """A file in a group's directory. Raises ValueError, in one line, where it does not hold what it should."""
    return files.read_json(directory / name, schema, f"delete {directory}, and its group is run again")


def run_sequentially(groups: Sequence[TrialGroup]) -> Iterator[tuple[TrialGroup, list[TrialResult]]]:
    """Run groups in this process, one after another; progress is shown with an estimate of the time left."""
    begun, done, total = time.monotonic(), 0, sum(map(group_work, groups))
    for number, group in enumerate(groups, 1):
        left = f", {format_duration((time.monotonic() - begun) / done * (total - done))} left" if done else ""
        yield group, run_group(group._replace(name=f"[{number}/{len(groups)}{left}] {group.name}"))
        done += group_work(group)


def allow_fewer_devices(execute: Executor) -> Executor:
    """The same executor, which continues on the devices at hand what was begun on more."""

    def execute_here(groups: Sequence[TrialGroup]) -> Iterator[tuple[TrialGroup, list[TrialResult]]]:
        return execute([group._replace(allow_fewer_devices=True) for group in groups])

    return execute_here


def group_work(group: TrialGroup) -> int:
    """How long a group takes, in an arbitrary unit: members × steps."""
    members = group.config["ensemble"]
    return len(members["seeds"]) * len(members["learning_rates"]) * group.config["training"]["steps"]
