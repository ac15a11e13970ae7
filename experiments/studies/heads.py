"""Row 12: several heads see different things, and blocks stack into a Transformer."""

from experiments.ablation.study import Scale, Study, claim_above

STUDY = Study(
    question="What do more heads and more blocks do for recall, at the same number of features?",
    notes_row=12,
    fixed={"config": "recall", "mixer": "attention"},
    grid={"model.attention.heads": (1, 2, 4, 8), "model.depth": (1, 2, 3)},
    measures=("diverse",),
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
        claim_above(
            "Two blocks recall what one can't: 0.3 more, at four heads",
            {"model.attention.heads": 4, "model.depth": 2},
            {"model.depth": 1},
            margin=0.3,
        ),
        claim_above(
            "At two blocks four heads recall more than one, by 0.05",
            {"model.attention.heads": 4, "model.depth": 2},
            {"model.attention.heads": 1},
            margin=0.05,
        ),
        claim_above(
            "Heads see different things: two of four differ by 0.3 or more of their weight",
            {"model.attention.heads": 4, "model.depth": 2},
            0.3,
            metric="diverse",
        ),
    ),
)
