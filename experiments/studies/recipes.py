"""Ablation: who needs which optimizer and which schedule?

Each recipe has a learning rate of its own, chosen from a list that is wide enough for all of them. Scores are
accuracies, and on Shakespeare bits per character, of which fewer are better.
"""

from typing import Any

from experiments.ablation.study import Scale, Study, claim_above, claim_below, claim_near

COSINE, CONSTANT, SGD, MUON = "adamw", "adamw-constant", "sgd-momentum", "muon"
RECIPES: dict[str, dict[str, Any]] = {
    COSINE: {"optimizer.schedule": "cosine"},
    "adamw-linear": {"optimizer.schedule": "linear"},
    CONSTANT: {"optimizer.schedule": "constant"},
    "adamw-wsd": {"optimizer.schedule": "wsd"},
    "adamw-inverse-sqrt": {"optimizer.schedule": "inverse_sqrt"},
    "adamw-no-warmup": {"optimizer.warmup_steps": 0},
    SGD: {"optimizer.name": "sgd", "optimizer.options": "momentum=0.9, nesterov=True"},
    "rmsprop": {"optimizer.name": "rmsprop"},
    "lion": {"optimizer.name": "lion"},
    # With steps as large as Adam's, so that what Muon leaves to Adam can have the same rate (arXiv 2502.16982).
    MUON: {"optimizer.name": "muon", "optimizer.options": "consistent_rms=0.2"},
}
RATES = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0)
TASKS: dict[str, dict[str, Any]] = {
    "recall": {"config": "recall", "task.pairs": 4, "task.symbols": 16, "task.max_length": 16, "training.steps": 1500},
    "digits": {"config": "digits", "training.steps": 300},
    "shakespeare": {"config": "shakespeare", "training.steps": 400},
}
SMOKE = {"digits": {"config": "digits", "training.steps": 100}}
BOTH = ("lstm", "attention")

STUDY = Study(
    question="Who needs which recipe: do an LSTM and attention want another optimizer, schedule or warm-up?",
    fixed={"optimizer.warmup_steps": 50},
    grid={"task": TASKS, "mixer": BOTH, "recipe": RECIPES},
    scales={
        "smoke": Scale(
            seeds=(0, 1), grid={"task": SMOKE, "recipe": {one: RECIPES[one] for one in (COSINE, SGD, MUON)}}
        ),
        "quick": Scale(seeds=(0, 1, 2, 3, 4), learning_rates=RATES),
        "full": Scale(
            seeds=tuple(range(10)), learning_rates=RATES, tuning_seeds=(100, 101), overrides={"training.steps": 6000}
        ),
    },
    claims=(
        claim_above(
            "Attention needs an adaptive optimizer: with SGD it recalls fewer of four pairs, by 0.1 or more",
            {"task": "recall", "mixer": "attention", "recipe": COSINE},
            {"recipe": SGD},
            margin=0.1,
        ),
        claim_near(
            "The LSTM does not: with SGD it reads digits as well as with AdamW, within 0.05",
            {"task": "digits", "mixer": "lstm", "recipe": SGD},
            {"recipe": COSINE},
            within=0.05,
        ),
        claim_below(
            "On Shakespeare a rate that falls is worth 0.02 bits or more, to both and in every form",
            {"task": "shakespeare", "mixer": BOTH, "recipe": (COSINE, "adamw-linear", "adamw-wsd")},
            {"recipe": CONSTANT},
            margin=0.02,
        ),
        claim_near(
            "How it falls does not matter: linear and wsd are within 0.03 bits of the cosine",
            {"task": "shakespeare", "mixer": BOTH, "recipe": ("adamw-linear", "adamw-wsd")},
            {"recipe": COSINE},
            within=0.03,
        ),
        claim_near(
            "With the norm before each sublayer nobody needs a warm-up: on digits it is worth less than 0.03",
            {"task": "digits", "mixer": BOTH, "recipe": "adamw-no-warmup"},
            {"recipe": COSINE},
            within=0.03,
        ),
        claim_below(
            "Muon's steps are worth 0.05 bits or more to both on Shakespeare",
            {"task": "shakespeare", "mixer": BOTH, "recipe": MUON},
            {"recipe": COSINE},
            margin=0.05,
        ),
        claim_near(
            "Lion and RMSProp are AdamW's equals on digits, within 0.05",
            {"task": "digits", "mixer": BOTH, "recipe": ("lion", "rmsprop")},
            {"recipe": COSINE},
            within=0.05,
        ),
    ),
)
