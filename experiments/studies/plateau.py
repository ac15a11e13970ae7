"""Attention sits at chance before it learns to recall: does every seed leave this plateau within the budget?

The task is that of compare at quick scale, and so are the learning rates: the one that is chosen there, and the next.
"""

from experiments.ablation.study import Scale, Study, claim_above
from experiments.studies.compare import RECALLED, recall

STUDY = Study(
    question="Does attention leave the plateau at chance with every seed, at the learning rate that is chosen?",
    fixed={"mixer": "attention", **recall(8)},
    grid={"optimizer.learning_rate": (0.003, 0.01)},
    scales={
        "smoke": Scale(seeds=(200, 201), overrides={"training.steps": 100, "training.eval_every": 100}),
        "quick": Scale(seeds=tuple(range(200, 220))),
    },
    claims=(
        claim_above(
            f"At 0.003 the mean of twenty seeds is {RECALLED} or more", {"optimizer.learning_rate": 0.003}, RECALLED
        ),
    ),
)
