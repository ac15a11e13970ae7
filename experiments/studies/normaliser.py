"""Row 10: softmax turns scores into weights that sum to one, so that changing one weight changes all the others."""

from experiments.ablation.study import Scale, Study, claim_above, claim_below

ALONE = ("sigmoid", "none")
STUDY = Study(
    question="What does softmax do that other ways from scores to weights do not?",
    notes_row=10,
    fixed={"config": "recall", "mixer": "attention"},
    grid={"model.attention.normalizer": ("softmax", "linear", *ALONE)},
    measures=("coupled",),
    scales={
        "smoke": Scale(seeds=(0, 1), overrides={"training.steps": 100, "training.eval_every": 100}),
        "quick": Scale(seeds=(0, 1, 2), learning_rates=(3e-3, 1e-2), overrides={"training.steps": 3000}),
        "full": Scale(
            seeds=tuple(range(10)),
            learning_rates=(1e-3, 3e-3, 1e-2),
            tuning_seeds=(100, 101),
            overrides={"training.steps": 10_000},
        ),
    },
    claims=(
        claim_above(
            "Under softmax the other weights together move as much as the one that was changed",
            {"model.attention.normalizer": "softmax"},
            0.95,
            metric="coupled",
        ),
        claim_below(
            "Under a sigmoid, or without a normaliser, they do not move",
            {"model.attention.normalizer": ALONE},
            1e-4,
            metric="coupled",
        ),
        claim_above(
            "Softmax recalls at least 0.05 more than every other",
            {"model.attention.normalizer": "softmax"},
            {"model.attention.normalizer": ("linear", *ALONE)},
            margin=0.05,
        ),
    ),
)
