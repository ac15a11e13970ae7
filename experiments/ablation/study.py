"""An ablation study: what varies, what is held fixed, what is expected; and the cells that follow from it.

A study is a file in experiments/studies/ with a docstring and a `STUDY`. Its settings are all combinations of what it
varies. A setting is the config file and the mixer that it names, as "config" and "mixer", and fields of that config,
as "model.attention.heads". Each is trained with every learning rate on seeds for choosing, and then, with the rate that
did best, on seeds that are reported. Each seed of each rate is a cell.
"""

import importlib
import itertools
import pkgutil
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import models
import tasks
from experiments import studies
from experiments.measures import registry
from training import builder

SCORE_METRICS = ("test", "validation")  # the scores that training itself gives; "test@16" is that of a split "test_16"
SLOPE_PREFIX = "slope of "  # before the name of a curve: its exponent, fitted to a power law

_UNPRINTABLE = (
    "Cc",
    "Cs",
    "Cn",
)  # control characters, halves of surrogates, and what is no character: no XML holds them all

Labels = dict[str, Any]  # axis → label: which setting
Overrides = Mapping[str, Any]  # field of a config → value

BARE_MIXER: Overrides = {  # a mixer with nothing around it, as in papers older than the skeleton
    "model.norm": "none",
    "model.residual": False,
    "model.final_norm": False,
    "model.feedforward": 0.0,
    "optimizer.weight_decay": 0.0,
}


class Claim(NamedTuple):
    """`left` − `right` ≥ `margin`, of the mean of `metric`; or, with `within`, |left − right| ≤ `within`.

    `left` says which settings, as {axis: label} or {axis: (labels)}: all that match, and the claim is made for each.
    `right` says in the same way what each is compared with, being like it in every axis that `right` does not name; or
    it is a number.
    """

    text: str
    left: Mapping[str, Any]
    right: Mapping[str, Any] | float
    margin: float = 0.0
    metric: str = "test"
    at_most: bool = False  # the other way round: right − left ≥ margin
    within: float | None = None


def claim_above(
    text: str, left: Mapping[str, Any], right: Mapping[str, Any] | float, margin: float = 0.0, **options: Any
) -> Claim:
    """`left` is higher than `right` by at least `margin`."""
    return Claim(text, left, right, margin, **options)


def claim_below(
    text: str, left: Mapping[str, Any], right: Mapping[str, Any] | float, margin: float = 0.0, **options: Any
) -> Claim:
    """`left` is lower than `right` by at least `margin`."""
    return Claim(text, left, right, margin, at_most=True, **options)


def claim_near(
    text: str, left: Mapping[str, Any], right: Mapping[str, Any] | float, within: float, **options: Any
) -> Claim:
    """`left` and `right` are no further than `within` apart."""
    return Claim(text, left, right, within=within, **options)


class Scale(NamedTuple):
    """How much of a study: the seeds that are reported, the learning rates to choose from (none: the config's own) on
    the seeds `tuning_seeds`, changes to every setting, and axes with other labels than the study's."""

    seeds: tuple[int, ...]
    learning_rates: tuple[float, ...] = ()
    tuning_seeds: tuple[int, ...] = (100,)
    overrides: Overrides = {}
    grid: Mapping[str, Any] = {}


class Study(NamedTuple):
    """`grid` maps each axis to its labels: the values of the field that the axis is named by, or a mapping from labels
    to the changes that each stands for. `exclude` lists combinations that are left out, as {axis: label}.

    `measures` names what is measured in the trained models (measures.MEASURES) beside their scores; an untrained study
    measures in models as they begin. `plot_metric` is the metric that its picture shows and `notes_row` the row of the
    notes' claims that it answers. `proxy` says, where it stands in for something larger, for what; `paper`, of a
    published result, where that was published.
    """

    question: str
    fixed: Overrides
    grid: Mapping[str, Any]
    scales: Mapping[str, Scale]
    claims: Sequence[Claim]
    measures: Sequence[str] = ()
    exclude: Sequence[Labels] = ()
    trained: bool = True
    plot_metric: str = "test"
    notes_row: int = 0
    proxy: str = ""
    paper: str = ""


class Setting(NamedTuple):
    """One combination of labels, and the resolved config that it stands for (with the rates and seeds of no cell)."""

    labels: Labels
    config: dict[str, Any]


def study_names() -> list[str]:
    """The studies that there are."""
    return sorted(module.name for module in pkgutil.iter_modules(studies.__path__))


def load_study(name: str) -> Study:
    """Raises ValueError for a study that there is not, or that has no STUDY."""
    models.validate_choice("--study", name, study_names())
    module = importlib.import_module(f"experiments.studies.{name}")
    found = getattr(module, "STUDY", None)
    if not isinstance(found, Study):
        raise ValueError(f"experiments/studies/{name}.py: has no STUDY, which every study names its Study by")
    return found


def axis_overrides(study: Study, scale: Scale) -> dict[str, dict[Any, Overrides]]:
    """Axis → label → changes. Raises ValueError for an axis without labels, or one that the study does not have."""
    for axis in scale.grid:
        models.validate_choice("Scale.grid", axis, study.grid)
    given = {axis: scale.grid.get(axis, labels) for axis, labels in study.grid.items()}
    if not given:
        raise ValueError("vary: a study varies something, as {'mixer': ('lstm', 'attention')}")
    for axis, labels in given.items():
        if not labels:
            raise ValueError(f"vary: {axis} has no labels, so the grid is empty")
        if isinstance(labels, str) or len(set(labels)) < len(labels):
            raise ValueError(f"vary: {axis}={labels!r} must be a tuple of different labels, or a mapping from them")
    return {
        axis: dict(labels) if isinstance(labels, Mapping) else {label: {axis: label} for label in labels}
        for axis, labels in given.items()
    }


def grid_labels(study: Study, scale: Scale) -> list[Labels]:
    """The labels of every setting of the grid."""
    grid = axis_overrides(study, scale)
    found = [dict(zip(grid, labels, strict=True)) for labels in itertools.product(*grid.values())]
    return [one for one in found if not any(labels_match(one, where) for where in study.exclude)]


def resolve_settings(study: Study, scale: Scale, selected: Mapping[str, Sequence[str]] | None = None) -> list[Setting]:
    """Every setting of the grid, or those with a `selected` label on each axis that `selected` has.

    Raises ValueError, naming the setting, for one that can't be built, and for a study without any.
    """
    grid, found = axis_overrides(study, scale), []
    for axis, labels in (selected or {}).items():
        models.validate_choice("--filter", axis, grid)
        for label in labels:
            models.validate_choice(f"--filter: {axis}", label, map(str, grid[axis]))
    for one in grid_labels(study, scale):
        if any(str(one[axis]) not in wanted for axis, wanted in (selected or {}).items()):
            continue
        changes = {**study.fixed, **scale.overrides}
        for axis, label in one.items():
            changes |= grid[axis][label]
        try:
            found.append(Setting(one, resolve_config(changes)))
        except ValueError as error:
            raise ValueError(f"{format_labels(one)}: {error}") from None
    if not found:
        raise ValueError("the grid is empty: everything is filtered out or without")
    same: dict[str, Labels] = {}
    for one in found:
        other = same.setdefault(repr(sorted(builder.fingerprint_fields(one.config).items())), one.labels)
        if other is not one.labels:
            raise ValueError(
                f"{format_labels(one.labels)} and {format_labels(other)}: are the same config, so nothing varies between them"
            )
    return found


def resolve_config(overrides: Overrides) -> dict[str, Any]:
    """The resolved config that "config", "mixer" and fields say. Raises ValueError where there is no such thing."""
    overrides = dict(overrides)
    file, mixer = overrides.pop("config", None), overrides.pop("mixer", "attention")
    folder = Path(__file__).parents[2] / "configs"
    models.validate_choice("config", str(file), sorted(path.stem for path in folder.glob("[a-z]*.py")))
    config: Any = importlib.import_module(f"configs.{file}").get_config(mixer)
    known = list(builder.flatten_config(config))
    if "task.name" in overrides:
        models.validate_choice("task.name", overrides["task.name"], tasks.TASKS)
    for field, value in overrides.items():
        models.validate_choice("field", field, known)
        try:
            config.update_from_flattened_dict({field: value})
        except TypeError:
            is_now = config
            for part in field.split("."):
                is_now = is_now[part]
            raise ValueError(f"{field}={value!r}: must be of the type of {is_now!r}") from None
    if config.task.get("dataset"):
        return config.to_dict()  # its data may have to be prepared: built when it is its turn
    return {name: value for name, value in builder.build_run(config).config.items() if name != "versions"}


def validate_study(study: Study, scale_name: str) -> None:
    """Refuse, with ValueError in one line, a study that can't be run or claims what it does not have."""
    models.validate_choice("--scale", scale_name, study.scales)
    scale = study.scales[scale_name]
    if not scale.seeds or len(set(scale.seeds)) < len(scale.seeds):
        raise ValueError(f"seeds={scale.seeds}: must be one or more different seeds")
    if shared := set(scale.seeds) & set(scale.tuning_seeds) if len(scale.learning_rates) > 1 else ():
        raise ValueError(
            f"choosing={scale.tuning_seeds}: seed {min(shared)} is reported too, so it may not choose the rate"
        )
    for name in study.measures:
        models.validate_choice("measured", name, registry.MEASURES)
    if not study.trained and not study.measures:
        raise ValueError("trained=False: then something must be measured")
    grid = axis_overrides(study, scale)
    shown = [study.question, study.proxy, study.paper, *(claim.text for claim in study.claims), *grid]
    for text in (*shown, *(str(label) for labels in grid.values() for label in labels)):
        if unfit := [character for character in text if unicodedata.category(character) in _UNPRINTABLE]:
            raise ValueError(f"{text!r}: has {unfit[0]!r} in it, which no report can show")
    all_of_them = resolve_settings(study, scale)
    if scale.learning_rates and len({one.config["optimizer"]["learning_rate"] for one in all_of_them}) > 1:
        raise ValueError(
            "vary: optimizer.learning_rate varies, and the scale has rates, which take its place; give the one or the "
            "other"
        )
    for claim in study.claims:
        validate_metric(study, claim.metric)
        for side in (claim.left, claim.right):
            if isinstance(side, Mapping):
                for axis, wanted in side.items():
                    models.validate_choice(f"claim {claim.text!r}", axis, grid)
                    for label in wanted if isinstance(wanted, tuple) else (wanted,):
                        if label not in grid[axis]:
                            known = ", ".join(map(str, grid[axis]))
                            raise ValueError(f"claim {claim.text!r}: {axis} has no {label!r}; it has {known}")
        if not list(compared_pairs(claim, [one.labels for one in all_of_them])):
            raise ValueError(f"claim {claim.text!r}: the grid has no setting that it speaks of")
    validate_metric(study, study.plot_metric)


def validate_metric(study: Study, metric: str) -> None:
    """Refuse a metric that no cell of the study will have."""
    known = [*(SCORE_METRICS if study.trained else ()), *study.measures]
    models.validate_choice("metric", base_metric(metric), known)


def base_metric(metric: str) -> str:
    """The score or measure that a metric is a point or the exponent of."""
    return metric.removeprefix(SLOPE_PREFIX).split("@")[0]


def labels_match(labels: Labels, where: Mapping[str, Any]) -> bool:
    """Whether a setting is one of those that `where` names."""
    return all(
        labels[axis] in wanted if isinstance(wanted, tuple) else labels[axis] == wanted
        for axis, wanted in where.items()
    )


def compared_pairs(claim: Claim, settings: Sequence[Labels]) -> Iterator[tuple[Labels, Labels | float]]:
    """The settings that a claim compares: every left one with itself, but for what the right side names."""
    for one in settings:
        if not labels_match(one, claim.left):
            continue
        if not isinstance(claim.right, Mapping):
            yield one, claim.right
            continue
        for other in settings:
            if labels_match(other, claim.right) and all(
                one[axis] == other[axis] for axis in one.keys() - claim.right.keys()
            ):
                yield one, other


def format_labels(labels: Labels) -> str:
    """A setting in words: "lstm, delay 40": a field by the last part of its name, any other axis by its label alone."""
    parts = [f"{axis.split('.')[-1]} {label}" if "." in axis else str(label) for axis, label in labels.items()]
    return ", ".join(parts)
