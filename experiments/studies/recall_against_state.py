"""Recall against the floats of a state: every recurrence at three sizes, with the short convolution on, and attention.

Arora et al. 2023 (Zoology, arXiv 2312.04927) and 2024 (Based, arXiv 2402.18668) plot recall against the size of the
state; Jelassi et al. 2024 (arXiv 2402.01032) and the lecture notes say that it is the bound. Here every mixer that has
the option gets a short convolution of four steps, as that alone decides in the study `mixers` whether a pair can be
joined at all. The Elman RNN, LSTM, GRU and sLSTM, which join pairs by themselves, have none, and neither has attention,
whose two layers do; in so few steps it learns that late. Attention's state is its cache, which grows
with the sequence, and is full here.

The sizes are hidden sizes, so that parameters grow with the state; the mixers' own defaults say how many heads share it
and how many states a feature has.
"""

from experiments.ablation.mixer_fields import mixer_fields
from experiments.ablation.study import Scale, Study, claim_above

VECTORS = ("rnn", "lstm", "gru", "slstm", "mingru", "lru", "rglru", "s4d", "s6", "paragru", "paralstm")
SUMS = ("linear", "gla", "mlstm", "mamba2", "hgrn2", "loglinear")  # matrices that are written to, and fade
DELTAS = ("delta", "gated_delta", "gated_delta_product", "kda", "rwkv7")  # matrices in which keys replace values
RECURRENT = (*VECTORS, *SUMS, *DELTAS)
MIXERS = {name: mixer_fields(name, kernel=4) for name in (*RECURRENT, "attention")}
MIXERS["rwkv7"] = mixer_fields("rwkv7")  # whose token shift, two steps long, stands in for it
SIZES = (16, 32, 64)
STUDY = Study(
    question="How much of eight key–value pairs does a state of so many floats recall, whatever writes to it?",
    fixed={"config": "recall", "model.width": 32, "optimizer.learning_rate": 1e-2},
    grid={"mixer": MIXERS, "model.hidden_size": SIZES},
    scales={
        "smoke": Scale(
            seeds=(0, 1),
            overrides={
                "training.steps": 50,
                "training.eval_every": 50,
                "task.pairs": 2,
                "task.max_length": 8,
                "task.symbols": 16,
            },
        ),
        "quick": Scale(seeds=tuple(range(5)), overrides={"training.steps": 500, "training.eval_every": 100}),
        "full": Scale(
            seeds=tuple(range(5)),
            learning_rates=(1e-3, 3e-3, 1e-2),
            tuning_seeds=(100, 101),
            overrides={
                "training.steps": 20_000,
                "model.width": 128,
                "task.pairs": 64,
                "task.symbols": 1024,
                "task.max_length": 256,
            },
            grid={"model.hidden_size": (32, 64, 128, 256)},
        ),
    },
    claims=(
        claim_above(
            "Attention's growing state recalls 99 %, at every size",
            {"mixer": "attention"},
            0.99,
        ),
        claim_above(
            "Every matrix that is written to recalls more at 64 units than at 16, by 0.1",
            {"mixer": (*SUMS, *DELTAS), "model.hidden_size": 64},
            {"model.hidden_size": 16},
            margin=0.1,
        ),
        claim_above(
            "At 64 units every matrix with the delta rule is ahead of the LSTM and the GRU by 0.2",
            {"mixer": DELTAS, "model.hidden_size": 64},
            {"mixer": ("lstm", "gru")},
            margin=0.2,
        ),
        claim_above(
            "At 16 units the delta rule recalls more than the sum in as large a state (GLA), by 0.05",
            {"mixer": ("delta", "gated_delta"), "model.hidden_size": 16},
            {"mixer": "gla"},
            margin=0.05,
        ),
    ),
)
