"""A study on data of the user's, in place of its own task.

What the study varies in model, optimizer and training stays. What speaks of its own task goes: axes that only choose
the task, claims, and measures that can't be taken on another one.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import models
import tasks
from experiments.ablation.own_data import OwnData
from experiments.ablation.study import (
    SCORE_METRICS,
    Overrides,
    Scale,
    Study,
    label_overrides,
    load_config_file,
)

_TASK_SIZES = ("model.max_length", "training.min_length")  # beside config.task, what is chosen to suit a task


def study_on_data(name: str, study: Study, data: OwnData) -> tuple[Study, list[str]]:
    """The study called `name` on these data, and lines that say what of it was left out.

    Raises ValueError, in one line, for a study that varies nothing but its task or measures nothing of data, for models
    that need another kind of task, and for fields on the command line that the study varies.
    """
    if not study.trained:
        raise ValueError(f"--study={name}: measures what models cost, at lengths of its own: leave out --config")
    task, chosen = tasks.TASKS[data.task["name"]], _task_axes(study)
    axis_names = {axis: axis for axis in study.grid if axis not in chosen[1:]}
    axis_names |= {axis: "data" for axis in chosen[:1] if "." in axis}

    def rewrite_grid(grid: Mapping[str, Any]) -> dict[str, Any]:
        rewritten: dict[str, Any] = {}
        for axis in (axis for axis in grid if axis in axis_names):
            labels = label_overrides(axis, grid[axis])
            if axis in chosen:
                rewritten[axis_names[axis]] = {data.name: _fewest_steps(labels.values(), data)}
            else:
                rewritten[axis] = _distinct_labels(study, labels, task, data)
        return rewritten

    grid = rewrite_grid(study.grid)
    if all(len(labels) < 2 for labels in grid.values()):
        raise ValueError(f"--study={name}: varies nothing but its own task, so other data leave nothing to compare")
    question = study.question if study.needs_data else f"{study.question} Here on {data.title}, not on its own task."
    found = study._replace(
        question=question,
        fixed=_fixed_fields(name, study, task, data, grid),
        grid=grid,
        scales={
            key: _own_scale(scale._replace(grid=rewrite_grid(scale.grid)), task, data)
            for key, scale in study.scales.items()
        },
        claims=(),
        measures=_kept_measures(study, task, grid),
        exclude=[where for where in study.exclude if _is_in_grid(where, grid)],
        needs_data=False,
        notes_row=0,
        proxy="",
        paper="",
        registry_axis="",
    )
    known = (*SCORE_METRICS, *found.measures)
    found = found._replace(plot_metric=study.plot_metric if study.plot_metric in known else "test")
    _check_models(name, found, task)
    _check_conflicts(name, found, data)
    return found, _describe_losses(study, found, chosen)


# ---- axes and labels ------------------------------------------------------------------------------------------------


def _task_axes(study: Study) -> list[str]:
    """The axes of which each label chooses the task or a setting of it."""
    return [axis for axis in study.grid if all(any(map(_is_of_task, one)) for one in _all_labels(study, axis))]


def _all_labels(study: Study, axis: str) -> list[Overrides]:
    """The overrides of every label that an axis has at any scale."""
    grids = [study.grid, *(scale.grid for scale in study.scales.values())]
    return [one for grid in grids if axis in grid for one in label_overrides(axis, grid[axis]).values()]


def _is_of_task(field: str) -> bool:
    return field == "config" or field.startswith("task.")


def _is_kept(field: str, task: Any) -> bool:
    """Whether a field of the study has a meaning on another task: model, optimizer and training, but for sizes that
    suit the study's own task, and for what the other task does not leave open."""
    if _is_of_task(field) or field in _TASK_SIZES:
        return False
    if field == "model.causal":
        return not task.next_tokens
    return field != "model.pool" or task.target_level == "sequence"


def _fewest_steps(labels: Iterable[Overrides], data: OwnData) -> Overrides:
    """The shortest training that an axis of tasks has, so that a scale takes no longer on other data."""
    fields = ("training.steps", "training.eval_every")
    trained = [{field: one[field] for field in fields if field in one} for one in labels if "training.steps" in one]
    shortest = min(trained, key=lambda one: one["training.steps"], default={})
    return {field: value for field, value in shortest.items() if field not in data.overrides}


def _distinct_labels(study: Study, labels: Mapping[Any, Overrides], task: Any, data: OwnData) -> dict[Any, Overrides]:
    """The labels without what is of the task; those that are then the same as an earlier one are left out.

    A field that only some of the labels set has in the others the value that it has in the study's own config: other
    data may come with another one, and a label such as "2 layers" would not be true.
    """
    fields = {field: None for one in labels.values() for field in one if _is_kept(field, task)}
    kept: dict[Any, Overrides] = {}
    for label, overrides in labels.items():
        own = {**_own_values(study, overrides, fields), **overrides}
        own = {field: own[field] for field in fields if field in own}
        if "mixer" in own:
            own |= _options_of(own["mixer"], data)
        if own not in kept.values():
            kept[label] = own
    return kept


def _own_values(study: Study, overrides: Overrides, fields: Iterable[str]) -> Overrides:
    """The values of these fields in the study's own config, as far as it has one and leaves them to its file."""
    mixer = overrides.get("mixer", study.fixed.get("mixer", "attention"))
    values: dict[str, Any] = {"mixer": mixer} if "mixer" in fields else {}
    if "config" in study.fixed:
        config = load_config_file(study.fixed["config"])["get_config"](mixer).to_dict()
        for field in (field for field in fields if field not in ("mixer", *study.fixed)):
            group, *path = field.split(".")
            value = config.get(group, {})
            for part in path:
                value = value.get(part) if isinstance(value, dict) else None
            if value is not None:  # else an option of another mixer
                values[field] = value
    return values


def _is_in_grid(where: Mapping[str, Any], grid: Mapping[str, Any]) -> bool:
    return all(axis in grid and label in grid[axis] for axis, label in where.items())


# ---- fields ---------------------------------------------------------------------------------------------------------


def _fixed_fields(name: str, study: Study, task: Any, data: OwnData, grid: Mapping[str, Any]) -> Overrides:
    """What every setting has: the study's own fields, and the config and mixer of the data."""
    fixed = {field: value for field, value in study.fixed.items() if _is_kept(field, task)}
    is_varied = any(all("mixer" in one for one in labels.values()) for labels in grid.values())
    if data.mixer and ("mixer" in fixed or is_varied):
        raise ValueError(
            f"--config={data.config_file}:{data.mixer}: {name} has mixers of its own: leave out :{data.mixer}"
        )
    if not is_varied:
        fixed["mixer"] = data.mixer or fixed.get("mixer", "attention")
        fixed |= _options_of(fixed["mixer"], data)
    return {**fixed, "config": data.config_file}


def _own_scale(scale: Scale, task: Any, data: OwnData) -> Scale:
    """The scale with the fields of the command line, which count more than its own; seeds and rates are the scale's."""
    fields = {field: value for field, value in data.overrides.items() if not _is_mixer_option(field)}
    seeds, rates = fields.pop("ensemble.seeds", scale.seeds), fields.pop("ensemble.learning_rates", None)
    if "ensemble.mode" in fields:
        raise ValueError("--config.ensemble.mode: give --mode")
    if rates is None:
        rates = () if "optimizer.learning_rate" in fields else scale.learning_rates
    kept = {field: value for field, value in scale.overrides.items() if _is_kept(field, task)}
    return scale._replace(seeds=tuple(seeds), learning_rates=tuple(rates), overrides=kept | fields)


def _is_mixer_option(field: str) -> bool:
    return field.startswith("model.") and field.split(".")[1] in models.MIXERS


def _options_of(mixer: str, data: OwnData) -> Overrides:
    """The fields of the command line that are options of this mixer, or of one in this pattern."""
    names = models.parse_layer_pattern(mixer)
    options = {field: value for field, value in data.overrides.items() if _is_mixer_option(field)}
    return {field: value for field, value in options.items() if field.split(".")[1] in names}


def _check_models(name: str, study: Study, task: Any) -> None:
    """Refuse models that need pairs of source and target, or of key and value, where the task has none."""
    overrides = [study.fixed, *(scale.overrides for scale in study.scales.values())]
    overrides += [one for axis in study.grid for one in _all_labels(study, axis)]
    needs = {field for one in overrides for field, value in one.items() if value}
    if "model.encoder_decoder" in needs and getattr(task, "separator", None) is None:
        raise ValueError(
            f"--study={name}: its models are encoder–decoders, which need pairs of source and target, as "
            f"configs/pairs.py has them"
        )
    if "model.associative_memory" in needs:
        raise ValueError(f"--study={name}: its models are memories of keys and values, which no data but its own have")


def _check_conflicts(name: str, study: Study, data: OwnData) -> None:
    """Refuse fields of the command line that labels set, and options of mixers that no setting has."""
    labels = {axis: _all_labels(study, axis) for axis in study.grid}
    options = {field for one in (study.fixed, *(one for some in labels.values() for one in some)) for field in one}
    for field, value in data.overrides.items():
        if field == "model.mixer":
            raise ValueError(f"--config.{field}={value}: choose among the mixers of {name} with --filter")
        if _is_mixer_option(field):
            if field not in options:
                raise ValueError(f"--config.{field}={value}: no setting of {name} has this mixer")
            continue
        for axis, some in labels.items():
            if any(field in one for one in some):
                raise ValueError(f"--config.{field}={value}: {name} varies it ({axis}): choose with --filter={axis}=…")


# ---- measures and claims --------------------------------------------------------------------------------------------


def _kept_measures(study: Study, task: Any, grid: Mapping[str, Any]) -> Any:
    """Those of the study's measures that can be taken on the task."""
    kept = _possible_measures(task)
    if not isinstance(study.measures, Mapping):
        return tuple(name for name in study.measures if name in kept)
    return {name: where for name, where in study.measures.items() if name in kept and _is_in_grid(where, grid)}


def _possible_measures(task: Any) -> set[str]:
    """The measures that need nothing of a task but what tasks of its kind have."""
    if getattr(task, "separator", None) is not None:  # two networks, and none of these measures takes them apart
        return set()
    has_tokens, found = task.vocabulary != 0, {"diverse"}
    found |= {"similar", "similar before", "similar gain", "coupled"} if has_tokens else {"affine"}
    if not task.rows_end_early:  # else the last step of a row is padding
        found |= {"reach", "permuted", *(("longer",) if has_tokens and task.next_tokens else ())}
    is_answered = task.target_level == "token" and task.metric == "accuracy"
    return found | ({"bits"} if is_answered else set())


def _describe_losses(study: Study, found: Study, chosen: Sequence[str]) -> list[str]:
    """What of the study is not in what was found, in lines."""
    lines = []
    if fields := [
        f"{field}={value}"
        for field, value in study.fixed.items()
        if field not in found.fixed and not _is_of_task(field)
    ]:
        lines.append(f"left out, since they suit its own task: {', '.join(fields)}")
    for axis in study.grid:
        if axis not in chosen and (gone := [str(one) for one in study.grid[axis] if one not in found.grid[axis]]):
            lines.append(f"left out of {axis}, since only the task made them differ: {', '.join(gone)}")
    if gone := [name for name in study.measures if name not in found.measures]:
        lines.append(f"left out, since they measure something in its own task: {', '.join(gone)}")
    if study.claims:
        lines.append(f"left out: {len(study.claims)} claim{'s' * (len(study.claims) > 1)} about its own task")
    return lines
