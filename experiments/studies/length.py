"""Ablation: which positional encodings hold at lengths that training never showed?"""

from experiments.ablation.study import Scale, Study, claim_above

POSITIONS = ("none", "sinusoidal", "learned", "rope", "alibi", "t5", "transformer_xl", "randomised")
STUDY = Study(
    question="Trained on sentences of up to 12 words, how well does each positional encoding translate longer ones?",
    fixed={
        "config": "translation",
        "mixer": "attention",
        "model.encoder_decoder": "",
        "model.max_length": 49,
        "task.eval_lengths": (4, 8, 12, 14, 16, 20, 24),
        "model.width": 32,
        "model.depth": 2,
    },
    grid={"model.positions": POSITIONS},
    scales={
        "smoke": Scale(seeds=(0, 1), overrides={"training.steps": 100, "training.eval_every": 100}),
        "quick": Scale(seeds=(0, 1, 2), learning_rates=(3e-3, 1e-2), overrides={"training.steps": 2000}),
        "full": Scale(
            seeds=tuple(range(10)),
            learning_rates=(1e-3, 3e-3, 1e-2),
            tuning_seeds=(100, 101),
            overrides={"training.steps": 20_000},
        ),
    },
    claims=(
        claim_above(
            "Encodings of distance hold better at 16 words than a learned one for each place, by 0.1",
            {"model.positions": ("rope", "alibi", "t5", "transformer_xl", "randomised")},
            {"model.positions": "learned"},
            margin=0.1,
            metric="test@16",
        ),
        claim_above(
            "Any encoding is better than none at 12 words, by 0.1",
            {"model.positions": POSITIONS[1:]},
            {"model.positions": "none"},
            margin=0.1,
            metric="test@12",
        ),
    ),
)
