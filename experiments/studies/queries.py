"""Multi-query recall (Arora et al. 2023): attention recalls at any width, a gated recurrence in proportion to its own.

As in the paper: two blocks without feed-forward layers, keys and values told once, each key asked for once, blanks
between, a short convolution in the recurrences; the last step scored. Not as in the paper: 64 symbols and not 8,192,
64 tokens with 8 pairs, widths 32 and 64 (it has 64 to 512), 2,000 steps of data drawn anew, the mean over seeds (it has
one seed, the best of four rates), attention with ALiBi (it has learned positions). Its gated convolutions and RWKV are
not here: RG-LRU and minGRU are, gated recurrences whose state is a vector too. Tried before: LSTM, GRU, minGRU and
linear attention without a convolution, which all stay at a value drawn from the sequence (0.125), so that nothing was
told of their states. Recall against the size of a matrix is the study `recall_state`.
"""

from experiments.ablation.mixer_fields import mixer_fields
from experiments.ablation.result_design import RATES, SCORED_LAST, decisive_scale
from experiments.ablation.study import Scale, Study, claim_above

GATED = ("rglru", "mingru")
STUDY = Study(
    question="Does recall need a state that grows with what is to be recalled?",
    paper="Arora et al. 2023, Zoology, Fig. 2 (arXiv 2312.04927)",
    fixed={"config": "recall", "task.symbols": 64, "task.max_length": 64, "model.feedforward": 0.0},
    grid={
        "mixer": {"attention": {"mixer": "attention"}, **{name: mixer_fields(name, kernel=4) for name in GATED}},
        "model.width": (32, 64),
    },
    scales={
        "smoke": Scale(seeds=(0, 1), overrides={"training.steps": 100, "training.eval_every": 100}),
        "quick": decisive_scale({"training.steps": 2000, "training.eval_every": 1000}),
        "standard": Scale(
            seeds=tuple(range(5)),
            learning_rates=RATES,
            overrides={**SCORED_LAST, "training.steps": 20_000, "training.batch_size": 64},
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
            grid={"model.width": (64, 128, 256, 512)},
        ),
    },
    claims=(
        claim_above(
            "Attention recalls 95 % or more at the paper's smallest width",
            {"mixer": "attention", "model.width": 64},
            0.95,
        ),
        claim_above(
            "RG-LRU recalls more at twice the width, by 0.1 or more",
            {"mixer": "rglru", "model.width": 64},
            {"model.width": 32},
            margin=0.1,
        ),
        claim_above(
            "At half of that width attention is ahead of both gated recurrences, by 0.3 or more",
            {"mixer": "attention", "model.width": 32},
            {"mixer": GATED},
            margin=0.3,
        ),
    ),
)
