"""A trial: one seed of one setting with one learning rate; how it is identified and what is kept of it."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, NotRequired, TypedDict

from experiments.ablation.study import Labels, Scale, Setting
from experiments.measures import registry
from training import builder, files
from training.runtime import DEFAULT_DATA_DIR

COST_FIELDS = ("parameters", "mixer_parameters", "state_floats", "step_flops")

_NUMBER, _INTEGER, _TEXT = {"type": "number"}, {"type": "integer"}, {"type": "string"}


class TrialResult(TypedDict):
    """What is kept of a finished trial: one line of cells.jsonl, one row of a record.

    `metrics` holds the scores ("test", "validation", "test@16" for the split test_16) and the measures ("reach@64" is a
    point of the curve "reach"); None is a number that does not exist. A record written as a table leaves out `best`,
    `group`, `packages` and `config`.
    """

    key: str  # fingerprint of `config`
    seed: int
    learning_rate: float
    metrics: dict[str, float | None]
    metric: str  # what "test" and "validation" are, e.g. "accuracy"
    best: str  # "max" or "min"
    chance: float
    baseline: Sequence[Any]  # [name of a trivial rule, its score]
    best_step: int  # 0: never evaluated
    died_at: int | None  # step at which the loss was not finite
    steps: int
    parameters: float
    mixer_parameters: float
    state_floats: float
    step_flops: float  # of one step and one member
    seconds: float  # its share of all that its group took, compilation and measures included
    training_seconds: float  # its share of the training steps alone
    group: str  # name of the run's directory in groups/
    how: str  # e.g. "map on 2"
    revision: str  # git commit, with "+" where the source had changed since
    device: str
    packages: dict[str, str]
    measured: NotRequired[dict[str, int]]  # measure → its VERSION
    looks: NotRequired[str]  # in a record: the numbers of seeds at which the study was looked at, "3;5"
    claims: NotRequired[str]  # in a record: fingerprints of the claims that its study made then, with ";" between
    config: dict[str, Any]  # `trial_identity`


TRIAL_SCHEMA: dict[str, Any] = {  # of a line of cells.jsonl
    "type": "object",
    "required": sorted(TrialResult.__required_keys__),
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
}


class TrialRecord(NamedTuple):
    """A trial in a study: its setting, what its seed is for ("choose" a learning rate, or "report"), and its result."""

    labels: Labels
    phase: str
    seed: int
    learning_rate: float
    result: TrialResult

    def get_metric(self, metric: str) -> float:
        """A number of the trial; nan where it diverged or has no such number."""
        value = self.result["metrics"].get(metric)
        return float("nan") if value is None or self.result["died_at"] is not None else float(value)

    def get_curve(self, metric: str) -> dict[float, float]:
        """The points of a curve: {x: y} in the order of x."""
        points = {name.split("@")[1]: name for name in self.result["metrics"] if name.startswith(f"{metric}@")}
        return {float(x): self.get_metric(points[x]) for x in sorted(points, key=float)}


def trial_identity(
    config: Mapping[str, Any], seed: int, learning_rate: float, trained: bool = True, data_dir: str = DEFAULT_DATA_DIR
) -> dict[str, Any]:
    """Everything that a trial's result depends on: its config, flattened, VERSIONs and data, seed and rate."""
    versions = builder.collect_versions(config, data_dir)
    fields = builder.fingerprint_fields({**config, "versions": versions})
    left_out = ("ensemble.", "optimizer.learning_rate", *(() if trained else ("training.",)))
    kept = {name: value for name, value in fields.items() if not name.startswith(left_out)}
    return {**kept, "seed": seed, "learning_rate": float(learning_rate), **({} if trained else {"trained": False})}


def trial_key(
    config: Mapping[str, Any], seed: int, learning_rate: float, trained: bool = True, data_dir: str = DEFAULT_DATA_DIR
) -> str:
    """The fingerprint by which a trial is found again."""
    return files.fingerprint(trial_identity(config, seed, learning_rate, trained, data_dir))


def candidate_rates(setting: Setting, scale: Scale) -> tuple[float, ...]:
    """The learning rates to choose from: those of the scale, or else the one of the config."""
    return scale.learning_rates or (setting.config["optimizer"]["learning_rate"],)


def is_complete(result: Mapping[str, Any] | None, measure_names: Sequence[str]) -> bool:
    """Whether a result has these measures in their present VERSION. A trial that diverged has all that it ever will."""
    if result is None:
        return False
    present = {name.split("@")[0] for name in result["metrics"]}
    return result["died_at"] is not None or (
        set(measure_names) <= present and versions_are_current(result.get("measured", {}), measure_names)
    )


def versions_are_current(versions: Mapping[str, int], measure_names: Sequence[str]) -> bool:
    """Whether these measures were taken with their present VERSIONs; 1 where none was recorded."""
    return all(versions.get(name, 1) == registry.MEASURE_VERSIONS[name] for name in measure_names)
