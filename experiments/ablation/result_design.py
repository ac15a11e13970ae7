"""What all studies of published results have in common, so that a verdict does not hang on chance or on one choice.

The last step is scored, since validation is saturated where tests go beyond training; every seed has test sets of its
own; and a learning rate is chosen on three seeds, among wider ones too if the best is at an edge.
"""

from experiments.ablation.study import Overrides, Scale

SCORED_LAST: Overrides = {"training.keep": "last", "training.eval_sets": "by_seed"}
RATES = (1e-3, 3e-3, 1e-2)
WIDER_RATES = (1e-4, 3e-4, 3e-2, 1e-1)
TUNING_SEEDS = (100, 101, 102)


def decisive_scale(overrides: Overrides, *, tuned: bool = True) -> Scale:
    """A scale of three seeds, of which --until=decided makes more. Untuned, settings have their config's own rate."""
    scale = Scale(seeds=(0, 1, 2), overrides={**SCORED_LAST, **overrides})
    if not tuned:
        return scale
    return scale._replace(learning_rates=RATES, tuning_seeds=TUNING_SEEDS, wider_rates=WIDER_RATES)
