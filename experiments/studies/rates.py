"""Ablation: how much hangs on the learning rate? Also what experiments/benchmarks/batched_study.py times the runner
with."""

from experiments.ablation.study import Scale, Study, claim_near

MIXERS = ("rnn", "gru", "lstm", "mingru", "rglru", "attention")
STUDY = Study(
    question="How much of a model's score hangs on its learning rate?",
    fixed={"config": "recall", "task.pairs": 4, "task.symbols": 16, "task.max_length": 16},
    grid={"mixer": MIXERS, "optimizer.learning_rate": (1e-3, 3e-3, 1e-2)},
    scales={
        "smoke": Scale(seeds=tuple(range(5)), overrides={"training.steps": 100, "training.eval_every": 50}),
        "quick": Scale(seeds=tuple(range(5)), overrides={"training.steps": 1500}),
        "full": Scale(seeds=tuple(range(10)), overrides={"training.steps": 10_000}),
    },
    claims=(
        claim_near(
            "From 3e-3 to 1e-2 no recurrent network's accuracy changes by more than 0.1",
            {"mixer": MIXERS[:-1], "optimizer.learning_rate": 3e-3},
            {"optimizer.learning_rate": 1e-2},
            within=0.1,
        ),
    ),
)
