"""Row 5: Idea I, everything into one dense network: it does not scale, and fails at lengths it was not trained on."""

from experiments.ablation.study import Scale, Study, claim_above, claim_below, claim_near

STUDY = Study(
    question="What becomes of one dense network over the whole window as the window grows?",
    notes_row=5,
    fixed={"config": "recall", "task.pairs": 4, "task.max_length": 32, "model.max_length": 64},
    grid={"mixer": ("dense", "gru", "attention")},
    measures=("parameters", "longer"),
    plot_metric="longer",
    scales={
        "smoke": Scale(seeds=(0, 1), overrides={"training.steps": 100, "training.eval_every": 100}),
        "quick": Scale(seeds=(0, 1, 2), learning_rates=(3e-3, 1e-2), overrides={"training.steps": 2000}),
        "full": Scale(
            seeds=tuple(range(10)),
            learning_rates=(1e-3, 3e-3, 1e-2),
            tuning_seeds=(100, 101),
            overrides={"training.steps": 10_000},
        ),
    },
    claims=(
        claim_above(
            "The dense network's parameters grow with the square of the window",
            {"mixer": "dense"},
            1.9,
            metric="slope of parameters",
        ),
        claim_near(
            "Those of the others do not grow at all",
            {"mixer": ("gru", "attention")},
            0,
            within=0.01,
            metric="slope of parameters",
        ),
        claim_below(
            "At twice the length the dense network answers like one that guesses among what it saw",
            {"mixer": "dense"},
            0.3,
            metric="longer@64",
        ),
        claim_above(
            "Attention keeps 0.3 more than the dense network there",
            {"mixer": "attention"},
            {"mixer": "dense"},
            margin=0.3,
            metric="longer@64",
        ),
    ),
)
