"""Row 6, long memory and order: what every mixer keeps through a silence, and whether it minds the order."""

from experiments.ablation.study import Scale, Study, claim_above
from models import MIXERS

STUDY = Study(
    question="What does every mixer keep of ten digits through a silence of 54 steps?",
    notes_row=6,
    fixed={"config": "copy_memory", "task.delay": 54},
    grid={"mixer": (*MIXERS, "rglru,attention")},
    measures=("reach", "permuted"),
    scales={
        "smoke": Scale(seeds=(0, 1), overrides={"training.steps": 50, "training.eval_every": 50}),
        "quick": Scale(seeds=tuple(range(5)), overrides={"training.steps": 500, "training.eval_every": 100}),
        "full": Scale(
            seeds=tuple(range(10)),
            learning_rates=(1e-3, 3e-3, 1e-2),
            tuning_seeds=(100, 101),
            overrides={"training.steps": 10_000},
        ),
    },
    registry_axis="mixer",
    claims=(
        claim_above("Attention keeps all ten", {"mixer": "attention"}, 0.99),
        claim_above(
            "It keeps 0.3 more than any recurrence that is not linear",
            {"mixer": "attention"},
            {"mixer": ("rnn", "lstm", "gru", "slstm")},
            margin=0.3,
        ),
        claim_above(
            "A linear recurrence made to remember (LRU) keeps 0.3 more than a GRU",
            {"mixer": "lru"},
            {"mixer": "gru"},
            margin=0.3,
        ),
    ),
)
