"""Loggers beside metrics.jsonl and TensorBoard, by name: CSV files, Weights & Biases, MLflow.

metrics.jsonl stays the source of truth. These are for people, and one that fails never stops a run: a line says so, and
the run goes on without it.
"""

import csv
import io
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

import models
from training import files
from training.builder import Run, flatten_config, run_fingerprint
from training.console import print_status
from training.ensemble import EnsemblePlan, member_values

_WANDB_ID_LENGTH = 64  # the most characters of a run's id
_MLFLOW_BATCH = 100  # the most params that go into one call
_MLFLOW_TEXT = 500  # the most characters of a param's value in every store


class LoggedRun(NamedTuple):
    """What a logger is told of a run: its files, its config and its members, and the step that it goes on from."""

    run: Run
    workdir: Path
    plan: EnsemblePlan
    step: int

    @property
    def member_names(self) -> list[str]:
        """A name for each member, as "member0-seed0-rate0.003", with what else members have of their own."""
        names = []
        for index, (seed, rate) in enumerate(zip(self.plan.seeds, self.plan.learning_rates, strict=True)):
            own = "".join(f"-{name}{value:g}" for name, value in member_values(self.plan, index).items())
            names.append(f"member{index}-seed{seed}-rate{rate:g}{own}")
        return names

    def member_config(self, member: int) -> dict[str, Any]:
        """The config by dotted names, with the seed, the learning rate and all else that a member has of its own."""
        own = {"seed": self.plan.seeds[member], "optimizer.learning_rate": self.plan.learning_rates[member]}
        own |= {f"optimizer.{name}": value for name, value in member_values(self.plan, member).items()}
        return {**flatten_config(self.run.config), **own}


class Logger(Protocol):
    """Where metrics go, whose values have shape [members]."""

    def write_scalars(self, step: int, split: str, metrics: Mapping[str, np.ndarray]) -> None:
        """Log the metrics of `split` at `step`."""

    def close(self) -> None:
        """Write what is left, and close all files."""


def validate_loggers(names: Sequence[str]) -> None:
    """Raise ValueError, in one line, for a name that is no logger."""
    if isinstance(names, str):
        raise ValueError(f"loggers={names!r}: give a list of names, as ['csv']")
    for name in names:
        models.validate_choice("--loggers", name, LOGGERS)


class OptionalLoggers:
    """The loggers of these names. Each is given up, with one line on standard error, once it raises an exception."""

    def __init__(self, names: Sequence[str], logged: LoggedRun):
        self._open: dict[str, Logger] = {}
        for name in dict.fromkeys(names):
            self._attempt(name, lambda name=name: self._open.update({name: LOGGERS[name](logged)}))

    def write_scalars(self, step: int, split: str, metrics: Mapping[str, np.ndarray]) -> None:
        """Log the metrics of `split` at `step`, whose values have shape [members]."""
        for name, logger in list(self._open.items()):
            self._attempt(name, lambda logger=logger: logger.write_scalars(step, split, metrics))

    def close(self) -> None:
        """Close all that are still open."""
        for name, logger in list(self._open.items()):
            self._attempt(name, logger.close)
        self._open.clear()

    def _attempt(self, name: str, function: Callable[[], Any]) -> None:
        try:
            function()
        except Exception as error:  # of any kind: a package of others, a network, a full disk
            self._open.pop(name, None)
            print_status(
                f"the logger {name} has failed, and the run goes on without it: {_explain_failure(name, error)}"
            )


def _explain_failure(name: str, error: Exception) -> str:
    if isinstance(error, ImportError):
        return f"it needs {error.name or error}; pip install -e '.[{name}]' installs it"
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


# ---- the loggers ----------------------------------------------------------------------------------------------------


class CsvLogger:
    """Writes csv/SPLIT.csv: a row for each step and member, a column for each metric. Any spreadsheet reads it."""

    def __init__(self, logged: LoggedRun):
        self.plan, self.directory = logged.plan, logged.workdir / "csv"
        self.directory.mkdir(exist_ok=True)
        for path in self.directory.glob("*.csv"):
            _cut_rows_after(path, logged.step)

    def write_scalars(self, step: int, split: str, metrics: Mapping[str, np.ndarray]) -> None:
        """Append a row for each member. Raises ValueError for metrics that are not those of the file's columns."""
        path = self.directory / f"{split}.csv"
        values = {name: np.asarray(value) for name, value in metrics.items()}
        if path.exists():
            with path.open(newline="") as file:
                header = next(csv.reader(file))
        else:
            header = ["step", "member", "seed", "learning_rate", *member_values(self.plan, 0), *values]
        columns = [*member_values(self.plan, 0), *values]
        if {*header[4:]} != {*columns}:
            raise ValueError(f"{path} has columns for {', '.join(header[4:])}, and this run logs {', '.join(columns)}")
        text = io.StringIO()
        writer = csv.DictWriter(text, header, lineterminator="\n")
        if not path.exists():
            writer.writeheader()
        for member, (seed, rate) in enumerate(zip(self.plan.seeds, self.plan.learning_rates, strict=True)):
            own = {name: f"{value:g}" for name, value in member_values(self.plan, member).items()}
            own |= {name: f"{value[member]:.9g}" for name, value in values.items()}
            writer.writerow({"step": step, "member": member, "seed": seed, "learning_rate": rate, **own})
        with files.with_path(path), path.open("a", newline="") as file:
            file.write(text.getvalue())

    def close(self) -> None:
        """Do nothing: no file is open."""


def _cut_rows_after(path: Path, step: int) -> None:
    """Remove rows that a resumed run will write again, and a last line that a kill cut off."""
    lines = [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
    kept = [line for number, line in enumerate(lines) if not number or int(line.split(",")[0]) <= step]
    if kept:
        files.write_atomically(path, "".join(kept).encode())
    else:
        path.unlink()


class WandbLogger:
    """Logs to Weights & Biases, one run per member in one group: offline, in WORKDIR/wandb, unless WANDB_MODE is set.

    A resumed run goes on under the same ids. `wandb sync WORKDIR/wandb/offline-*` uploads it. The project is
    WANDB_PROJECT, or else recur-or-attend.
    """

    def __init__(self, logged: LoggedRun):
        import wandb  # pyright: ignore[reportMissingImports]

        # A server that can't be reached is given up: what was logged stays in WORKDIR/wandb.
        patience = {"init_timeout": 30, "finish_timeout": 300, "finish_timeout_raises": True}
        settings = wandb.Settings(silent=True, console="off", x_disable_stats=True, disable_code=True, **patience)
        key = run_fingerprint(logged.run.config)
        self.runs = []
        for member, name in enumerate(logged.member_names):
            identity = f"{key}-{member}-{files.fingerprint({'workdir': str(logged.workdir.resolve())})[:8]}"
            self.runs.append(
                wandb.init(
                    dir=str(logged.workdir),
                    mode=None if "WANDB_MODE" in os.environ else "offline",
                    project=os.environ.get("WANDB_PROJECT", "recur-or-attend"),
                    group=logged.workdir.resolve().name,
                    name=name,
                    id=identity[:_WANDB_ID_LENGTH],
                    resume="allow",
                    reinit="create_new",
                    config=logged.member_config(member),
                    settings=settings,
                )
            )

    def write_scalars(self, step: int, split: str, metrics: Mapping[str, np.ndarray]) -> None:
        """Log the metrics of each member to its run."""
        for member, run in enumerate(self.runs):
            run.log({f"{split}/{name}": float(np.asarray(value)[member]) for name, value in metrics.items()}, step=step)

    def close(self) -> None:
        """Wait until all is written."""
        for run in self.runs:
            run.finish()


class MlflowLogger:
    """Logs to MLflow, one run per member: to WORKDIR/mlflow.db, unless MLFLOW_TRACKING_URI is set.

    `mlflow ui --backend-store-uri sqlite:///WORKDIR/mlflow.db` shows it. The experiment is MLFLOW_EXPERIMENT_NAME, or
    else recur-or-attend. A resumed run goes on in the same runs.
    """

    def __init__(self, logged: LoggedRun):
        # A server that can't be reached is given up after seconds, where MLflow would try for minutes.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
        import mlflow  # pyright: ignore[reportMissingImports]
        from mlflow import entities  # pyright: ignore[reportMissingImports]

        workdir = logged.workdir.resolve()
        uri = os.environ.get("MLFLOW_TRACKING_URI", f"sqlite:///{workdir / 'mlflow.db'}")
        self.client, self.entities = mlflow.MlflowClient(tracking_uri=uri), entities
        experiment = self._find_experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME", "recur-or-attend"), workdir)
        key = run_fingerprint(logged.run.config)
        self.run_ids = [
            self._find_run(logged, experiment, member, name, {"key": key, "workdir": str(workdir)})
            for member, name in enumerate(logged.member_names)
        ]

    def _find_experiment(self, name: str, workdir: Path) -> str:
        found = self.client.get_experiment_by_name(name)
        if found:
            return found.experiment_id
        artifacts = None if "MLFLOW_TRACKING_URI" in os.environ else (workdir / "mlflow-artifacts").as_uri()
        return self.client.create_experiment(name, artifact_location=artifacts)

    def _find_run(self, logged: LoggedRun, experiment: str, member: int, name: str, tags: dict[str, str]) -> str:
        """The id of the member's run, a new one if there is none of this key and workdir yet."""
        tags = {**tags, "member": str(member)}
        query = " and ".join(f"tags.{tag} = '{value}'" for tag, value in tags.items() if "'" not in value)
        found = self.client.search_runs([experiment], query, max_results=1)
        if found:
            return found[0].info.run_id
        run_id = self.client.create_run(experiment, tags=tags, run_name=name).info.run_id
        params = [
            self.entities.Param(field, str(value)[:_MLFLOW_TEXT])
            for field, value in logged.member_config(member).items()
        ]
        for first in range(0, len(params), _MLFLOW_BATCH):
            self.client.log_batch(run_id, params=params[first : first + _MLFLOW_BATCH])
        return run_id

    def write_scalars(self, step: int, split: str, metrics: Mapping[str, np.ndarray]) -> None:
        """Log the metrics of each member to its run."""
        now = int(1000 * time.time())
        for member, run_id in enumerate(self.run_ids):
            values = {name: float(np.asarray(value)[member]) for name, value in metrics.items()}
            batch = [self.entities.Metric(f"{split}/{name}", value, now, step) for name, value in values.items()]
            self.client.log_batch(run_id, metrics=batch)

    def close(self) -> None:
        """Mark all runs as finished."""
        for run_id in self.run_ids:
            self.client.set_terminated(run_id)


LOGGERS: dict[str, Callable[[LoggedRun], Logger]] = {"csv": CsvLogger, "wandb": WandbLogger, "mlflow": MlflowLogger}
