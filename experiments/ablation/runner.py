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
from experiments.ablation.learning_rates import choose
from experiments.ablation.study import Labels, Scale, Setting, Study, every, settings, told
from experiments.measures import registry
from training import builder, ensemble, export, files, loop, provenance, runtime, trainer
from training.progress import clock

FORMAT = 2  # of a results folder: raised when an older program could not read it any more; 1 had no checksums

NUMBER, INTEGER, TEXT = {"type": "number"}, {"type": "integer"}, {"type": "string"}
COUNTED = ("parameters", "mixer_parameters", "state_floats", "step_flops")
CELL: dict[str, Any] = {  # the JSON schema of a cell
    "type": "object",
    "required": ["key", "seed", "learning_rate", "metrics", "metric", "best", "chance", "baseline", "best_step",
                 "died_at", "steps", *COUNTED, "seconds", "training_seconds", "group", "how", "revision", "device",
                 "packages", "config"],
    "properties": {
        **dict.fromkeys(("key", "metric", "best", "group", "how", "revision", "device"), TEXT),
        **dict.fromkeys(("learning_rate", "chance", "seconds", "training_seconds", *COUNTED), NUMBER),
        **dict.fromkeys(("seed", "best_step", "steps", "place", "of"), INTEGER),
        "metrics": {"type": "object", "additionalProperties": {"type": ["number", "null"]}},
        "measured": {"type": "object", "additionalProperties": INTEGER},
        "baseline": {"type": "array", "prefixItems": [TEXT, NUMBER], "minItems": 2, "maxItems": 2},
        "died_at": {"type": ["integer", "null"]},
        "packages": {"type": "object", "additionalProperties": TEXT},
        "config": {"type": "object"},
    },
}  # fmt: skip
FOLDER = {"type": "object", "required": ["format"], "properties": {"format": {"type": "integer", "minimum": 1}}}


class Job(NamedTuple):
    """A group of cells to run: plain data, so that it can be sent to another process or machine."""

    name: str
    config: dict[str, Any]
    directory: str
    measured: tuple[str, ...]
    trained: bool
    data_dir: str
    regroup: bool = False


class Line(NamedTuple):
    """A cell of a study: its setting, what its seed was for ("choose" or "report"), and what is kept of it."""

    labels: Labels
    part: str
    seed: int
    rate: float
    cell: dict[str, Any]

    def value(self, metric: str) -> float:
        """nan where the cell diverged or has no such number."""
        found = self.cell["metrics"].get(metric)
        return float("nan") if found is None or self.cell["died_at"] is not None else float(found)

    def curve(self, metric: str) -> dict[float, float]:
        """The numbers of a curve, by x."""
        points = {name.split("@")[1]: name for name in self.cell["metrics"] if name.startswith(f"{metric}@")}
        return {float(x): self.value(points[x]) for x in sorted(points, key=float)}


class Store:
    """The cells in a results folder, by key; what was said last of a cell counts, measures add up."""

    def __init__(self, folder: Path, sealed: bool = True):
        """Without `sealed`, lines without a checksum are taken too. Raises ValueError, in one line, for damage."""
        self.folder, self.path = folder, folder / "cells.jsonl"
        self.cells: dict[str, dict[str, Any]] = {}
        data = self.path.read_bytes() if self.path.exists() else b""
        whole = data[: data.rfind(b"\n") + 1]  # behind it, a line that a kill cut off
        group: list[dict[str, Any]] = []
        for number, line in enumerate(whole.split(b"\n")[:-1], 1):
            try:
                cell = cell_of(line, sealed)
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
                    self.take(one)
                group = []
        if len(whole) < len(data):
            os.truncate(self.path, len(whole))

    def take(self, cell: dict[str, Any]) -> None:
        """Keep it in memory; what was measured by another definition gives way."""
        known = self.cells.get(cell["key"], {"metrics": {}})
        measured = cell.get("measured", {})
        kept = {name: value for name, value in known["metrics"].items() if name.split("@")[0] not in measured}
        more = {"metrics": {**kept, **cell["metrics"]}, "measured": {**known.get("measured", {}), **measured}}
        self.cells[cell["key"]] = {**cell, **more}

    def add(self, cells: Sequence[Mapping[str, Any]]) -> None:
        """The cells of a group, in one write: a kill loses all of them or none. Raises OSError where it can't be."""
        lines = [files.json_line({**cell, "place": i, "of": len(cells)}) for i, cell in enumerate(cells)]
        data = "".join(f"{line}\n" for line in lines).encode()
        with files.named(self.path), self.path.open("ab", buffering=0) as file:
            while data:
                data = data[file.write(data) :]
            os.fsync(file.fileno())
        for cell in cells:
            self.take(files.plain(cell))


def cell_of(line: bytes, sealed: bool) -> dict[str, Any]:
    """The cell of a line of cells.jsonl. Raises ValueError where it is not one, or not of the key that it has."""
    required = [*CELL["required"], *(["checksum"] if sealed else [])]
    cell = files.parse_json(line, {**CELL, "required": required})
    made_of = cell["config"]
    if files.key(made_of) != cell["key"]:
        raise ValueError("its key is not that of its config")
    for name in ("seed", "learning_rate"):
        if made_of.get(name) != cell[name]:
            raise ValueError(f"its {name} is not that of its config")
    return cell


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[Store]:
    """The store in `folder`, held against other processes. Raises ValueError where it is in use, damaged or too new."""
    folder.mkdir(parents=True, exist_ok=True)
    with files.locked(folder):
        path, cells = folder / "format.json", folder / "cells.jsonl"
        found = files.read_json(path, FOLDER)["format"] if path.exists() else 1
        if found > FORMAT:
            raise ValueError(
                f"{folder} was written by a newer version of this program (format {found}, this one reads {FORMAT}); "
                f"update, or give another --workdir"
            )
        store = Store(folder, sealed=found == FORMAT)
        if found < FORMAT:
            if cells.exists():
                lines = [line for line in cells.read_bytes().split(b"\n") if line]
                lines = [files.json_line(files.parse_json(line, CELL)) for line in lines]
                files.write_whole(cells, "".join(f"{line}\n" for line in lines).encode())
            files.write_json(path, {"format": FORMAT})
        yield store


# ---- which cells, in which groups -----------------------------------------------------------------------------------


def identity(
    config: Mapping[str, Any], seed: int, rate: float, trained: bool = True, data_dir: str = DEFAULT_DATA_DIR
) -> dict[str, Any]:
    """What makes a cell this one and no other."""
    whole = comparison.identity(config, data_dir)
    apart = ("ensemble.", "optimizer.learning_rate", *(() if trained else ("training.",)))
    kept = {name: value for name, value in whole.items() if not name.startswith(apart)}
    return {**kept, "seed": seed, "learning_rate": float(rate), **({} if trained else {"trained": False})}


def key(
    config: Mapping[str, Any], seed: int, rate: float, trained: bool = True, data_dir: str = DEFAULT_DATA_DIR
) -> str:
    return files.key(identity(config, seed, rate, trained, data_dir))


def rates(setting: Setting, scale: Scale) -> tuple[float, ...]:
    return scale.rates or (setting.config["optimizer"]["learning_rate"],)


def complete(cell: Mapping[str, Any] | None, measured: Sequence[str]) -> bool:
    """Whether all that is wanted of a cell is there, measured as it is now. Of one that diverged nothing more is to be
    had."""
    if cell is None:
        return False
    there = {name.split("@")[0] for name in cell["metrics"]}
    return cell["died_at"] is not None or (set(measured) <= there and as_now(cell.get("measured", {}), measured))


def as_now(versions: Mapping[str, int], measured: Sequence[str]) -> bool:
    """Whether these measures were taken with the VERSIONs that they have now; 1 where none was kept."""
    return all(versions.get(name, 1) == registry.VERSIONS[name] for name in measured)


Wanted = Sequence[tuple[Setting, Sequence[tuple[int, float]]]]  # of each setting the cells, (seed, rate)


def to_choose(study: Study, scale: Scale, some: Sequence[Setting]) -> Wanted:
    """Every rate on the seeds for choosing; nothing where there is no choice."""
    if len(scale.rates) < 2 or not study.trained:
        return []
    grid = [(seed, rate) for rate in scale.rates for seed in scale.choosing]
    return [(one, grid) for one in some]


def to_report(scale: Scale, some: Sequence[Setting], rates: Sequence[float]) -> Wanted:
    """The seeds that are reported, of each setting at its rate."""
    return [(one, [(seed, rate) for seed in scale.seeds]) for one, rate in zip(some, rates, strict=True)]


def groups(
    store: Store, wanted: Wanted, measured: Sequence[str], study: Study, data: str, how: str = "auto"
) -> list[Job]:
    """The jobs that give what is missing of these cells.

    Settings that differ in their learning rate alone have one program, and what they lack is one job; rates that lack
    other seeds are another, since a group is every seed with every rate.
    """
    programs: dict[str, tuple[Setting, list[Labels], dict[float, list[int]]]] = {}
    for setting, cells in wanted:
        program = key(setting.config, 0, 0, study.trained, data)
        first, labels, lacking = programs.setdefault(program, (setting, [], {}))
        labels.append(setting.labels)
        for seed, rate in cells:
            if not complete(store.cells.get(key(first.config, seed, rate, study.trained, data)), measured):
                lacking.setdefault(rate, []).append(seed)
    jobs = []
    for setting, labels, lacking in programs.values():
        shared = {axis: v for axis, v in labels[0].items() if all(other[axis] == v for other in labels)}
        name = told(shared or labels[0])
        together: dict[tuple[int, ...], list[float]] = {}
        for rate, seeds in lacking.items():
            together.setdefault(tuple(seeds), []).append(rate)
        for seeds, some in together.items():
            config = json.loads(json.dumps(files.plain(setting.config)))
            config["ensemble"] |= {"seeds": list(seeds), "learning_rates": some, "how": how}
            cells = [key(config, s, r, study.trained, data) for r in some for s in seeds]
            group = files.key({"cells": cells} if how == "auto" else {"cells": cells, "how": how})
            jobs.append(Job(name, config, str(store.folder / "groups" / group), tuple(measured), study.trained, data))
    return jobs


# ---- running them ---------------------------------------------------------------------------------------------------


def work(job: Job) -> list[dict[str, Any]]:
    """Run a group: what is to be kept of each of its cells. Found in its directory, where it was run before."""
    run = builder.build(job.config, job.data_dir)
    directory = Path(job.directory)
    if job.trained:
        result = loop.train(
            job.config,
            directory,
            data_dir=job.data_dir,
            name=job.name,
            save_seconds=10,
            tensorboard=False,
            regroup=job.regroup,
        )
        members, cost = result["members"], result["cost"]
        environment = of_group(directory, "environment.json", files.ENVIRONMENTS)[-1]
        params = export.saved_members(directory) if job.measured else [None] * len(members)
        group = of_group(directory, "group.json", files.GROUP)
        shards = group.get("shards", 1)  # an older run does not have it
        how = f"{group['how']} on {group['devices']}" + f" × {shards}" * (shards > 1)
    else:
        group = ensemble.form_group(job.config)
        pairs = zip(group.seeds, group.learning_rates, strict=True)
        members = [{"seed": s, "learning_rate": r, "best_step": 0, "died_at": None, "scores": {}} for s, r in pairs]
        cost, result, how = trainer.costs(run), {"seconds": 0.0, "training_seconds": 0.0, "steps": 0}, "not trained"
        environment = provenance.environment()
        params = [trainer.init_params(run, jax.numpy.uint32(member["seed"])) for member in members]
    begun = time.monotonic()
    lived = [i for i, member in enumerate(members) if member["died_at"] is None]
    taken = registry.take(run, job.measured, [(params[i], members[i]["seed"]) for i in lived])
    found = dict(zip(lived, taken, strict=True))
    share = 1 / len(members)
    return [
        {
            "key": key(job.config, member["seed"], member["learning_rate"], job.trained, job.data_dir),
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
            "measured": {name: registry.VERSIONS[name] for name in job.measured},
            "config": identity(job.config, member["seed"], member["learning_rate"], job.trained, job.data_dir),
        }
        for i, member in enumerate(members)
    ]


def of_group(directory: Path, name: str, schema: Mapping[str, Any]) -> Any:
    """A file of a group's directory. Raises ValueError, in one line, where it does not hold what it should."""
    return files.read_json(directory / name, schema, f"delete {directory}, and its group is run again")


Execute = Callable[[Sequence[Job]], Iterator[tuple[Job, list[dict[str, Any]]]]]


def one_by_one(jobs: Sequence[Job]) -> Iterator[tuple[Job, list[dict[str, Any]]]]:
    """Here, one after another."""
    begun, done, total = time.monotonic(), 0, sum(map(size, jobs))
    for number, job in enumerate(jobs, 1):
        left = f", {clock((time.monotonic() - begun) / done * (total - done))} left" if done else ""
        name = f"[{number}/{len(jobs)}{left}] {job.name}"
        yield job, work(job._replace(name=name))
        done += size(job)


def size(job: Job) -> int:
    """A guess at how long a job takes, in any unit: replicas × steps."""
    replicas = job.config["ensemble"]
    return len(replicas["seeds"]) * len(replicas["learning_rates"]) * job.config["training"]["steps"]


def run(
    study: Study,
    scale: Scale,
    folder: Path,
    *,
    data_dir: str = DEFAULT_DATA_DIR,
    how: str = "auto",
    execute: Execute = one_by_one,
    chosen: Mapping[str, Sequence[str]] | None = None,
    say: Callable[[str], Any] = print,
) -> list[Line]:
    """Every cell of the study, run or found; the reported ones of each setting at the rate that did best.

    `how` is that of `ensemble.mode`: with "measured", each group times its ways before its first step.
    """
    some = settings(study, scale, chosen)
    # What is not trained is measured one by one, and timed as it runs alone.
    runtime.prepare(max(len(scale.seeds), len(scale.rates) * len(scale.choosing)) if study.trained else 1)
    with opened(folder) as store:
        lines: list[Line] = []
        best = [rates(one, scale)[0] for one in some]
        if tried := to_choose(study, scale, some):
            fill(store, groups(store, tried, (), study, data_dir, how), execute, say)
            found = [read(store, study, one, grid, "choose", data_dir) for one, grid in tried]
            best = [chosen_rate(one, cells) for one, cells in zip(some, found, strict=True)]
            lines += itertools.chain.from_iterable(found)
        wanted = to_report(scale, some, best)
        fill(store, groups(store, wanted, study.measured, study, data_dir, how), execute, say)
        for one, cells in wanted:
            lines += read(store, study, one, cells, "report", data_dir)
    return lines


def fill(store: Store, jobs: Sequence[Job], execute: Execute, say: Callable[[str], Any]) -> None:
    for job, cells in execute(jobs):
        store.add(cells)
        some = [cell["metrics"].get("test") for cell in cells]
        scores = " ".join("-" if score is None else f"{score:.4g}" for score in some)
        seconds = sum(cell["seconds"] for cell in cells)
        say(f"{job.name:<40} {cells[0]['metric'] if job.trained else 'measured'} {scores}  {seconds:.0f} s")


def read(
    store: Store,
    study: Study,
    setting: Setting,
    cells: Iterable[tuple[int, float]],
    part: str,
    data: str = DEFAULT_DATA_DIR,
) -> list[Line]:
    """The cells as lines of the study, without what another study had measured in them."""
    mine = study.measured if part == "report" else ()
    foreign = set(registry.MEASURES) - set(mine)
    lines = []
    for seed, rate in cells:
        cell = store.cells[key(setting.config, seed, rate, study.trained, data)]
        metrics = {name: value for name, value in cell["metrics"].items() if name.split("@")[0] not in foreign}
        measured = {name: cell["measured"].get(name, 1) for name in mine}
        lines.append(Line(setting.labels, part, seed, rate, {**cell, "metrics": metrics, "measured": measured}))
    return lines


def chosen_rate(setting: Setting, cells: Iterable[Line]) -> float:
    scores: dict[float, list[float]] = {}
    for line in cells:
        scores.setdefault(line.rate, []).append(line.value("validation"))
    return choose(scores, tasks.TASKS[setting.config["task"]["name"]].best)


# ---- records: the same lines as a table -----------------------------------------------------------------------------

COLUMNS = ("part", "seed", "learning_rate", "died_at", "best_step", "steps", "parameters", "mixer_parameters",
           "state_floats", "step_flops", "seconds", "training_seconds", "metric", "chance", "rule", "rule_score", "how",
           "device", "key", "revision", "measures")  # fmt: skip


def table(lines: Sequence[Line]) -> tuple[list[str], list[list[Any]]]:
    """Header and rows: the axes, what is known of a cell, and its metrics."""
    axes = list(lines[0].labels)
    metrics = sorted({name for line in lines for name in line.cell["metrics"]}, key=by_x)
    rows = []
    for line in lines:
        rule, score = line.cell["baseline"]
        cell = {**line.cell, "part": line.part, "rule": rule, "rule_score": f"{score:.6g}"}
        cell |= {
            "seed": line.seed,
            "learning_rate": line.rate,
            "chance": f"{cell['chance']:.6g}",
            "revision": short(cell["revision"]),
            "measures": ";".join(f"{name}:{version}" for name, version in cell.get("measured", {}).items()),
        }
        cell |= {name: f"{cell[name]:.3g}" for name in ("seconds", "training_seconds")}
        values = [line.cell["metrics"].get(name) for name in metrics]
        rows.append(
            [*line.labels.values(), *("" if cell[name] is None else cell[name] for name in COLUMNS)]
            + ["" if value is None else f"{value:.6g}" for value in values]
        )
    return [*axes, *COLUMNS, *metrics], rows


def short(revision: str) -> str:
    """Twelve digits of a commit, and the "+" that says that the source had changed since."""
    return revision[:12] + "+" * revision.endswith("+")


def by_x(metric: str) -> tuple[str, float]:
    name, _, x = metric.partition("@")
    return name, float(x or -1)


def lines_of(rows: Sequence[Mapping[str, str]], study: Study, scale: Scale) -> list[Line]:
    """The lines that a record in the repository holds. Raises ValueError where it is not one of this study, or lacks
    seeds or rates of the scale."""
    grid = list(study.vary)
    labels = {axis: {str(label): label for label in scale.vary.get(axis, study.vary[axis])} for axis in grid}
    lines = []
    for row in rows:
        try:
            cell: dict[str, Any] = {name: row.get(name, "") if name == "measures" else row[name] for name in COLUMNS}
            found = {axis: labels[axis][row[axis]] for axis in grid}
            metrics = {name: float(v) for name, v in row.items() if name not in (*grid, *COLUMNS) and v}
            cell |= {name: float(cell[name]) for name in (*COUNTED, "seconds", "training_seconds", "chance")}
            cell |= {"metrics": metrics, "baseline": (cell["rule"], float(cell["rule_score"]))}
            cell["died_at"] = int(cell["died_at"]) if cell["died_at"] else None
            cell["measured"] = {name: int(v) for one in cell["measures"].split(";") if one
                                for name, _, v in [one.partition(":")]}  # fmt: skip
            lines.append(Line(found, row["part"], int(row["seed"]), float(row["learning_rate"]), cell))
        except (KeyError, ValueError) as error:
            raise ValueError(f"the record is of another study: {error}; make it anew with --record") from None
    whole(lines, study, scale)
    return lines


def whole(lines: Sequence[Line], study: Study, scale: Scale) -> None:
    """Raises ValueError, naming setting and seed, where lines are missing of a study's grid, or there are others."""
    some = every(study, scale)
    choosing = [(s, r) for r in scale.rates for s in scale.choosing] if len(scale.rates) > 1 and study.trained else []
    wanted = [("choose", one, seed, rate) for one in some for seed, rate in choosing]
    wanted += [("report", one, seed, None) for one in some for seed in scale.seeds]
    there = [(one.part, one.labels, one.seed, one.rate if one.part == "choose" else None) for one in lines]
    missing, more = Counter(map(repr, wanted)), Counter(map(repr, there))
    for what, cells, other in (("lacks", wanted, more), ("has too many of", there, missing)):
        counted = missing if what == "lacks" else more
        for part, labels, seed, rate in cells:
            name = repr((part, labels, seed, rate))
            if counted[name] > other[name]:
                at = "" if rate is None else f" at rate {rate:g}"
                raise ValueError(f"the record {what} {told(labels)}, seed {seed}{at} ({part}): it is damaged, or the "
                                 f"study has changed; make it anew with --record")  # fmt: skip


def older(lines: Sequence[Line], study: Study, scale: Scale, data_dir: str = DEFAULT_DATA_DIR) -> list[Line]:
    """Those of a record's cells that the code as it is now would not take for its own: VERSIONs, data or settings have
    changed. Where the data can't be had, nobody knows, and the cell is one of them."""
    configs = {repr(one.labels): one.config for one in settings(study, scale)}

    def current(line: Line) -> bool:
        if (config := configs.get(repr(line.labels))) is None:
            return False
        measured = study.measured if line.part == "report" and line.cell["died_at"] is None else ()
        try:
            made_of = key(config, line.seed, line.rate, study.trained, data_dir)
        except (OSError, ValueError):
            return False
        versions = line.cell["measured"]  # none: of a time before measures had VERSIONs
        there = not versions or set(measured) <= set(versions)
        return line.cell["key"] == made_of and there and as_now(versions, measured)

    return [line for line in lines if not current(line)]
