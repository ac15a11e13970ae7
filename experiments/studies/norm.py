"""Ablation: the norm before each sublayer, after it, or nowhere; with the residual path and without."""

from experiments.ablation.study import Scale, Study, claim_above

STUDY = Study(
    question="Where does the norm belong, and what is a stack of four blocks without the residual path?",
    fixed={"config": "digits", "model.depth": 4},
    grid={"mixer": ("gru", "attention"), "model.norm": ("pre", "post", "none"), "model.residual": (True, False)},
    scales={
        "smoke": Scale(seeds=(0, 1), overrides={"training.steps": 100}),
        "quick": Scale(seeds=(0, 1, 2), learning_rates=(1e-3, 3e-3), overrides={"training.steps": 300}),
        "full": Scale(
            seeds=tuple(range(10)),
            learning_rates=(1e-3, 3e-3, 1e-2),
            tuning_seeds=(100, 101),
            overrides={"training.steps": 5000},
        ),
    },
    claims=(
        claim_above(
            "The residual path is worth 0.05 or more, wherever the norm stands",
            {"model.residual": True},
            {"model.residual": False},
            margin=0.05,
        ),
        claim_above(
            "A norm before each sublayer is no worse than one after it, within 0.02",
            {"model.norm": "pre"},
            {"model.norm": "post"},
            margin=-0.02,
        ),
    ),
)
