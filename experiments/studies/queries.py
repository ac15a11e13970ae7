"""Multi-query recall (Arora et al. 2023): attention recalls it all, a gated recurrence in proportion to its state.

As in the paper: two blocks without feed-forward layers, keys and values told once, each key asked for once, a short
convolution in the recurrences, width 64, its smallest; the last step scored. Not as in the paper: 32 symbols and not
8,192, 32 tokens with 8 pairs (it has 64 to 512 tokens), 1,000 steps of data drawn anew, the mean over seeds (it has one
seed, the best of four rates), attention with ALiBi (it has learned positions), and the number of units varied in place
of the width. Its gated convolutions and RWKV are not here: RG-LRU and minGRU are, gated recurrences whose state is a
vector too. Tried before: LSTM, GRU, minGRU and linear attention without a convolution, which all stay at a value drawn
from the sequence (0.125), so that nothing was told of their states; and 64 tokens and 64 symbols, of which the seeds
that choose the rates showed that 2,000 steps bring RG-LRU to 0.24 with 32 units and 0.32 with 64. Recall against the
size of a matrix is the study `recall_state`.
"""

from experiments.ablation.mixer_fields import mixer_fields
from experiments.ablation.result_design import RATES, SCORED_LAST, decisive_scale
from experiments.ablation.study import Scale, Study, claim_above

MODELS = {
    "attention": {"mixer": "attention"},
    **{f"rglru, {units} units": {**mixer_fields("rglru", kernel=4), "model.hidden_size": units} for units in (16, 64)},
    "mingru, 64 units": {**mixer_fields("mingru", kernel=4), "model.hidden_size": 64},
}
STUDY = Study(
    question="Does recall need a state that grows with what is to be recalled?",
    paper="Arora et al. 2023, Zoology, Fig. 2 (arXiv 2312.04927)",
    fixed={"config": "recall", "model.width": 64, "model.feedforward": 0.0},
    grid={"model": MODELS},
    scales={
        "smoke": Scale(seeds=(0, 1), overrides={"training.steps": 100, "training.eval_every": 100}),
        "quick": decisive_scale({"training.steps": 1000, "training.eval_every": 500}),
        "standard": Scale(
            seeds=tuple(range(5)), learning_rates=RATES, overrides={**SCORED_LAST, "training.steps": 20_000}
        ),
        "full": Scale(
            seeds=tuple(range(5)),
            learning_rates=RATES,
            overrides={
                **SCORED_LAST,
                "training.steps": 12_500,
                "training.batch_size": 512,
                "task.symbols": 8192,
                "task.max_length": 256,
                "task.pairs": 16,
            },
        ),
    },
    claims=(
        claim_above("Attention recalls 95 % or more", {"model": "attention"}, 0.95),
        claim_above(
            "RG-LRU recalls more with 64 units than with 16, by 0.2 or more",
            {"model": "rglru, 64 units"},
            {"model": "rglru, 16 units"},
            margin=0.2,
        ),
        claim_above(
            "Attention is ahead of minGRU, and of RG-LRU with 16 units, by 0.3 or more",
            {"model": "attention"},
            {"model": ("mingru, 64 units", "rglru, 16 units")},
            margin=0.3,
        ),
    ),
)
