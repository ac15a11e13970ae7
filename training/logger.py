"""The one place that writes a run's metrics: to metrics.jsonl, to TensorBoard files and to optional loggers."""

from collections.abc import Mapping, Sequence
from typing import Any

from training.loggers import LoggedRun, OptionalLoggers
from training.metrics import MetricWriter
from training.tensorboard import TensorBoardWriter


class MetricLogger:
    """Appends rows of metrics, one value per member, to metrics.jsonl, TensorBoard files and the optional loggers.

    With `enabled=False`, which is for all processes but the first, it does nothing. As a context it closes itself.
    """

    def __init__(self, logged: LoggedRun, loggers: Sequence[str] = (), *, enabled: bool, tensorboard: bool):
        self._rows = MetricWriter(logged.workdir / "metrics.jsonl") if enabled else None
        self._board = None
        if enabled and tensorboard:
            self._board = TensorBoardWriter(logged.workdir / "tensorboard", logged.plan, logged.step)
        self._optional = OptionalLoggers(loggers if enabled else (), logged)

    def __enter__(self) -> "MetricLogger":
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        if kind is None:
            self.close()
        else:  # the error that is on its way says more than one of a file that can't be closed
            self._optional.close()

    def log_metrics(self, step: int, split: str, metrics: Mapping[str, Any], **seconds: float) -> None:
        """Append the metrics of `split` at `step`, and the seconds that they took, which TensorBoard does not get."""
        if self._rows:
            self._rows.write_row(step=step, split=split, **metrics, **seconds)
        if self._board:
            self._board.write_scalars(step, split, metrics)
        self._optional.write_scalars(step, split, metrics)

    def flush_to_disk(self) -> None:
        """Wait until all rows of metrics.jsonl are on the disk. Raises OSError."""
        if self._rows:
            self._rows.flush_to_disk()

    def close(self) -> None:
        """Close all files and loggers. Raises OSError."""
        self._optional.close()
        for writer in (self._rows, self._board):
            if writer:
                writer.close()
