"""Recall, the learning rate and the short convolution (Okpekpe and Orvieto 2025): what decides who recalls.

As in the paper: recall of several pairs by one layer and by two, each a mixer and a feed-forward layer, at many
learning rates, all of them shown. Not as in the paper: 8 pairs of 32 symbols in 32 tokens (it has 4 to 64 pairs, a
vocabulary of 8,192 and up to 512 tokens), width 64, 2,000 steps of 32 sequences, rates from 0.0001 to 0.03. S6 is
Mamba's block with its convolution and gate; without the first, one version of the paper says that it solves recall in
one layer, and the next one that it does not.
"""

from experiments.ablation.mixer_fields import mixer_fields
from experiments.ablation.result_design import SCORED_LAST, decisive_scale
from experiments.ablation.study import Scale, Study, claim_above, claim_below

RATES = {f"rate {rate:g}": {"optimizer.learning_rate": rate} for rate in (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2)}
MODELS = {
    **{f"attention, {n} layer{'s' * (n > 1)}": {"mixer": "attention", "model.depth": n} for n in (1, 2)},
    **{f"S6, {n} layer{'s' * (n > 1)}": {"mixer": "s6", "model.depth": n} for n in (1, 2)},
    "S6, 1 layer, no convolution": {**mixer_fields("s6", kernel=0), "model.depth": 1},
}
STUDY = Study(
    question="At which learning rates, in how many layers and by which part of the block is a pair recalled?",
    paper="Okpekpe and Orvieto 2025, both versions (arXiv 2508.19029)",
    fixed={"config": "recall", "model.width": 64},
    grid={"model": MODELS, "rate": RATES},
    scales={
        "smoke": Scale(seeds=(0, 1), overrides={"training.steps": 100, "training.eval_every": 100}),
        "quick": decisive_scale({"training.steps": 2000, "training.eval_every": 500}, tuned=False),
        "standard": Scale(seeds=tuple(range(5)), overrides={**SCORED_LAST, "training.steps": 20_000}),
        "full": Scale(
            seeds=tuple(range(5)),
            overrides={
                **SCORED_LAST,
                "training.steps": 10_000,
                "training.batch_size": 512,
                "task.symbols": 8192,
                "task.pairs": 64,
                "task.max_length": 512,
                "model.width": 256,
            },
        ),
    },
    claims=(
        claim_below("One layer of attention recalls 30 % or less, at every rate", {"model": "attention, 1 layer"}, 0.3),
        claim_above("One layer of S6 recalls 90 %, at its best rate", {"model": "S6, 1 layer"}, 0.9, best_of="rate"),
        claim_above(
            "Without the convolution it recalls less, by 0.3 or more, at the rate 0.01",
            {"model": "S6, 1 layer", "rate": "rate 0.01"},
            {"model": "S6, 1 layer, no convolution"},
            margin=0.3,
        ),
        claim_above(
            "Two layers of attention recall more at a low rate, 0.0003, than two of S6, by 0.3 or more",
            {"model": "attention, 2 layers", "rate": "rate 0.0003"},
            {"model": "S6, 2 layers"},
            margin=0.3,
        ),
    ),
)
