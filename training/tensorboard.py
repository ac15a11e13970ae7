"""TensorBoard files."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from training import files
from training.ensemble import EnsemblePlan


class TensorBoardWriter:
    """TensorBoard files: a run for each replica, a tag for each split and metric, so that replicas share their charts.

    Not by tensorboardX's SummaryWriter: it writes in a thread, which a full disk ends, and then it blocks for ever.
    """

    def __init__(self, directory: Path, group: EnsemblePlan, step: int):
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
        for seed, rate in zip(group.seeds, group.learning_rates, strict=True):
            path = directory / f"seed{seed}-rate{rate:g}"
            with files.with_path(path):
                path.mkdir(parents=True, exist_ok=True)
                self.files[path] = EventsWriter(str(path / "events"), f".{step}")
                self.files[path].write_event(self.event(wall_time=time.time(), step=step + 1, session_log=restart))
                self.files[path].flush()

    def write_scalars(self, step: int, split: str, row: Mapping[str, np.ndarray]) -> None:
        for index, (path, file) in enumerate(self.files.items()):
            with files.with_path(path):
                for metric, values in row.items():
                    summary = self.scalar(f"{split}/{metric}", float(np.asarray(values)[index]))
                    file.write_event(self.event(wall_time=time.time(), step=step, summary=summary))
                if split != "train":
                    file.flush()

    def close(self) -> None:
        for path, file in self.files.items():
            with files.with_path(path):
                file.close()
