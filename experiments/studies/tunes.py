"""Music: of the tunes that a model writes, how many can be read and played, and do their bars add up?"""

from experiments.ablation.study import Scale, Study, claim_above, claim_below

STUDY = Study(
    question="How many of the tunes that a model writes parse as ABC, and how many of their bars are full?",
    notes_row=14,
    fixed={"config": "irish"},
    grid={"mixer": ("lstm", "gru", "mingru", "attention")},
    measures=("tunes that parse", "full bars", "full bars lost"),
    plot_metric="full bars",
    scales={
        "smoke": Scale(seeds=(0,), overrides={"training.steps": 50, "training.eval_every": 50}),
        "quick": Scale(seeds=(0, 1, 2), learning_rates=(1e-3, 3e-3, 1e-2)),
        "full": Scale(
            seeds=tuple(range(5)), learning_rates=(3e-4, 1e-3, 3e-3, 1e-2), overrides={"training.steps": 10_000}
        ),
    },
    claims=(
        claim_above("Nine of ten tunes or more parse, whichever the model", {}, 0.9, metric="tunes that parse"),
        claim_below(
            "As many of their bars are full as of people's, less 0.1 at most", {}, 0.1, metric="full bars lost"
        ),
    ),
)
