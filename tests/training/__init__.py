"""What several of the tests of training share."""

from functools import partial
from pathlib import Path
from typing import Any

import jax
import pytest

from training import builder, cli, loop, metrics, trainer

SEEDS, RATES = (0, 1), (1e-2, 3e-3)
FOUR: dict[str, Any] = {"ensemble.seeds": SEEDS, "ensemble.learning_rates": RATES, "ensemble.mode": "map"}


def read_rows(workdir: Path, split: str) -> list[dict]:
    """The rows of one split in the log of a run."""
    return [row for row in metrics.read_metrics(workdir / "metrics.jsonl") if row["split"] == split]


def score_split(run: builder.Run, state: trainer.TrainState, split: str) -> dict[str, jax.Array]:
    """Loss and score of a member on a split."""
    program = jax.jit(partial(trainer.evaluate_split, run, run.task.splits[split]))
    return program(state, run.task, trainer.split_seed(split))


def error_line(outcome: tuple[int, str, str]) -> str:
    """The error of a process that failed as it should: with status 1, and one line on standard error after progress."""
    code, out, err = outcome
    lines = [line for line in err.splitlines() if not line.startswith("rnn: ")]
    assert (code, out, len(lines)) == (1, "", 1), err
    assert lines[0].startswith("error: ")
    return lines[0]


def refusal_line(config: Any, workdir: Path, capsys: pytest.CaptureFixture[str], **options: Any) -> str:
    """`error_line` of a run in this process."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        cli.report_errors(lambda: loop.train(config, workdir, tensorboard=False, **options))
    captured = capsys.readouterr()
    assert isinstance(stop.value.code, int)
    return error_line((stop.value.code, captured.out, captured.err.replace("train: ", "rnn: ")))
