"""Recall grows with the state (Arora et al. 2024, Based): within a class of recurrences; attention's grows by itself.

As in the paper: two blocks without feed-forward layers, a short convolution before each recurrence, recall of pairs
whose queries come later; the state is varied within a class, here by the hidden size: linear attention, which adds,
and the delta rule, which replaces. Not as in the paper: 16 pairs of 64 symbols in 64 tokens (it has 4 to 64 pairs, a
vocabulary of 8,192 and up to 1,024 tokens), width 32, 1,000 steps of 32 sequences, the mean over seeds (it has one
seed, the best of four rates). The figures of its plot can only be read off. A study of every mixer, at one rate, is
`recall_against_state`.
"""

from experiments.ablation.mixer_fields import mixer_fields
from experiments.ablation.result_design import RATES, SCORED_LAST, decisive_scale
from experiments.ablation.study import Scale, Study, claim_above

MODELS = {
    **{
        f"{name}, {size}": {**mixer_fields(name, kernel=4), "model.hidden_size": size}
        for name in ("linear", "delta")
        for size in (16, 32, 64)
    },
    "attention": {"mixer": "attention"},
}
STUDY = Study(
    question="Does a recurrence recall the more pairs, the larger its state is?",
    paper="Arora et al. 2024, Based, §3 and Fig. 2 (arXiv 2402.18668); Arora et al. 2023, Zoology (arXiv 2312.04927)",
    fixed={
        "config": "recall",
        "task.pairs": 16,
        "task.symbols": 64,
        "task.max_length": 64,
        "model.feedforward": 0.0,
    },
    grid={"model": MODELS},
    scales={
        "smoke": Scale(seeds=(0, 1), overrides={"training.steps": 100, "training.eval_every": 100}),
        "quick": decisive_scale({"training.steps": 1000, "training.eval_every": 500}),
        "standard": Scale(
            seeds=tuple(range(5)), learning_rates=RATES, overrides={**SCORED_LAST, "training.steps": 10_000}
        ),
        "full": Scale(
            seeds=tuple(range(3)),
            learning_rates=(1e-3, 3e-3, 1e-2, 3e-2),
            overrides={
                "training.steps": 20_000,
                "training.batch_size": 256,
                "task.symbols": 8192,
                "task.pairs": 64,
                "task.max_length": 256,
                "model.width": 128,
            },
        ),
    },
    claims=(
        claim_above(
            "Linear attention recalls more with 64 units than with 16, by 0.1 or more",
            {"model": "linear, 64"},
            {"model": "linear, 16"},
            margin=0.1,
        ),
        claim_above(
            "So does the delta rule",
            {"model": "delta, 64"},
            {"model": "delta, 16"},
            margin=0.1,
        ),
        claim_above(
            "At 64 units, in as large a state, the delta rule recalls more than linear attention, by 0.05 or more",
            {"model": "delta, 64"},
            {"model": "linear, 64"},
            margin=0.05,
        ),
        claim_above(
            "Attention is ahead of the smallest state of each class by 0.3 or more",
            {"model": "attention"},
            {"model": ("linear, 16", "delta, 16")},
            margin=0.3,
        ),
    ),
)
