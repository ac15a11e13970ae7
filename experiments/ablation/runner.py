"""Runs the cells of a study, finds again those that were run, and keeps what each gave.

A results folder holds `cells.jsonl`, one line a finished cell and only ever appended to; and `groups/`, a run of
train.py for each group of cells that share a program: the seeds and learning rates of one setting. Cells are found by
a key of what makes them: resolved config, VERSIONs, seed and rate. So studies that share a folder share cells, a study
that grows runs what is new, and one that was killed goes on, inside its unfinished group from the last checkpoint.

The cells of a group are appended in one write, each line with its place among them and a checksum. Of a group that is
not whole there no cell is taken; it is found again in its directory.
"""

import contextlib
import itertools
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax

import tasks
from data import DEFAULT_DATA_DIR
from experiments import comparison
from experiments.ablation.learning_rates import choose_learning_rate
from experiments.ablation.study import Labels, Scale, Setting, Study, format_labels, grid_labels, resolve_settings
from experiments.measures import registry
from training import builder, ensemble, export, files, loop, provenance, runtime, trainer
from training.progress import format_duration

STORE_FORMAT = 2  # of a results folder: raised when an older program could not read it any more; 1 had no checksums

_NUMBER, _INTEGER, _TEXT = {"type": "number"}, {"type": "integer"}, {"type": "string"}
COST_FIELDS = ("parameters", "mixer_parameters", "state_floats", "step_flops")
TRIAL_SCHEMA: dict[str, Any] = {  # the JSON schema of a cell
    "type": "object",
    "required": ["key", "seed", "learning_rate", "metrics", "metric", "best", "chance", "baseline", "best_step",
                 "died_at", "steps", *COST_FIELDS, "seconds", "training_seconds", "group", "how", "revision", "device",
                 "packages", "config"],
    "properties": {
        **dict.fromkeys(("key", "metric", "best", "group", "how", "revision", "device"), _TEXT),
        **dict.fromkeys(("learning_rate", "chance", "seconds", "training_seconds", *COST_FIELDS), _NUMBER),
        **dict.fromkeys(("seed", "best_step", "steps", "place", "of"), _INTEGER),
        "metrics": {"type": "object", "additionalProperties": {"type": ["number", "null"]}},
        "measured": {"type": "object", "additionalProperties": _INTEGER},
        "baseline": {"type": "array", "prefixItems": [_TEXT, _NUMBER], "minItems": 2, "maxItems": 2},
        "died_at": {"type": ["integer", "null"]},
        "packages": {"type": "object", "additionalProperties": _TEXT},
        "config": {"type": "object"},
    },
}  # fmt: skip
_FOLDER_SCHEMA = {"type": "object", "required": ["format"], "properties": {"format": {"type": "integer", "minimum": 1}}}


class TrialGroup(NamedTuple):
    """A group of cells to run: plain data, so that it can be sent to another process or machine."""

    name: str
    config: dict[str, Any]
    directory: str
    measures: tuple[str, ...]
    trained: bool
    data_dir: str
    allow_fewer_devices: bool = False


class TrialRecord(NamedTuple):
    """A cell of a study: its setting, what its seed was for ("choose" or "report"), and what is kept of it."""

    labels: Labels
    phase: str
    seed: int
    learning_rate: float
    result: dict[str, Any]

    def get_metric(self, metric: str) -> float:
        """nan where the cell diverged or has no such number."""
        found = self.result["metrics"].get(metric)
        return float("nan") if found is None or self.result["died_at"] is not None else float(found)

    def get_curve(self, metric: str) -> dict[float, float]:
        """The numbers of a curve, by x."""
        points = {name.split("@")[1]: name for name in self.result["metrics"] if name.startswith(f"{metric}@")}
        return {float(x): self.get_metric(points[x]) for x in sorted(points, key=float)}


class ResultStore:
    """The cells in a results folder, by key; what was said last of a cell counts, measures add up."""

    def __init__(self, folder: Path, require_checksums: bool = True):
        """Without `require_checksums`, lines without a checksum are taken too. Raises ValueError, in one line, for
        damage."""
        self.folder, self.path = folder, folder / "cells.jsonl"
        self.results: dict[str, dict[str, Any]] = {}
        data = self.path.read_bytes() if self.path.exists() else b""
        whole = data[: data.rfind(b"\n") + 1]  # behind it, a line that a kill cut off
        group: list[dict[str, Any]] = []
        for number, line in enumerate(whole.split(b"\n")[:-1], 1):
            try:
                cell = parse_result(line, require_checksums)
            except ValueError as error:
                raise ValueError(
                    f"{self.path}: line {number} is damaged ({error}); delete that line, and its group gives it again"
                ) from None
            place, of = cell.pop("place", 0), cell.pop("of", 1)
            if place != len(group):  # the rest of the one before is missing, or the beginning of this
                group = []
            if place == len(group):
                group.append(cell)
            if len(group) == of:
                for one in group:
                    self.merge_result(one)
                group = []
        if len(whole) < len(data):
            os.truncate(self.path, len(whole))

    def merge_result(self, result: dict[str, Any]) -> None:
        """Keep it in memory; what was measured by another definition gives way."""
        known = self.results.get(result["key"], {"metrics": {}})
        measured = result.get("measured", {})
        kept = {name: value for name, value in known["metrics"].items() if name.split("@")[0] not in measured}
        more = {"metrics": {**kept, **result["metrics"]}, "measured": {**known.get("measured", {}), **measured}}
        self.results[result["key"]] = {**result, **more}

    def append_results(self, results: Sequence[Mapping[str, Any]]) -> None:
        """The cells of a group, in one write: a kill loses all of them or none. Raises OSError where it can't be."""
        lines = [files.to_json_line({**cell, "place": i, "of": len(results)}) for i, cell in enumerate(results)]
        data = "".join(f"{line}\n" for line in lines).encode()
        with files.with_path(self.path), self.path.open("ab", buffering=0) as file:
            while data:
                data = data[file.write(data) :]
            os.fsync(file.fileno())
        for cell in results:
            self.merge_result(files.to_jsonable(cell))


def parse_result(line: bytes, require_checksum: bool) -> dict[str, Any]:
    """The cell of a line of cells.jsonl. Raises ValueError where it is not one, or not of the key that it has."""
    required = [*TRIAL_SCHEMA["required"], *(["checksum"] if require_checksum else [])]
    cell = files.parse_json(line, {**TRIAL_SCHEMA, "required": required})
    made_of = cell["config"]
    if files.fingerprint(made_of) != cell["key"]:
        raise ValueError("its key is not that of its config")
    for name in ("seed", "learning_rate"):
        if made_of.get(name) != cell[name]:
            raise ValueError(f"its {name} is not that of its config")
    return cell


@contextlib.contextmanager
def open_store(folder: Path) -> Iterator[ResultStore]:
    """The store in `folder`, held against other processes. Raises ValueError where it is in use, damaged or too new."""
    folder.mkdir(parents=True, exist_ok=True)
    with files.lock_directory(folder):
        path, cells = folder / "format.json", folder / "cells.jsonl"
        found = files.read_json(path, _FOLDER_SCHEMA)["format"] if path.exists() else 1
        if found > STORE_FORMAT:
            raise ValueError(
                f"{folder} was written by a newer version of this program (format {found}, this one reads {STORE_FORMAT}); "
                f"update, or give another --workdir"
            )
        store = ResultStore(folder, require_checksums=found == STORE_FORMAT)
        if found < STORE_FORMAT:
            if cells.exists():
                lines = [line for line in cells.read_bytes().split(b"\n") if line]
                lines = [files.to_json_line(files.parse_json(line, TRIAL_SCHEMA)) for line in lines]
                files.write_atomically(cells, "".join(f"{line}\n" for line in lines).encode())
            files.write_json(path, {"format": STORE_FORMAT})
        yield store


# ---- which cells, in which groups -----------------------------------------------------------------------------------


def trial_identity(
    config: Mapping[str, Any], seed: int, learning_rate: float, trained: bool = True, data_dir: str = DEFAULT_DATA_DIR
) -> dict[str, Any]:
    """What makes a cell this one and no other."""
    whole = comparison.config_identity(config, data_dir)
    apart = ("ensemble.", "optimizer.learning_rate", *(() if trained else ("training.",)))
    kept = {name: value for name, value in whole.items() if not name.startswith(apart)}
    return {**kept, "seed": seed, "learning_rate": float(learning_rate), **({} if trained else {"trained": False})}


def trial_key(
    config: Mapping[str, Any], seed: int, learning_rate: float, trained: bool = True, data_dir: str = DEFAULT_DATA_DIR
) -> str:
    return files.fingerprint(trial_identity(config, seed, learning_rate, trained, data_dir))


def candidate_rates(setting: Setting, scale: Scale) -> tuple[float, ...]:
    return scale.learning_rates or (setting.config["optimizer"]["learning_rate"],)


def is_complete(result: Mapping[str, Any] | None, measure_names: Sequence[str]) -> bool:
    """Whether all that is wanted of a cell is there, measured as it is now. Of one that diverged nothing more is to be
    had."""
    if result is None:
        return False
    there = {name.split("@")[0] for name in result["metrics"]}
    return result["died_at"] is not None or (
        set(measure_names) <= there and versions_are_current(result.get("measured", {}), measure_names)
    )


def versions_are_current(versions: Mapping[str, int], measure_names: Sequence[str]) -> bool:
    """Whether these measures were taken with the VERSIONs that they have now; 1 where none was kept."""
    return all(versions.get(name, 1) == registry.MEASURE_VERSIONS[name] for name in measure_names)


WantedTrials = Sequence[tuple[Setting, Sequence[tuple[int, float]]]]  # of each setting the cells, (seed, rate)


def tuning_trials(study: Study, scale: Scale, selected: Sequence[Setting]) -> WantedTrials:
    """Every rate on the seeds for choosing; nothing where there is no choice."""
    if len(scale.learning_rates) < 2 or not study.trained:
        return []
    grid = [(seed, rate) for rate in scale.learning_rates for seed in scale.tuning_seeds]
    return [(one, grid) for one in selected]


def reported_trials(scale: Scale, selected: Sequence[Setting], learning_rates: Sequence[float]) -> WantedTrials:
    """The seeds that are reported, of each setting at its rate."""
    return [(one, [(seed, rate) for seed in scale.seeds]) for one, rate in zip(selected, learning_rates, strict=True)]


def plan_groups(
    store: ResultStore,
    wanted: WantedTrials,
    measure_names: Sequence[str],
    study: Study,
    data_dir: str,
    mode: str = "auto",
) -> list[TrialGroup]:
    """The jobs that give what is missing of these cells.

    Settings that differ in their learning rate alone have one program, and what they lack is one job; rates that lack
    other seeds are another, since a group is every seed with every rate.
    """
    programs: dict[str, tuple[Setting, list[Labels], dict[float, list[int]]]] = {}
    for setting, cells in wanted:
        program = trial_key(setting.config, 0, 0, study.trained, data_dir)
        first, labels, lacking = programs.setdefault(program, (setting, [], {}))
        labels.append(setting.labels)
        for seed, rate in cells:
            if not is_complete(
                store.results.get(trial_key(first.config, seed, rate, study.trained, data_dir)), measure_names
            ):
                lacking.setdefault(rate, []).append(seed)
    jobs = []
    for setting, labels, lacking in programs.values():
        shared = {axis: v for axis, v in labels[0].items() if all(other[axis] == v for other in labels)}
        name = format_labels(shared or labels[0])
        together: dict[tuple[int, ...], list[float]] = {}
        for rate, seeds in lacking.items():
            together.setdefault(tuple(seeds), []).append(rate)
        for seeds, some in together.items():
            config = json.loads(json.dumps(files.to_jsonable(setting.config)))
            config["ensemble"] |= {"seeds": list(seeds), "learning_rates": some, "how": mode}
            cells = [trial_key(config, s, r, study.trained, data_dir) for r in some for s in seeds]
            group = files.fingerprint({"cells": cells} if mode == "auto" else {"cells": cells, "how": mode})
            jobs.append(
                TrialGroup(
                    name, config, str(store.folder / "groups" / group), tuple(measure_names), study.trained, data_dir
                )
            )
    return jobs


# ---- running them ---------------------------------------------------------------------------------------------------


def run_group(job: TrialGroup) -> list[dict[str, Any]]:
    """Run a group: what is to be kept of each of its cells. Found in its directory, where it was run before."""
    run = builder.build_run(job.config, job.data_dir)
    directory = Path(job.directory)
    if job.trained:
        result = loop.train(
            job.config,
            directory,
            data_dir=job.data_dir,
            name=job.name,
            save_seconds=10,
            tensorboard=False,
            allow_fewer_devices=job.allow_fewer_devices,
        )
        members, cost = result["members"], result["cost"]
        environment = read_group_file(directory, "environment.json", files.ENVIRONMENTS_SCHEMA)[-1]
        params = export.load_members(directory) if job.measures else [None] * len(members)
        group = read_group_file(directory, "group.json", files.GROUP_SCHEMA)
        shards = group.get("shards", 1)  # an older run does not have it
        how = f"{group['how']} on {group['devices']}" + f" × {shards}" * (shards > 1)
    else:
        group = ensemble.plan_ensemble(job.config)
        pairs = zip(group.seeds, group.learning_rates, strict=True)
        members = [{"seed": s, "learning_rate": r, "best_step": 0, "died_at": None, "scores": {}} for s, r in pairs]
        cost, result, how = trainer.run_costs(run), {"seconds": 0.0, "training_seconds": 0.0, "steps": 0}, "not trained"
        environment = provenance.describe_environment()
        params = [trainer.init_params(run, jax.numpy.uint32(member["seed"])) for member in members]
    begun = time.monotonic()
    lived = [i for i, member in enumerate(members) if member["died_at"] is None]
    taken = registry.evaluate_measures(run, job.measures, [(params[i], members[i]["seed"]) for i in lived])
    found = dict(zip(lived, taken, strict=True))
    share = 1 / len(members)
    return [
        {
            "key": trial_key(job.config, member["seed"], member["learning_rate"], job.trained, job.data_dir),
            "seed": member["seed"],
            "learning_rate": member["learning_rate"],
            "metrics": {
                **{split.replace("_", "@", 1): score for split, score in member["scores"].items()},
                **({"validation": member["validation"]} if "validation" in member else {}),
                **found.get(i, {}),
            },
            "metric": run.task.metric,
            "best": run.task.best,
            "chance": run.task.chance,
            "baseline": list(run.task.baseline),
            "best_step": member["best_step"],
            "died_at": member["died_at"],
            "steps": result["steps"],
            **cost,
            "seconds": share * (result["seconds"] + time.monotonic() - begun),
            "training_seconds": share * result["training_seconds"],
            "group": directory.name,
            "how": how,
            "revision": environment["revision"] + "+" * environment["source_changed"],
            "device": environment["device"]["kind"],
            "packages": environment["packages"],
            "measured": {name: registry.MEASURE_VERSIONS[name] for name in job.measures},
            "config": trial_identity(job.config, member["seed"], member["learning_rate"], job.trained, job.data_dir),
        }
        for i, member in enumerate(members)
    ]


def read_group_file(directory: Path, name: str, schema: Mapping[str, Any]) -> Any:
    """A file of a group's directory. Raises ValueError, in one line, where it does not hold what it should."""
    return files.read_json(directory / name, schema, f"delete {directory}, and its group is run again")


Executor = Callable[[Sequence[TrialGroup]], Iterator[tuple[TrialGroup, list[dict[str, Any]]]]]


def run_sequentially(groups: Sequence[TrialGroup]) -> Iterator[tuple[TrialGroup, list[dict[str, Any]]]]:
    """Here, one after another."""
    begun, done, total = time.monotonic(), 0, sum(map(group_work, groups))
    for number, job in enumerate(groups, 1):
        left = f", {format_duration((time.monotonic() - begun) / done * (total - done))} left" if done else ""
        name = f"[{number}/{len(groups)}{left}] {job.name}"
        yield job, run_group(job._replace(name=name))
        done += group_work(job)


def group_work(job: TrialGroup) -> int:
    """A guess at how long a job takes, in any unit: replicas × steps."""
    replicas = job.config["ensemble"]
    return len(replicas["seeds"]) * len(replicas["learning_rates"]) * job.config["training"]["steps"]


def run_study(
    study: Study,
    scale: Scale,
    folder: Path,
    *,
    data_dir: str = DEFAULT_DATA_DIR,
    mode: str = "auto",
    execute: Executor = run_sequentially,
    selected: Mapping[str, Sequence[str]] | None = None,
    log: Callable[[str], Any] = print,
) -> list[TrialRecord]:
    """Every cell of the study, run or found; the reported ones of each setting at the rate that did best.

    `mode` is that of `ensemble.mode`: with "measured", each group times its ways before its first step.
    """
    some = resolve_settings(study, scale, selected)
    # What is not trained is measured one by one, and timed as it runs alone.
    runtime.configure_runtime(
        max(len(scale.seeds), len(scale.learning_rates) * len(scale.tuning_seeds)) if study.trained else 1
    )
    with open_store(folder) as store:
        lines: list[TrialRecord] = []
        best = [candidate_rates(one, scale)[0] for one in some]
        if tried := tuning_trials(study, scale, some):
            fill_store(store, plan_groups(store, tried, (), study, data_dir, mode), execute, log)
            found = [read_records(store, study, one, grid, "choose", data_dir) for one, grid in tried]
            best = [best_learning_rate(one, cells) for one, cells in zip(some, found, strict=True)]
            lines += itertools.chain.from_iterable(found)
        wanted = reported_trials(scale, some, best)
        fill_store(store, plan_groups(store, wanted, study.measures, study, data_dir, mode), execute, log)
        for one, cells in wanted:
            lines += read_records(store, study, one, cells, "report", data_dir)
    return lines


def fill_store(store: ResultStore, groups: Sequence[TrialGroup], execute: Executor, log: Callable[[str], Any]) -> None:
    for job, cells in execute(groups):
        store.append_results(cells)
        some = [cell["metrics"].get("test") for cell in cells]
        scores = " ".join("-" if score is None else f"{score:.4g}" for score in some)
        seconds = sum(cell["seconds"] for cell in cells)
        log(f"{job.name:<40} {cells[0]['metric'] if job.trained else 'measured'} {scores}  {seconds:.0f} s")


def read_records(
    store: ResultStore,
    study: Study,
    setting: Setting,
    trials: Iterable[tuple[int, float]],
    phase: str,
    data_dir: str = DEFAULT_DATA_DIR,
) -> list[TrialRecord]:
    """The cells as lines of the study, without what another study had measured in them."""
    mine = study.measures if phase == "report" else ()
    foreign = set(registry.MEASURES) - set(mine)
    lines = []
    for seed, rate in trials:
        cell = store.results[trial_key(setting.config, seed, rate, study.trained, data_dir)]
        metrics = {name: value for name, value in cell["metrics"].items() if name.split("@")[0] not in foreign}
        measured = {name: cell["measured"].get(name, 1) for name in mine}
        lines.append(TrialRecord(setting.labels, phase, seed, rate, {**cell, "metrics": metrics, "measured": measured}))
    return lines


def best_learning_rate(setting: Setting, trials: Iterable[TrialRecord]) -> float:
    scores: dict[float, list[float]] = {}
    for line in trials:
        scores.setdefault(line.learning_rate, []).append(line.get_metric("validation"))
    return choose_learning_rate(scores, tasks.TASKS[setting.config["task"]["name"]].best)


# ---- records: the same lines as a table -----------------------------------------------------------------------------

RECORD_COLUMNS = ("part", "seed", "learning_rate", "died_at", "best_step", "steps", "parameters", "mixer_parameters",
           "state_floats", "step_flops", "seconds", "training_seconds", "metric", "chance", "rule", "rule_score", "how",
           "device", "key", "revision", "measures")  # fmt: skip


def tabulate_records(trials: Sequence[TrialRecord]) -> tuple[list[str], list[list[Any]]]:
    """Header and rows: the axes, what is known of a cell, and its metrics."""
    axes = list(trials[0].labels)
    metrics = sorted({name for line in trials for name in line.result["metrics"]}, key=metric_sort_key)
    rows = []
    for line in trials:
        rule, score = line.result["baseline"]
        cell = {**line.result, "part": line.phase, "rule": rule, "rule_score": f"{score:.6g}"}
        cell |= {
            "seed": line.seed,
            "learning_rate": line.learning_rate,
            "chance": f"{cell['chance']:.6g}",
            "revision": short_revision(cell["revision"]),
            "measures": ";".join(f"{name}:{version}" for name, version in cell.get("measured", {}).items()),
        }
        cell |= {name: f"{cell[name]:.3g}" for name in ("seconds", "training_seconds")}
        values = [line.result["metrics"].get(name) for name in metrics]
        rows.append(
            [*line.labels.values(), *("" if cell[name] is None else cell[name] for name in RECORD_COLUMNS)]
            + ["" if value is None else f"{value:.6g}" for value in values]
        )
    return [*axes, *RECORD_COLUMNS, *metrics], rows


def short_revision(revision: str) -> str:
    """Twelve digits of a commit, and the "+" that says that the source had changed since."""
    return revision[:12] + "+" * revision.endswith("+")


def metric_sort_key(metric: str) -> tuple[str, float]:
    name, _, x = metric.partition("@")
    return name, float(x or -1)


def parse_records(rows: Sequence[Mapping[str, str]], study: Study, scale: Scale) -> list[TrialRecord]:
    """The lines that a record in the repository holds. Raises ValueError where it is not one of this study, or lacks
    seeds or rates of the scale."""
    grid = list(study.grid)
    labels = {axis: {str(label): label for label in scale.grid.get(axis, study.grid[axis])} for axis in grid}
    lines = []
    for row in rows:
        try:
            cell: dict[str, Any] = {
                name: row.get(name, "") if name == "measures" else row[name] for name in RECORD_COLUMNS
            }
            found = {axis: labels[axis][row[axis]] for axis in grid}
            metrics = {name: float(v) for name, v in row.items() if name not in (*grid, *RECORD_COLUMNS) and v}
            cell |= {name: float(cell[name]) for name in (*COST_FIELDS, "seconds", "training_seconds", "chance")}
            cell |= {"metrics": metrics, "baseline": (cell["rule"], float(cell["rule_score"]))}
            cell["died_at"] = int(cell["died_at"]) if cell["died_at"] else None
            cell["measured"] = {name: int(v) for one in cell["measures"].split(";") if one
                                for name, _, v in [one.partition(":")]}  # fmt: skip
            lines.append(TrialRecord(found, row["part"], int(row["seed"]), float(row["learning_rate"]), cell))
        except (KeyError, ValueError) as error:
            raise ValueError(f"the record is of another study: {error}; make it anew with --record") from None
    validate_coverage(lines, study, scale)
    return lines


def validate_coverage(trials: Sequence[TrialRecord], study: Study, scale: Scale) -> None:
    """Raises ValueError, naming setting and seed, where lines are missing of a study's grid, or there are others."""
    some = grid_labels(study, scale)
    choosing = (
        [(s, r) for r in scale.learning_rates for s in scale.tuning_seeds]
        if len(scale.learning_rates) > 1 and study.trained
        else []
    )
    wanted = [("choose", one, seed, rate) for one in some for seed, rate in choosing]
    wanted += [("report", one, seed, None) for one in some for seed in scale.seeds]
    there = [(one.phase, one.labels, one.seed, one.learning_rate if one.phase == "choose" else None) for one in trials]
    missing, more = Counter(map(repr, wanted)), Counter(map(repr, there))
    for what, cells, other in (("lacks", wanted, more), ("has too many of", there, missing)):
        counted = missing if what == "lacks" else more
        for part, labels, seed, rate in cells:
            name = repr((part, labels, seed, rate))
            if counted[name] > other[name]:
                at = "" if rate is None else f" at rate {rate:g}"
                raise ValueError(f"the record {what} {format_labels(labels)}, seed {seed}{at} ({part}): it is damaged, or the "
                                 f"study has changed; make it anew with --record")  # fmt: skip


def outdated_records(
    trials: Sequence[TrialRecord], study: Study, scale: Scale, data_dir: str = DEFAULT_DATA_DIR
) -> list[TrialRecord]:
    """Those of a record's cells that the code as it is now would not take for its own: VERSIONs, data or settings have
    changed. Where the data can't be had, nobody knows, and the cell is one of them."""
    configs = {repr(one.labels): one.config for one in resolve_settings(study, scale)}

    def current(line: TrialRecord) -> bool:
        if (config := configs.get(repr(line.labels))) is None:
            return False
        measured = study.measures if line.phase == "report" and line.result["died_at"] is None else ()
        try:
            made_of = trial_key(config, line.seed, line.learning_rate, study.trained, data_dir)
        except (OSError, ValueError):
            return False
        versions = line.result["measured"]  # none: of a time before measures had VERSIONs
        there = not versions or set(measured) <= set(versions)
        return line.result["key"] == made_of and there and versions_are_current(versions, measured)

    return [line for line in trials if not current(line)]
