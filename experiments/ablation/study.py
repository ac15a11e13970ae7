"""An ablation study: what varies, what is held fixed, what is expected; and the settings that follow from it.

A study is a file in experiments/studies/ with a docstring and a `STUDY`. Its settings are all combinations of the
labels in its grid. A setting is made of the config file and mixer that it names, as "config" and "mixer", and of fields
of that config, as "model.attention.heads". Each setting is trained with every learning rate on the tuning seeds, and
then, with the rate that did best there, on the reported seeds. One seed with one rate is a trial.
"""

import importlib
import itertools
import pkgutil
import runpy
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import models
import tasks
from experiments.measures import registry
from training import builder

STUDIES_DIR = Path(__file__).parents[1] / "studies"  # a floor above: its files are found by name and not imported
SCORE_METRICS = ("test", "validation")  # the scores that training itself gives; "test@16" is that of a split "test_16"
# Further scores of the test split that some tasks give, each a metric by its own name.
EXTRA_METRICS = tuple(dict.fromkeys(name for task in tasks.TASKS.values() for name in task.EXTRA_METRICS))
SLOPE_PREFIX = "slope of "  # before the name of a curve: its exponent, fitted to a power law

# Unicode categories that XML, and so an SVG, can't hold: control characters, halves of surrogates, unassigned.
_UNPRINTABLE = ("Cc", "Cs", "Cn")

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
    """An inequality of means of `metric`: `left` − `right` ≥ `margin`; or, with `within`, |left − right| ≤ `within`.

    `left` selects settings, as {axis: label} or {axis: (labels)}; the claim must hold for each of them. `right` is a
    number, or selects in the same way the settings to compare with: those that agree with the left one on every axis
    that `right` does not name. With `best_of`, an axis, of left settings that differ on this axis alone only the best
    is compared: the one with the best mean validation score. With `seeds_reach` the inequality is one of shares of
    seeds: of those whose metric is this number or more.
    """

    text: str
    left: Mapping[str, Any]
    right: Mapping[str, Any] | float
    margin: float = 0.0
    metric: str = "test"
    at_most: bool = False  # the other way round: right − left ≥ margin
    within: float | None = None
    best_of: str = ""
    seeds_reach: float | None = None
    also: tuple["Claim", ...] = ()  # further inequalities that must hold for the same text

    @property
    def inequalities(self) -> tuple["Claim", ...]:
        """This inequality and those that must hold with it."""
        return (self, *self.also)


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
    """How large a study is run.

    `seeds` are reported. Learning rates are chosen among `learning_rates` (if none are given, the config's own is
    taken) on `tuning_seeds`; where the best is the lowest or the highest of them, and none is as good, the next one of
    `wider_rates` beyond it is tried too, and so on. `overrides` changes fields of every setting, and `grid` replaces
    the labels of axes.
    """

    seeds: tuple[int, ...]
    learning_rates: tuple[float, ...] = ()
    tuning_seeds: tuple[int, ...] = (100,)
    overrides: Overrides = {}
    grid: Mapping[str, Any] = {}
    wider_rates: tuple[float, ...] = ()


class Study(NamedTuple):
    """A question, the settings that answer it and the claims that were made before it was run.

    `grid` maps each axis to its labels: values of the config field that the axis is named by, or a mapping from labels
    to the overrides that each stands for. `exclude` lists combinations to leave out, as {axis: label}.

    `measures` names what is measured in the trained models beside their scores (registry.MEASURES); as a mapping, each
    only in the settings that it maps to, as {measure: {axis: label}}. An untrained study measures models as they are
    initialized. A study that `needs_data` is of data that its user names, for which `fixed` has a stand-in.
    `plot_metric` is the metric in its picture, `notes_row` the row of the lecture notes' claims that it
    answers, `proxy` what larger experiment it stands in for, and `paper` where a published result was published. The
    labels of `registry_axis` are all entries of a registry, which may have some that no record has yet.
    """

    question: str
    fixed: Overrides
    grid: Mapping[str, Any]
    scales: Mapping[str, Scale]
    claims: Sequence[Claim]
    measures: Sequence[str] | Mapping[str, Mapping[str, Any]] = ()
    exclude: Sequence[Labels] = ()
    trained: bool = True
    needs_data: bool = False
    plot_metric: str = "test"
    notes_row: int = 0
    proxy: str = ""
    paper: str = ""
    registry_axis: str = ""


class Setting(NamedTuple):
    """One combination of labels and the resolved config that it stands for, without seeds and learning rates."""

    labels: Labels
    config: dict[str, Any]


def study_names() -> list[str]:
    """The names of all studies, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules([str(STUDIES_DIR)]))


def load_study(name: str) -> Study:
    """Import a study. Raises ValueError for an unknown name and for a file without a STUDY."""
    models.validate_choice("--study", name, study_names())
    module = importlib.import_module(f"experiments.studies.{name}")
    found = getattr(module, "STUDY", None)
    if not isinstance(found, Study):
        raise ValueError(f"experiments/studies/{name}.py: has no STUDY, which every study names its Study by")
    return found


def axis_overrides(study: Study, scale: Scale) -> dict[str, dict[Any, Overrides]]:
    """Axis → label → overrides. Raises ValueError for an axis without labels, or one that the study does not have."""
    for axis in scale.grid:
        models.validate_choice("Scale.grid", axis, study.grid)
    given = {axis: scale.grid.get(axis, labels) for axis, labels in study.grid.items()}
    if not given:
        raise ValueError("grid: a study needs an axis, as {'mixer': ('lstm', 'attention')}")
    for axis, labels in given.items():
        if not labels:
            raise ValueError(f"grid: {axis} has no labels, so the grid is empty")
        if isinstance(labels, str) or len(set(labels)) < len(labels):
            raise ValueError(f"grid: {axis}={labels!r} must be a tuple of different labels, or a mapping from them")
    return {axis: label_overrides(axis, labels) for axis, labels in given.items()}


def label_overrides(axis: str, labels: Any) -> dict[Any, Overrides]:
    """Label → overrides, of the labels that a grid has for an axis."""
    return dict(labels) if isinstance(labels, Mapping) else {label: {axis: label} for label in labels}


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
        raise ValueError("the grid is empty: every setting is filtered out or excluded")
    same: dict[str, Labels] = {}
    for one in found:
        other = same.setdefault(repr(sorted(builder.fingerprint_fields(one.config).items())), one.labels)
        if other is not one.labels:
            raise ValueError(
                f"{format_labels(one.labels)} and {format_labels(other)}: are the same config, so nothing varies "
                f"between them"
            )
    return found


def resolve_config(overrides: Overrides) -> dict[str, Any]:
    """The resolved config that "config", "mixer" and fields say. Raises ValueError where there is no such thing."""
    overrides = dict(overrides)
    file, mixer = str(overrides.pop("config", None)), overrides.pop("mixer", "attention")
    config: Any = load_config_file(file)["get_config"](mixer)
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
    if builder.has_data(config.task):
        return config.to_dict()  # its data may have to be prepared: built when it is its turn
    return {name: value for name, value in builder.build_run(config).config.items() if name != "versions"}


def load_config_file(file: str) -> dict[str, Any]:
    """The names that a config file defines: a file in configs/ by its name, or any file by its path, which ends in .py.

    Raises ValueError for a name that is in configs/ for no file.
    """
    if file.endswith(".py"):
        return runpy.run_path(file)
    folder = Path(__file__).parents[2] / "configs"
    models.validate_choice("config", file, sorted(path.stem for path in folder.glob("[a-z]*.py")))
    return vars(importlib.import_module(f"configs.{file}"))


def parse_filter(words: Sequence[str], study: Study) -> dict[str, list[str]]:
    """The labels in `AXIS=LABEL,LABEL` of --filter, by axis. An axis may be given by the end of its name."""
    labels: dict[str, list[str]] = {}
    axis = ""
    for word in words:
        name, equals, label = word.partition("=")
        known = next((one for one in study.grid if name in (one, one.split(".")[-1])), None)
        if equals and (known or not axis):
            axis = known or name
        elif axis:
            label = word  # a label may have a = in it
        else:
            raise ValueError(
                f"--filter={','.join(words)}: write AXIS=LABEL,LABEL with AXIS one of {', '.join(study.grid)}"
            )
        labels.setdefault(axis, []).append(label)
    return labels


def validate_study(study: Study, scale_name: str) -> None:
    """Refuse, with ValueError in one line, a study that can't be run or claims what it does not have."""
    models.validate_choice("--scale", scale_name, study.scales)
    scale = study.scales[scale_name]
    if not scale.seeds or len(set(scale.seeds)) < len(scale.seeds):
        raise ValueError(f"seeds={scale.seeds}: must be one or more different seeds")
    if shared := set(scale.seeds) & set(scale.tuning_seeds) if len(scale.learning_rates) > 1 else ():
        raise ValueError(
            f"tuning_seeds={scale.tuning_seeds}: seed {min(shared)} is reported too, so it may not choose the rate"
        )
    if scale.wider_rates and len(scale.learning_rates) < 2:
        raise ValueError("wider_rates: are tried beside two or more learning_rates, which the scale does not have")
    if inside := [rate for rate in scale.wider_rates if min(scale.learning_rates) <= rate <= max(scale.learning_rates)]:
        raise ValueError(f"wider_rates: {inside[0]:g} is not outside of learning_rates={scale.learning_rates}")
    for name in study.measures:
        models.validate_choice("measures", name, registry.MEASURES)
    if not study.trained and not study.measures:
        raise ValueError("trained=False: an untrained study needs measures")
    grid = axis_overrides(study, scale)
    shown = [study.question, study.proxy, study.paper, *(claim.text for claim in study.claims), *grid]
    for text in (*shown, *(str(label) for labels in grid.values() for label in labels)):
        if unfit := [character for character in text if unicodedata.category(character) in _UNPRINTABLE]:
            raise ValueError(f"{text!r}: has {unfit[0]!r} in it, which no report can show")
    all_of_them = resolve_settings(study, scale)
    if scale.learning_rates and len({one.config["optimizer"]["learning_rate"] for one in all_of_them}) > 1:
        raise ValueError(
            "grid: optimizer.learning_rate varies, and the scale has learning_rates, which take its place; "
            "give one of the two"
        )
    for where in study.measures.values() if isinstance(study.measures, Mapping) else ():
        _validate_labels("measures", where, study, grid)
    labels, extra = [one.labels for one in all_of_them], extra_metrics(all_of_them)
    for claim in study.claims:
        for part in claim.inequalities:
            validate_metric(study, part.metric, extra)
            for side in (part.left, part.right):
                if isinstance(side, Mapping):
                    _validate_labels(f"claim {claim.text!r}", side, study, grid)
            if part.best_of:
                models.validate_choice(f"claim {claim.text!r}: best_of", part.best_of, grid)
            if not scale.grid and not list(compared_pairs(part, labels)):
                raise ValueError(f"claim {claim.text!r}: the grid has no setting that it speaks of")
    validate_metric(study, study.plot_metric, extra)


def _validate_labels(what: str, where: Mapping[str, Any], study: Study, grid: Mapping[str, Mapping[Any, Any]]) -> None:
    """Refuse an axis or label that is in no scale's grid."""
    for axis, wanted in where.items():
        models.validate_choice(what, axis, grid)
        known = {*study.grid[axis], *(label for scale in study.scales.values() for label in scale.grid.get(axis, ()))}
        for label in wanted if isinstance(wanted, tuple) else (wanted,):
            if label not in known:
                raise ValueError(f"{what}: {axis} has no {label!r}; it has {', '.join(map(str, grid[axis]))}")


def extra_metrics(settings: Sequence[Setting]) -> list[str]:
    """The extra metrics of the settings' tasks, which give them where the data are the user's own or they are on."""
    asked = [task for task in (setting.config["task"] for setting in settings)
             if task.get("extra_metrics", bool(task.get("path")))]  # fmt: skip
    return list(dict.fromkeys(name for task in asked for name in tasks.TASKS[task["name"]].EXTRA_METRICS))


def validate_metric(study: Study, metric: str, extra: Sequence[str] = ()) -> None:
    """Refuse a metric that no trial of the study will have: neither a score, nor an `extra` one, nor a measure."""
    known = [*((*SCORE_METRICS, *extra) if study.trained else ()), *study.measures]
    models.validate_choice("metric", base_metric(metric), known)


def is_score(metric: str) -> bool:
    """Whether a metric is a score of the model, or a point or the exponent of one, and no measure."""
    return base_metric(metric) in (*SCORE_METRICS, *EXTRA_METRICS)


def base_metric(metric: str) -> str:
    """The score or measure that a metric is a point or the exponent of."""
    return metric.removeprefix(SLOPE_PREFIX).split("@")[0]


def measures_for(study: Study, labels: Labels) -> tuple[str, ...]:
    """The measures that are taken in a setting."""
    if not isinstance(study.measures, Mapping):
        return tuple(study.measures)
    return tuple(name for name, where in study.measures.items() if labels_match(labels, where))


def labels_match(labels: Labels, where: Mapping[str, Any]) -> bool:
    """Whether a setting is one of those that `where` selects, as {axis: label} or {axis: (labels)}."""
    return all(
        labels[axis] in wanted if isinstance(wanted, tuple) else labels[axis] == wanted
        for axis, wanted in where.items()
    )


def compared_pairs(claim: Claim, settings: Sequence[Labels]) -> Iterator[tuple[Labels, Labels | float]]:
    """Each left setting of a claim with each right one that it is compared with, or with the claim's number."""
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
    """A setting in words, e.g. "lstm, delay 40": fields by the last part of their name, other axes by the label."""
    parts = [f"{axis.split('.')[-1]} {label}" if "." in axis else str(label) for axis, label in labels.items()]
    return ", ".join(parts)
