"""Row 1: a network of straight lines stays a straight line; with non-linear activations, depth draws anything."""

from experiments.ablation.study import Scale, Study, claim_above, claim_below

STUDY = Study(
    question="Does depth help a network whose activations are straight lines, and one whose are not?",
    notes_row=1,
    fixed={"config": "curve", "mixer": "dense"},
    grid={"model.activation": ("identity", "tanh", "relu", "gelu"), "model.depth": (1, 2, 4)},
    measures=("affine",),
    scales={
        "smoke": Scale(seeds=(0, 1), overrides={"training.steps": 200}),
        "quick": Scale(seeds=(0, 1, 2), learning_rates=(1e-3, 3e-3, 1e-2), overrides={"training.steps": 3000}),
        "full": Scale(
            seeds=tuple(range(10)),
            learning_rates=(1e-3, 3e-3, 1e-2),
            tuning_seeds=(100, 101),
            overrides={"training.steps": 10_000},
        ),
    },
    claims=(
        claim_above(
            "With identity no depth gets below the error of a straight line, 1", {"model.activation": "identity"}, 0.97
        ),
        claim_below(
            "With identity a network is affine at every depth", {"model.activation": "identity"}, 1e-4, metric="affine"
        ),
        claim_below(
            "With tanh, relu or gelu four blocks leave less than a tenth of the variance",
            {"model.activation": ("tanh", "relu", "gelu"), "model.depth": 4},
            0.1,
        ),
        claim_below(
            "Four such blocks draw better than one",
            {"model.activation": ("tanh", "relu", "gelu"), "model.depth": 4},
            {"model.depth": 1},
        ),
    ),
)
