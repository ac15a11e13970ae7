"""Row 4: recurrent networks have no long memory: what was said long ago is lost, and no gradient reaches it."""

from experiments.ablation.study import Scale, Study, claim_above, claim_below

RECURRENT = ("rnn", "lstm", "gru")
STUDY = Study(
    question="How well are ten digits kept through a silence, and how much of the gradient reaches them?",
    notes_row=4,
    fixed={"config": "copy_memory"},
    grid={"mixer": (*RECURRENT, "attention"), "task.delay": (5, 20, 54)},
    measures=("reach",),
    scales={
        "smoke": Scale(seeds=(0, 1), overrides={"training.steps": 100, "training.eval_every": 100}),
        "quick": Scale(
            seeds=(0, 1, 2), learning_rates=(3e-3, 1e-2), overrides={"training.steps": 1000, "training.eval_every": 100}
        ),
        "full": Scale(
            seeds=tuple(range(10)),
            learning_rates=(1e-3, 3e-3, 1e-2),
            tuning_seeds=(100, 101),
            overrides={"training.steps": 10_000},
        ),
    },
    claims=(
        claim_above("Attention keeps the digits at every distance", {"mixer": "attention"}, 0.99),
        claim_above(
            "After 54 steps every recurrent network is behind attention by 0.3 or more",
            {"mixer": "attention", "task.delay": 54},
            {"mixer": RECURRENT},
            margin=0.3,
        ),
        claim_below(
            "Every recurrent network keeps less after 54 steps than after 5",
            {"mixer": RECURRENT, "task.delay": 54},
            {"task.delay": 5},
            margin=0.05,
        ),
        claim_above(
            "Of attention's gradient more comes from the digit that is due, 64 back, than of any recurrent network's",
            {"mixer": "attention", "task.delay": 54},
            {"mixer": RECURRENT},
            metric="reach@64",
        ),
    ),
)
