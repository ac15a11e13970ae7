"""The studies that reproduce published results: with other seeds, and with other mixers beside those of the paper."""

from collections.abc import Mapping, Sequence
from typing import Any

import models
from experiments.ablation import study
from experiments.ablation.study import Scale, Study

RESULT_NAMES = (
    *("slots", "queries", "automata", "phrases", "parallel", "strings", "induction", "memory", "flip_flop"),
    *("selection", "counting", "permutations", "negative_eigenvalues", "formal_languages"),
    *("reflections", "recall_rates", "recall_state", "key_place", "newton_iterations", "shakespeare"),
)
OTHER_SEEDS_SUFFIX = "-again"  # of a scale's name: the same scale with other seeds
SEED_OFFSET = 1000  # what is added to each reported seed


def load_result(name: str, mixers: Sequence[str] = ()) -> Study:
    """Return the study of a result, with `mixers` among its models, and every scale once more with other seeds.

    Raises ValueError for an unknown name or mixer, and where the study varies no mixer.
    """
    models.validate_choice("--result", name, RESULT_NAMES)
    loaded = study.load_study(name)
    other_scales = {f"{scale}{OTHER_SEEDS_SUFFIX}": with_other_seeds(size) for scale, size in loaded.scales.items()}
    return with_mixers(name, loaded._replace(scales={**loaded.scales, **other_scales}), mixers)


def result_flags(
    name: str, scale: str, *, other_seeds: bool = False, until: str | None = None, mixers: Sequence[str] = ()
) -> list[str]:
    """Return the flags of `experiments.reproduce` that run a result so."""
    words = [f"--result={name}", f"--scale={scale}"]
    words += ["--other_seeds"] if other_seeds else []
    words += [f"--until={until}"] if until else []
    return words + ([f"--mixers={','.join(mixers)}"] if mixers else [])


def with_other_seeds(scale: Scale) -> Scale:
    """Return the scale with other reported seeds. The seeds that choose the learning rates stay."""
    return scale._replace(seeds=tuple(seed + SEED_OFFSET for seed in scale.seeds))


def with_mixers(name: str, loaded: Study, mixers: Sequence[str]) -> Study:
    """Return the study with these mixers as settings of their own, in the common skeleton, at the sizes that other such
    settings have. Raises ValueError where the study varies no mixer."""
    for mixer in mixers:
        for part in models.parse_layer_pattern(mixer):
            models.validate_choice("--mixers", part, models.MIXERS)
    if not mixers:
        return loaded
    axis = mixer_axis(loaded)
    if axis is None:
        fitting = ", ".join(result for result in RESULT_NAMES if mixer_axis(study.load_study(result)))
        raise ValueError(f"--mixers: {name} varies something else than its mixer; give --mixers to {fitting}")

    def extend_labels(labels: Any) -> Any:
        new = [mixer for mixer in mixers if mixer not in labels]
        if isinstance(labels, Mapping):
            return {**labels, **{mixer: {"mixer": mixer} for mixer in new}}
        return (*labels, *new)

    scales = {
        key: scale._replace(
            grid={a: extend_labels(labels) if a == axis else labels for a, labels in scale.grid.items()}
        )
        for key, scale in loaded.scales.items()
    }
    labels = loaded.grid[axis] if isinstance(loaded.grid[axis], Mapping) else {}
    in_skeleton = [label for label, overrides in labels.items() if set(overrides) == {"mixer"}]
    exclude = [
        {**where, axis: mixer}
        for where in loaded.exclude
        if where.get(axis) in in_skeleton[:1]
        for mixer in mixers
    ]  # fmt: skip
    grid = {**loaded.grid, axis: extend_labels(loaded.grid[axis])}
    return loaded._replace(grid=grid, scales=scales, exclude=[*loaded.exclude, *exclude])


def mixer_axis(loaded: Study) -> str | None:
    """Return the axis along which a study varies the mixer of a plain sequence model, if there is one."""
    for axis in ("mixer", "model"):
        labels = loaded.grid.get(axis, {})
        overrides = list(labels.values()) if isinstance(labels, Mapping) else []
        if not labels or any("model.encoder_decoder" in changes for changes in overrides):
            continue
        if axis == "mixer" or any("mixer" in changes for changes in overrides):
            return axis
    return None
