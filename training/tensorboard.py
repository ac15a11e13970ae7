"""TensorBoard files."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from training import files
from training.ensemble import EnsemblePlan, member_values


class TensorBoardWriter:
    """Writes TensorBoard files: one run per member, one tag per split and metric, so that members share their charts.

    It does not use tensorboardX's SummaryWriter, whose thread ends when the disk is full, so that the next call blocks
    for ever.
    """

    def __init__(self, directory: Path, plan: EnsemblePlan, step: int):
        try:
            from tensorboardX.event_file_writer import EventsWriter
            from tensorboardX.proto import event_pb2
            from tensorboardX.summary import scalar
        except ImportError as error:
            raise ValueError(f"TensorBoard files need {error.name}; install it, or give --notensorboard") from None
        events: Any = event_pb2  # its names are made when it is imported
        self.event, self.scalar = events.Event, scalar
        restart = events.SessionLog(status=events.SessionLog.START)  # hides what was logged after the checkpoint
        self.files: dict[Path, Any] = {}
        for index, (seed, rate) in enumerate(zip(plan.seeds, plan.learning_rates, strict=True)):
            own = "".join(f"-{name}{value:g}" for name, value in member_values(plan, index).items())
            path = directory / f"seed{seed}-rate{rate:g}{own}"
            with files.with_path(path):
                path.mkdir(parents=True, exist_ok=True)
                self.files[path] = EventsWriter(str(path / "events"), f".{step}")
                self.files[path].write_event(self.event(wall_time=time.time(), step=step + 1, session_log=restart))
                self.files[path].flush()

    def write_scalars(self, step: int, split: str, metrics: Mapping[str, np.ndarray]) -> None:
        """Append metrics, whose values have shape [members]. Those of an evaluation are flushed to the file."""
        for index, (path, file) in enumerate(self.files.items()):
            with files.with_path(path):
                for metric, values in metrics.items():
                    summary = self.scalar(f"{split}/{metric}", float(np.asarray(values)[index]))
                    file.write_event(self.event(wall_time=time.time(), step=step, summary=summary))
                if split != "train":
                    file.flush()

    def close(self) -> None:
        """Close all files. Raises OSError."""
        for path, file in self.files.items():
            with files.with_path(path):
                file.close()
