"""Multi-query recall (Arora et al. 2023): attention recalls at any width, a recurrence in proportion to its state.

As in the paper: two blocks without feed-forward layers, keys and values told once, each key asked for once, blanks
between. Not as in the paper: 128 symbols and not 8,192, 64 tokens with 8 pairs, widths 32 and 64, data drawn anew at
every step, attention with ALiBi (it has learned positions), and rows for LSTM, GRU and Gated DeltaNet (which has a
short convolution too).
"""

from experiments.ablation.study import Scale, Study, claim_above

RECURRENT = ("lstm", "gru", "mingru", "linear")
RATES = (1e-3, 3e-3, 1e-2)
STUDY = Study(
    question="Does recall need a state that grows with what is to be recalled?",
    paper="Arora et al. 2023, Zoology, Fig. 2 (arXiv 2312.04927)",
    fixed={"config": "recall", "task.symbols": 128, "task.max_length": 64, "model.feedforward": 0.0},
    grid={"mixer": ("attention", *RECURRENT, "gated_delta"), "model.width": (32, 64)},
    exclude=({"mixer": "gated_delta", "model.width": 32},),  # the slowest by far on a CPU
    scales={
        "smoke": Scale(seeds=(0, 1), overrides={"training.steps": 100, "training.eval_every": 100}),
        "quick": Scale(
            seeds=(0, 1, 2), learning_rates=RATES, overrides={"training.steps": 2000, "training.eval_every": 500}
        ),
        "standard": Scale(
            seeds=tuple(range(5)), learning_rates=RATES, overrides={"training.steps": 20_000, "training.batch_size": 64}
        ),
        "full": Scale(
            seeds=tuple(range(5)),
            learning_rates=RATES,
            overrides={
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
        claim_above("Attention recalls 95 % or more at either width", {"mixer": "attention"}, 0.95),
        claim_above(
            "It is ahead of every recurrence without a delta rule by 0.3 or more",
            {"mixer": "attention"},
            {"mixer": RECURRENT},
            margin=0.3,
        ),
        claim_above(
            "A matrix that corrects itself, with a short convolution, recalls more than a vector",
            {"mixer": "gated_delta"},
            {"mixer": ("lstm", "gru", "mingru")},
            margin=0.1,
        ),
    ),
)
