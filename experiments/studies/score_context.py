"""Row 6, context: the bottleneck of one vector, for every mixer as encoder and decoder."""

from experiments.ablation.study import Scale, Study, claim_below
from models import MIXERS

STUDY = Study(
    question="Translating by one vector from encoder to decoder, how does each mixer do as sentences grow?",
    notes_row=6,
    fixed={
        "config": "translation",
        "model.encoder_decoder": "vector",
        "model.width": 32,
        "model.depth": 2,
        "task.eval_lengths": (2, 4, 8, 12),
    },
    grid={"mixer": (*MIXERS, "rglru,attention")},
    scales={
        "smoke": Scale(seeds=(0, 1), overrides={"training.steps": 50, "training.eval_every": 50}),
        "quick": Scale(seeds=tuple(range(5)), overrides={"training.steps": 600, "training.eval_every": 100}),
        "full": Scale(
            seeds=tuple(range(10)),
            learning_rates=(1e-3, 3e-3, 1e-2),
            tuning_seeds=(100, 101),
            overrides={"training.steps": 20_000},
        ),
    },
    registry_axis="mixer",
    claims=(
        claim_below(
            "By one vector no mixer translates 12 words better than 0.7",
            {"mixer": tuple(MIXERS)},
            0.7,
            metric="test@12",
        ),
    ),
)
