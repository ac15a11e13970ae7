"""Run a study: choose learning rates, train what is missing, find the rest again.

A trial is found by a key of everything that its result depends on: resolved config, VERSIONs, data, seed and rate.
Studies that share a results folder therefore share trials, a study that grows runs what is new, and one that was
stopped continues, inside its unfinished group from the last checkpoint.
"""

from collections import ChainMap
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tasks
from experiments.ablation.groups import Executor, TrialGroup, WantedTrials, plan_groups, run_sequentially
from experiments.ablation.learning_rates import next_wider_rate, tied_rates
from experiments.ablation.result_store import ResultStore, open_store
from experiments.ablation.study import Scale, Setting, Study, measures_for, resolve_settings
from experiments.ablation.trials import TrialRecord, TrialResult, candidate_rates, trial_key
from experiments.measures import registry
from training import runtime
from training.runtime import DEFAULT_DATA_DIR


def tuning_trials(study: Study, scale: Scale, selected: Sequence[Setting]) -> WantedTrials:
    """Every learning rate on the tuning seeds, without the wider ones; nothing where there is no choice."""
    if len(scale.learning_rates) < 2 or not study.trained:
        return []
    grid = [(seed, rate) for rate in scale.learning_rates for seed in scale.tuning_seeds]
    return [(setting, grid) for setting in selected]


def reported_trials(scale: Scale, selected: Sequence[Setting], learning_rates: Sequence[float]) -> WantedTrials:
    """The reported seeds of each setting at its learning rate."""
    return [
        (setting, [(seed, rate) for seed in scale.seeds])
        for setting, rate in zip(selected, learning_rates, strict=True)
    ]


def describe_group(group: TrialGroup, results: Sequence[TrialResult]) -> str:
    """One line for a finished group: its scores, one per member, and its seconds."""
    values = [result["metrics"].get("test") for result in results]
    scores = " ".join("-" if score is None else f"{score:.4g}" for score in values)
    seconds = sum(result["seconds"] for result in results)
    return f"{group.name:<40} {results[0]['metric'] if group.trained else 'measured'} {scores}  {seconds:.0f} s"


def run_study(
    study: Study,
    scale: Scale,
    folder: Path,
    *,
    data_dir: str = DEFAULT_DATA_DIR,
    mode: str = "auto",
    execute: Executor = run_sequentially,
    selected: Mapping[str, Sequence[str]] | None = None,
    recorded: Sequence[TrialRecord] = (),
    log: Callable[[str], Any] = print,
    describe: Callable[[TrialGroup, Sequence[TrialResult]], str] = describe_group,
) -> list[TrialRecord]:
    """Run or find every trial of a study; each setting is reported at the learning rate that did best.

    `selected` keeps only settings with these labels, as {axis: labels}. `recorded` trials choose learning rates where
    they are what would be trained now; the rest is trained. `mode` is `ensemble.mode` of every group. `log` gets
    `describe` of each finished group.
    """
    settings = resolve_settings(study, scale, selected)
    # Untrained models are measured one by one, and timed each alone: they need one device.
    members = max(len(scale.seeds), len(scale.learning_rates) * len(scale.tuning_seeds)) if study.trained else 1
    runtime.configure_runtime(members)
    trials: list[TrialRecord] = []
    with open_store(folder) as store:
        rates = [candidate_rates(setting, scale)[0] for setting in settings]
        known = ChainMap(store.results, {trial.result["key"]: trial.result for trial in recorded})
        tried: list[list[TrialRecord]] = [[] for _ in settings]
        to_try = dict(enumerate(tuning_trials(study, scale, settings)))
        while to_try:  # again where the best rate is at an edge, which a wider rate may move
            groups = plan_groups(known, list(to_try.values()), study, folder, data_dir, mode, measure=False)
            _fill_store(store, groups, execute, log, describe)
            wider: dict[int, tuple[Setting, Sequence[tuple[int, float]]]] = {}
            for i, (setting, grid) in to_try.items():
                tried[i] += _read_trials(known, study, setting, grid, "choose", data_dir)
                ties = _best_learning_rates(setting, tried[i])
                rates[i] = min(ties)
                further = next_wider_rate(ties, {trial.learning_rate for trial in tried[i]}, scale.wider_rates)
                if further is not None:
                    wider[i] = (setting, [(seed, further) for seed in scale.tuning_seeds])
            to_try = wider
        trials += [trial for of_setting in tried for trial in of_setting]
        wanted = reported_trials(scale, settings, rates)
        groups = plan_groups(store.results, wanted, study, folder, data_dir, mode)
        _fill_store(store, groups, execute, log, describe)
        for setting, grid in wanted:
            trials += _read_trials(store.results, study, setting, grid, "report", data_dir)
    return trials


def _fill_store(
    store: ResultStore,
    groups: Sequence[TrialGroup],
    execute: Executor,
    log: Callable[[str], Any],
    describe: Callable[[TrialGroup, Sequence[TrialResult]], str],
) -> None:
    for group, results in execute(groups):
        store.append_results(results)
        log(describe(group, results))


def _read_trials(
    results: Mapping[str, TrialResult],
    study: Study,
    setting: Setting,
    wanted: Iterable[tuple[int, float]],
    phase: str,
    data_dir: str,
) -> list[TrialRecord]:
    """Results as trials of the study, without what other studies measured in them."""
    own = measures_for(study, setting.labels) if phase == "report" else ()
    foreign = set(registry.MEASURES) - set(own)
    trials = []
    for seed, rate in wanted:
        result = results[trial_key(setting.config, seed, rate, study.trained, data_dir)]
        kept: TrialResult = {**result}
        kept["metrics"] = {n: value for n, value in result["metrics"].items() if n.split("@")[0] not in foreign}
        kept["measured"] = {name: result.get("measured", {}).get(name, 1) for name in own}
        trials.append(TrialRecord(setting.labels, phase, seed, rate, kept))
    return trials


def _best_learning_rates(setting: Setting, trials: Iterable[TrialRecord]) -> list[float]:
    scores: dict[float, list[float]] = {}
    for trial in trials:
        scores.setdefault(trial.learning_rate, []).append(trial.get_metric("validation"))
    return tied_rates(scores, tasks.TASKS[setting.config["task"]["name"]].metric_mode)
