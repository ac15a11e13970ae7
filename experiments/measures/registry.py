"""What can be measured in a trained model besides its score: one function per measure, by the name that studies use.

A measure is `measure(run) → evaluate(params, seed) → number`, or `{x: number}` for a curve over x. What it compiles, it
compiles once for all seeds of a run. Inputs come from the test split, the same for every model.
"""

from collections.abc import Sequence
from typing import Any

from experiments.measures import attention, cost, generation, newton, saliency, sensitivity
from experiments.measures.common import Measure
from training import builder

MEASURES: dict[str, Measure] = {
    "reach": sensitivity.gradient_reach,
    "permuted": sensitivity.permutation_change,
    "longer": sensitivity.length_generalization,
    "whole rows": sensitivity.whole_row_accuracy,
    "affine": sensitivity.affine_deviation,
    "bits": sensitivity.recalled_bits,
    "aligned": attention.alignment_accuracy,
    "similar": attention.trained_similarity,
    "similar before": attention.initial_similarity,
    "similar gain": attention.similarity_gain,
    "coupled": attention.weight_coupling,
    "diverse": attention.head_diversity,
    "alignment error": attention.alignment_error,
    "diagonal error": attention.diagonal_error,
    "alignment gain": attention.alignment_gain,
    "site": saliency.occlusion_on_site,
    "site gradient": saliency.gradient_on_site,
    "site weight": saliency.attention_on_site,
    "tunes that parse": generation.parsed_tunes,
    "full bars": generation.full_bars,
    "full bars lost": generation.lost_full_bars,
    "step time": cost.step_time,
    "step depth": cost.step_depth,
    "stream time": cost.stream_time,
    "newton iterations": newton.newton_iterations,
    "state": cost.state_size,
    "parameters": cost.mixer_parameters,
}
COUNTED_MEASURES = {"step depth", "state", "parameters"}  # in the model itself: the same for every seed
TIMED_MEASURES = {"step time", "stream time"}  # other work on the machine shows in these
# Raised by hand when a measure gives other numbers, beyond rounding; earlier values are then measured anew.
MEASURE_VERSIONS: dict[str, int] = {
    **dict.fromkeys(MEASURES, 1),
    "tunes that parse": 2,
    "full bars": 2,
    "full bars lost": 2,
}


def evaluate_measures(
    run: builder.Run, names: Sequence[str], members: Sequence[tuple[Any, int]]
) -> list[dict[str, float]]:
    """The named measures of each of `members`, (params, seed): numbers by name, a curve's points as "name@x"."""
    values: list[dict[str, float]] = [{} for _ in members]
    for name in names:
        evaluate = MEASURES[name](run)
        for of_member, (params, seed) in zip(values, members, strict=True):
            value = evaluate(params, seed)
            of_member |= {f"{name}@{x}": y for x, y in value.items()} if isinstance(value, dict) else {name: value}
    return values
