"""Ablation: deep and narrow, or shallow and wide?"""

from experiments.ablation.study import Scale, Study, claim_near

STUDY = Study(
    question="How do depth and width trade against each other on handwritten digits?",
    fixed={"config": "digits"},
    grid={"mixer": ("gru", "attention"), "model.depth": (1, 2, 4), "model.width": (16, 32, 64)},
    scales={
        "smoke": Scale(seeds=(0, 1), overrides={"training.steps": 100}),
        "quick": Scale(seeds=(0, 1, 2), learning_rates=(3e-3, 1e-2), overrides={"training.steps": 300}),
        "full": Scale(
            seeds=tuple(range(10)),
            learning_rates=(1e-3, 3e-3, 1e-2),
            tuning_seeds=(100, 101),
            overrides={"training.steps": 5000},
        ),
    },
    claims=(
        claim_near(
            "One block of 64 features does as well as four of 32, within 0.05",
            {"model.depth": 1, "model.width": 64},
            {"model.depth": 4, "model.width": 32},
            within=0.05,
        ),
    ),
)
