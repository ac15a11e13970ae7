"""Seeds until it is decided: a study is looked at with 3, 5, 8 and 12 seeds, and stopped once no claim is undecided.

The looks and how sure a verdict must be at each are declared in looks.py. A record says which looks were taken.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from experiments.ablation import runner, verdicts
from experiments.ablation.looks import LOOKS, format_looks, scale_at_look
from experiments.ablation.study import Study, compared_pairs, grid_labels, validate_study
from experiments.ablation.trials import TrialRecord
from experiments.ablation.verdicts import Verdict
from training.progress import format_duration


def validate_until_decided(study: Study, scale: str) -> None:
    """Raise ValueError, in one line, for a study that has nothing to decide, or more seeds than the last look."""
    size, sized = study.scales[scale], scale_at_look(study.scales[scale], LOOKS)
    settings = grid_labels(study, size)
    if not any(list(compared_pairs(part, settings)) for claim in study.claims for part in claim.inequalities):
        raise ValueError(f"--until=decided: no claim is about scale {scale}, so there is nothing to decide")
    if len(size.seeds) > LOOKS[-1]:
        raise ValueError(
            f"--until=decided: scale {scale} has {len(size.seeds)} seeds, and the last look {LOOKS[-1]}; run it without"
        )
    validate_study(study._replace(scales={**study.scales, scale: sized}), scale)


def run_until_decided(
    study: Study, scale: str, folder: Path, *, log: Callable[[str], Any] = print, **options: Any
) -> tuple[Study, list[TrialRecord]]:
    """Run a study look by look; the study whose scale has the seeds of the last look, and the trials of all.

    `options` are those of `runner.run_study`. Raises ValueError as `validate_until_decided` does.
    """
    validate_until_decided(study, scale)
    trials: list[TrialRecord] = []
    at_look, start = study, time.monotonic()
    for number in range(1, len(LOOKS) + 1):
        sized = scale_at_look(study.scales[scale], LOOKS[:number])
        at_look = study._replace(scales={**study.scales, scale: sized})
        found = runner.run_study(at_look, sized, folder, log=log, **options)
        looks = format_looks(LOOKS[:number])
        trials = [trial._replace(result={**trial.result, "looks": looks}) for trial in found]
        judged = verdicts.judge_claims(at_look, trials, scale)
        log(describe_look(number, judged, time.monotonic() - start, trials))
        if all(one.verdict != "undecided" for one in judged):
            break
    return at_look, trials


def describe_look(number: int, judged: Sequence[Verdict], seconds: float, trials: Sequence[TrialRecord]) -> str:
    """A look in a few lines: what is decided, what is not, and what the next look would cost."""
    seeds = LOOKS[number - 1]
    undecided = [one for one in judged if one.verdict == "undecided"]
    lines = [
        f"look {number} of {len(LOOKS)}, {seeds} seeds, {format_duration(seconds)} so far: "
        f"{len(judged) - len(undecided)} of {len(judged)} claims are decided"
    ]
    lines += [f"  {one}" for one in undecided]
    if undecided and number < len(LOOKS):
        reported = [float(trial.result["seconds"]) for trial in trials if trial.phase == "report"]
        cost = sum(reported) / seeds * (LOOKS[number] - seeds)
        lines.append(f"  the next look, with {LOOKS[number]} seeds, takes about {format_duration(cost)}")
    elif undecided:
        lines.append("  this was the last look: what is undecided stays so")
    return "\n".join(lines)
