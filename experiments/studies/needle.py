"""A needle in a haystack: one fact, then more and more text, then a question: accuracy against distance.

The fact is one of sixteen, the text Shakespeare's. Recurrences read it with a state that does not grow, attention keeps
all of it, or its last 32 tokens (in two layers 63, which the claim rounds to 64). Trained with up to 64 characters
between the fact and the question, tested with up to 1,024. After Kamradt 2023 (the needle in a haystack) and Mohtashami
and Jaggi 2023 (arXiv 2305.16300), whose models are not trained on the question.
"""

from experiments.ablation.mixer_fields import mixer_fields
from experiments.ablation.study import Scale, Study, claim_above, claim_below

NONLINEAR = ("rnn", "lstm", "gru", "slstm")
GATED = ("mlstm", "gla", "gated_delta", "rglru", "s6", "mamba2", "hgrn2", "kda", "rwkv7", "gated_delta_product")
MODELS = {
    **{name: mixer_fields(name) for name in (*NONLINEAR, *GATED, "delta", "loglinear", "paragru", "paralstm")},
    "attention": mixer_fields("attention"),
    "attention, 32 tokens": mixer_fields("attention", window=32),
}
STUDY = Study(
    question="How far from the question may a fact lie, for a state that does not grow?",
    fixed={
        "config": "needle",
        "model.width": 32,
        "task.max_length": 67,
        "task.eval_distances": (256, 1024),
        "optimizer.learning_rate": 3e-3,
    },
    grid={"model": MODELS},
    plot_metric="test",
    scales={
        "smoke": Scale(
            seeds=(0, 1),
            overrides={
                "training.steps": 50,
                "training.eval_every": 50,
                "task.max_length": 19,
                "task.eval_distances": (32,),
            },
        ),
        "quick": Scale(seeds=tuple(range(5)), overrides={"training.steps": 1000, "training.eval_every": 500}),
        "full": Scale(
            seeds=tuple(range(5)),
            learning_rates=(1e-3, 3e-3, 1e-2),
            overrides={
                "training.steps": 20_000,
                "model.width": 128,
                "task.max_length": 515,
                "task.eval_distances": (1024, 2048, 4096, 16_384),
            },
        ),
    },
    claims=(
        claim_above(
            "Every gated linear recurrence knows the fact after 64 characters: 90 %",
            {"model": GATED},
            0.9,
        ),
        claim_above("Attention does", {"model": "attention"}, 0.9),
        claim_below(
            "Attention over 32 tokens, which in two layers sees 64, has lost it after 256: 20 % at most",
            {"model": "attention, 32 tokens"},
            0.2,
            metric="test@256",
        ),
        claim_above("The LSTM still knows it after 1,024 characters: 90 %", {"model": "lstm"}, 0.9, metric="test@1024"),
        claim_below("The Elman RNN doesn't: 50 % at most", {"model": "rnn"}, 0.5, metric="test@1024"),
        claim_below(
            "Attention with ALiBi, which looks back less the further away, has lost it after 1,024: 50 % at most",
            {"model": "attention"},
            0.5,
            metric="test@1024",
        ),
    ),
)
