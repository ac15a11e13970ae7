"""Nonlinear recurrences in parallel (Danieli et al. 2025, ParaRNN): how many iterations of Newton's method it takes.

As in the paper: GRU and LSTM whose units do not see each other, as language models, at the beginning and at the end
of training; the iterations until all states of a sequence are solved, at growing lengths. Not as in the paper: two
blocks of width 64 on Shakespeare's characters (it has 400 million parameters), float32 and a change of at most
0.00001 relative to states above 1, states of 0 as a first guess (its guess is one iteration further), sequences of 64
to 1,024 (it has 256 to 2,048), of which 64 were trained. "At the beginning" is after 50 steps, of which all but the
last warm up. Speed can't be shown here: on a CPU the parallel form is slower, experiments/records/newton.csv has by
how much.
"""

from experiments.ablation.result_design import SCORED_LAST, decisive_scale
from experiments.ablation.study import Scale, Study, claim_below

LENGTHS = (64, 256, 1024)
STAGES = {"beginning": {"training.steps": 50, "training.eval_every": 50}, "end": {}}
STUDY = Study(
    question="How many iterations solve a nonlinear recurrence for all steps at once?",
    paper="Danieli et al. 2025, ParaRNN, App. A and Fig. 4 (arXiv 2510.21450)",
    fixed={"config": "shakespeare"},
    grid={"mixer": ("paragru", "paralstm"), "training": STAGES},
    measures=("newton iterations",),
    plot_metric="newton iterations",
    scales={
        "smoke": Scale(
            seeds=(0, 1),
            overrides={**SCORED_LAST, "model.depth": 1},
            grid={"training": {"beginning": STAGES["beginning"]}},
        ),
        "quick": decisive_scale({}, tuned=False),
        "standard": Scale(seeds=tuple(range(5)), overrides={**SCORED_LAST, "training.steps": 10_000}),
        "full": Scale(seeds=tuple(range(3)), overrides={"model.width": 512, "model.depth": 6, "task.max_length": 1024}),
    },
    claims=(
        claim_below(
            "At the beginning four iterations do, at 64 to 1,024 steps: fewer than 4.5 in the mean",
            {"training": "beginning"},
            4.5,
            metric="newton iterations@1024",
            also=tuple(
                claim_below(f"at {length}", {"training": "beginning"}, 4.5, metric=f"newton iterations@{length}")
                for length in LENGTHS[:2]
            ),
        ),
        claim_below(
            "And at the end of training",
            {"training": "end"},
            4.5,
            metric="newton iterations@1024",
            also=tuple(
                claim_below(f"at {length}", {"training": "end"}, 4.5, metric=f"newton iterations@{length}")
                for length in LENGTHS[:2]
            ),
        ),
        claim_below(
            "Their number hardly grows with the length: by an exponent of 0.2 at most",
            {},
            0.2,
            metric="slope of newton iterations",
        ),
    ),
)
