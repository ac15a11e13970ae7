"""The result of a finished run: what `train.train` returns and result.json holds."""

from collections.abc import Sequence
from typing import Any, NotRequired, TypedDict

from training.builder import Run, run_fingerprint
from training.ensemble import EnsemblePlan, member_values
from training.trainer import RunCosts, TrainState, run_costs


class MemberResult(TypedDict):
    """The result of one member of the ensemble: of one seed with one learning rate."""

    seed: int
    learning_rate: float
    best_step: int  # the step with the best validation score; 0 if the member diverged before its first evaluation
    validation: float  # the score at `best_step`
    test: float | None
    scores: dict[str, float]  # at `best_step`: the score on every split, and the extra scores of "test" by name
    died_at: int | None  # the step whose loss or gradient was not finite, if there was one
    stopped_at: NotRequired[int | None]  # with training.patience: the step at which it ended, if it did
    weight_decay: NotRequired[float]  # if members have their own
    momentum: NotRequired[float]


class RunResult(TypedDict):
    """The result of a run. result.json has these fields and a checksum."""

    key: str  # builder.run_fingerprint of the resolved config
    status: str  # "finished", or "diverged" if no member that is still alive was evaluated
    metric: str  # the name of the score, such as "accuracy"
    best: str  # which score is better: "max" or "min"
    chance: float  # the score of a guess
    baseline: tuple[str, float]  # a trivial rule and its score
    members: list[MemberResult]  # in the order of group.json
    cost: RunCosts
    seconds: float  # all of the run, with compilation and evaluation
    training_seconds: float  # the training steps alone
    steps: int  # fewer than training.steps if all members diverged or stopped


def summarize_run(run: Run, plan: EnsemblePlan, states: TrainState, rows: Sequence[dict[str, Any]]) -> RunResult:
    """Summarize a run: the scores from the final `states`, the times from the `rows` of its metrics.

    Leaves of `states` have shape [members]; the parameters and the optimizer's state are not needed.
    """
    return {
        "key": run_fingerprint(run.config),
        "status": "finished" if (states.alive & (states.best_step > 0)).any() else "diverged",
        "metric": run.task.metric,
        "best": run.task.metric_mode,
        "chance": run.task.chance,
        "baseline": run.task.baseline,
        "members": [_summarize_member(plan, states, index) for index in range(len(plan.seeds))],
        "cost": run_costs(run),
        "seconds": sum(row["seconds"] + row.get("compile_seconds", 0) for row in rows),
        "training_seconds": sum(row["seconds"] for row in rows if row["split"] == "train"),
        "steps": int(states.step.max()),
    }


def _summarize_member(plan: EnsemblePlan, states: TrainState, index: int) -> MemberResult:
    best_step = int(states.best_step[index])
    scores = {split: float(score[index]) for split, score in states.best_scores.items()} if best_step else {}
    result: MemberResult = {
        "seed": plan.seeds[index],
        "learning_rate": plan.learning_rates[index],
        "best_step": best_step,
        "validation": float(states.best_score[index]),
        "test": scores.get("test"),
        "scores": scores,
        "died_at": int(states.died_at[index]) if not states.alive[index] else None,
    }
    own: Any = member_values(plan, index)
    result.update(own)
    if states.stopped_at is not None:
        stopped_at = int(states.stopped_at[index])
        result["stopped_at"] = stopped_at if stopped_at >= 0 else None
    return result
