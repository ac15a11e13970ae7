"""Minimal recurrences on Shakespeare (Feng et al. 2024): as good as a Transformer, in fewer steps.

As in the paper: the next character of Shakespeare, minGRU, minLSTM and a Transformer, and the lowest loss along a
run, here by validation. Not as in the paper: two blocks of width 64 in the common skeleton (it has three of 384), a
short convolution of four steps in the recurrences, windows of 64 characters, a split by plays, no dropout, rates of a
grid, 500 steps and 4,000 of 32 windows (it has 5,000 of 64). Scores are bits per character: 0.07 are 0.05 nats, and
the paper's four losses are 1.548, 1.555, 1.575 and 1.547 nats of one run each.
"""

from experiments.ablation.mixer_fields import mixer_fields
from experiments.ablation.result_design import RATES, decisive_scale
from experiments.ablation.study import Scale, Study, claim_below, claim_near

MINIMAL = ("mingru", "minlstm")
BUDGETS = {
    "500 steps": {"training.steps": 500, "training.eval_every": 100},
    "4000 steps": {"training.steps": 4000, "training.eval_every": 200},
}
BEST = {"training.keep": "best", "training.eval_sets": "shared"}  # of one text, along a run
STUDY = Study(
    question="Is a minimal recurrence as good a model of Shakespeare as a Transformer, and sooner?",
    paper="Feng et al. 2024, §4.2 and Fig. 2 (arXiv 2410.01201)",
    fixed={"config": "shakespeare"},
    grid={
        "mixer": {**{name: mixer_fields(name, kernel=4) for name in MINIMAL}, "attention": {"mixer": "attention"}},
        "budget": BUDGETS,
    },
    scales={
        "smoke": Scale(seeds=(0, 1), grid={"budget": {"500 steps": BUDGETS["500 steps"]}}),
        "quick": decisive_scale(BEST),
        "standard": Scale(seeds=tuple(range(5)), learning_rates=RATES, overrides={"model.width": 128}),
        "full": Scale(
            seeds=tuple(range(5)),
            learning_rates=(3e-4, 1e-3),
            overrides={"model.width": 384, "model.depth": 3, "model.dropout": 0.2, "task.max_length": 256},
        ),
    },
    claims=(
        claim_near(
            "After 4,000 steps minGRU and minLSTM are within 0.07 bits of attention",
            {"mixer": MINIMAL, "budget": "4000 steps"},
            {"mixer": "attention"},
            within=0.07,
        ),
        claim_below(
            "After 500 both have fewer bits than attention, by 0.1 or more",
            {"mixer": MINIMAL, "budget": "500 steps"},
            {"mixer": "attention"},
            margin=0.1,
        ),
    ),
)
