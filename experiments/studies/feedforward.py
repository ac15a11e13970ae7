"""Ablation: blocks with and without their feed-forward layers, at the same number of blocks."""

from experiments.ablation.study import Scale, Study, claim_above, claim_near

STUDY = Study(
    question="What do the feed-forward layers between the mixers do?",
    fixed={"config": "recall", "task.pairs": 4, "task.max_length": 16},
    grid={"mixer": ("gru", "delta", "attention"), "model.feedforward": (0.0, 1.0, 2.0, 4.0)},
    scales={
        "smoke": Scale(seeds=(0, 1), overrides={"training.steps": 100, "training.eval_every": 100}),
        "quick": Scale(seeds=(0, 1, 2), learning_rates=(3e-3, 1e-2), overrides={"training.steps": 2000}),
        "full": Scale(
            seeds=tuple(range(10)),
            learning_rates=(1e-3, 3e-3, 1e-2),
            tuning_seeds=(100, 101),
            overrides={"training.steps": 10_000},
        ),
    },
    claims=(
        claim_near(
            "Attention recalls without them as well as with them, within 0.05",
            {"mixer": "attention", "model.feedforward": 0.0},
            {"model.feedforward": 2.0},
            within=0.05,
        ),
        claim_above(
            "A GRU gains 0.02 by them",
            {"mixer": "gru", "model.feedforward": 2.0},
            {"model.feedforward": 0.0},
            margin=0.02,
        ),
    ),
)
