"""A study's trials as a table, which is how a record in the repository holds them; and which of them are outdated.

Columns are the study's axes, `RECORD_COLUMNS` and one per metric. A field is empty where nothing is known.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.ablation.looks import parse_looks, scale_at_look
from experiments.ablation.study import Scale, Study, format_labels, grid_labels, measures_for, resolve_settings
from experiments.ablation.trials import COST_FIELDS, TrialRecord, trial_key, versions_are_current
from training.runtime import DEFAULT_DATA_DIR

OUTDATED_MARK = "†"  # behind a figure that rests on an outdated trial
RECORD_COLUMNS = (
    *("part", "seed", "learning_rate", "died_at", "best_step", "steps", *COST_FIELDS, "seconds", "training_seconds"),
    *("metric", "chance", "rule", "rule_score", "how", "device", "key", "revision", "measures", "looks", "claims"),
)
_YOUNGER_COLUMNS = ("measures", "looks", "claims")  # that old records lack
_NUMBERS = (*COST_FIELDS, "seconds", "training_seconds", "chance")  # nan where an old record has none


def tabulate_records(trials: Sequence[TrialRecord]) -> tuple[list[str], list[list[Any]]]:
    """Header and rows of a table that holds these trials."""
    axes = list(trials[0].labels)
    metrics = sorted({name for trial in trials for name in trial.result["metrics"]}, key=metric_sort_key)
    rows = []
    for trial in trials:
        result = trial.result
        rule, score = result["baseline"]
        fields: dict[str, Any] = {
            "looks": "",
            "claims": "",
            **result,
            "part": trial.phase,
            "seed": trial.seed,
            "learning_rate": trial.learning_rate,
            "rule": rule,
            "rule_score": _format_number(score),
            "chance": _format_number(result["chance"]),
            "seconds": _format_number(result["seconds"], 3),
            "training_seconds": _format_number(result["training_seconds"], 3),
            "revision": short_revision(result["revision"]),
            "measures": ";".join(f"{name}:{version}" for name, version in result.get("measured", {}).items()),
        }
        values = [result["metrics"].get(name) for name in metrics]
        rows.append(
            [*trial.labels.values(), *("" if fields[name] is None else fields[name] for name in RECORD_COLUMNS)]
            + ["" if value is None else f"{value:.6g}" for value in values]
        )
    return [*axes, *RECORD_COLUMNS, *metrics], rows


def _format_number(value: float, digits: int = 6) -> str:
    return "" if math.isnan(value) else f"{value:.{digits}g}"


def short_revision(revision: str) -> str:
    """Twelve digits of a commit, and the "+" that says that the source had changed since."""
    return revision[:12] + ("+" if revision.endswith("+") else "")


def metric_sort_key(metric: str) -> tuple[str, float]:
    """Metrics by name, and the points of a curve by x."""
    name, _, x = metric.partition("@")
    return name, float(x or -1)


def parse_records(rows: Sequence[Mapping[str, str]], study: Study, scale: Scale) -> list[TrialRecord]:
    """The trials in a record. Raises ValueError where it is not one of this study, or lacks trials of the scale."""
    axes = list(study.grid)
    labels = {axis: {str(label): label for label in scale.grid.get(axis, study.grid[axis])} for axis in axes}
    trials = []
    for row in rows:
        try:
            row = {**dict.fromkeys(_YOUNGER_COLUMNS, ""), **row}
            fields: Any = {name: row[name] for name in RECORD_COLUMNS}
            setting = {axis: labels[axis][row[axis]] for axis in axes}
            fields |= {name: float(fields[name] or "nan") for name in _NUMBERS}
            fields |= {
                "metrics": {name: float(v) for name, v in row.items() if name not in (*axes, *RECORD_COLUMNS) and v},
                "baseline": (fields["rule"], float(fields["rule_score"] or "nan")),
                "died_at": int(fields["died_at"]) if fields["died_at"] else None,
                "measured": {
                    name: int(version)
                    for name, _, version in (item.partition(":") for item in fields["measures"].split(";") if item)
                },
            }
            if not re.fullmatch(r"([0-9a-f]{8}(;[0-9a-f]{8})*)?", fields["claims"]):
                raise ValueError(f"claims={fields['claims']!r} are no fingerprints")
            trials.append(TrialRecord(setting, row["part"], int(row["seed"]), float(row["learning_rate"]), fields))
        except (KeyError, ValueError) as error:
            raise ValueError(f"the record is of another study: {error}; make it anew with --record") from None
    looks = parse_looks(trial.result.get("looks", "") for trial in trials)
    validate_coverage(trials, study, scale_at_look(scale, looks))
    return trials


def validate_coverage(trials: Sequence[TrialRecord], study: Study, scale: Scale) -> None:
    """Raise ValueError, naming setting and seed, where trials of the scale's grid are missing, or there are others.

    A record may leave out how the learning rate of a setting was chosen: all of its "choose" trials, or none of them;
    those at wider rates, which are tried only beyond an edge where the best rate is; and, where the study has a
    `registry_axis`, entries of the registry that are younger than the record.
    """
    settings = grid_labels(study, scale)
    if axis := study.registry_axis:
        recorded = {trial.labels[axis] for trial in trials}
        settings = [labels for labels in settings if labels[axis] in recorded]
    tried: dict[str, set[float]] = {}
    for trial in trials:
        if trial.phase == "choose":
            tried.setdefault(repr(trial.labels), set()).add(trial.learning_rate)
    is_tuned = len(scale.learning_rates) > 1 and study.trained
    wanted = [
        ("choose", labels, seed, rate)
        for labels in settings
        if is_tuned and repr(labels) in tried
        for rate in (*scale.learning_rates, *(rate for rate in scale.wider_rates if rate in tried[repr(labels)]))
        for seed in scale.tuning_seeds
    ]
    wanted += [("report", labels, seed, None) for labels in settings for seed in scale.seeds]
    present = [
        (trial.phase, trial.labels, trial.seed, trial.learning_rate if trial.phase == "choose" else None)
        for trial in trials
    ]
    wanted_count, present_count = Counter(map(repr, wanted)), Counter(map(repr, present))
    for what, candidates, count, other in (
        ("lacks", wanted, wanted_count, present_count),
        ("has too many of", present, present_count, wanted_count),
    ):
        for phase, labels, seed, rate in candidates:
            name = repr((phase, labels, seed, rate))
            if count[name] > other[name]:
                at = "" if rate is None else f" at rate {rate:g}"
                raise ValueError(
                    f"the record {what} {format_labels(labels)}, seed {seed}{at} ({phase}): it is damaged, or the "
                    f"study has changed; make it anew with --record"
                )


def outdated_records(
    trials: Sequence[TrialRecord], study: Study, scale: Scale, data_dir: str = DEFAULT_DATA_DIR
) -> list[TrialRecord]:
    """The trials that the present code would not find again, since VERSIONs, data or settings have changed.

    Where the data can't be had, this is unknown, and the trial counts as outdated.
    """
    configs = {repr(setting.labels): setting.config for setting in resolve_settings(study, scale)}

    def is_current(trial: TrialRecord) -> bool:
        if (config := configs.get(repr(trial.labels))) is None:
            return False
        reported = trial.phase == "report" and trial.result["died_at"] is None
        names = measures_for(study, trial.labels) if reported else ()
        try:
            key = trial_key(config, trial.seed, trial.learning_rate, study.trained, data_dir)
        except (OSError, ValueError):
            return False
        versions = trial.result.get("measured", {})  # none: recorded before measures had VERSIONs
        all_measured = not versions or set(names) <= set(versions)
        return trial.result["key"] == key and all_measured and versions_are_current(versions, names)

    return [trial for trial in trials if not is_current(trial)]


def outdated_note(outdated: int, total: int) -> str:
    """The sentence that explains the mark; empty where nothing is outdated."""
    if not outdated:
        return ""
    return (
        f"{OUTDATED_MARK}: {outdated} of {total} cells are of older code, whose VERSIONs, data or settings have "
        f"changed."
    )
