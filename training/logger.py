"""The one place that writes a run's metrics: to metrics.jsonl, and to TensorBoard files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from training.ensemble import EnsemblePlan
from training.metrics import MetricWriter
from training.tensorboard import TensorBoardWriter


class MetricLogger:
    """Appends rows of metrics, one value per member, to metrics.jsonl and TensorBoard files.

    With `enabled=False`, which is for all processes but the first, it does nothing.
    """

    def __init__(self, workdir: Path, plan: EnsemblePlan, step: int, *, enabled: bool, tensorboard: bool):
        self._rows = MetricWriter(workdir / "metrics.jsonl") if enabled else None
        self._board = TensorBoardWriter(workdir / "tensorboard", plan, step) if enabled and tensorboard else None

    def log_metrics(self, step: int, split: str, metrics: Mapping[str, Any], **seconds: float) -> None:
        """Append the metrics of `split` at `step`, and the seconds that they took, which TensorBoard does not get."""
        if self._rows:
            self._rows.write_row(step=step, split=split, **metrics, **seconds)
        if self._board:
            self._board.write_scalars(step, split, metrics)

    def flush_to_disk(self) -> None:
        """Wait until all rows of metrics.jsonl are on the disk. Raises OSError."""
        if self._rows:
            self._rows.flush_to_disk()

    def close(self) -> None:
        """Close all files. Raises OSError."""
        for writer in (self._rows, self._board):
            if writer:
                writer.close()
