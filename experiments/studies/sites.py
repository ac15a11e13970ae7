"""Does a trained model look where biology says? Splice junctions, whose introns begin with GT and end with AG."""

from experiments.ablation.study import Scale, Study, claim_above

STUDY = Study(
    question="Where in a DNA sequence is what decides for a model, and is that the splice site?",
    notes_row=11,
    fixed={"config": "splice", "training.steps": 600},
    grid={"mixer": ("lstm", "gru", "mingru", "attention")},
    measures=("site", "site gradient"),
    plot_metric="site",
    scales={
        "smoke": Scale(seeds=(0,), overrides={"training.steps": 50, "training.eval_every": 50}),
        "quick": Scale(seeds=(0, 1, 2), learning_rates=(1e-3, 3e-3, 1e-2)),
        "full": Scale(
            seeds=tuple(range(5)), learning_rates=(3e-4, 1e-3, 3e-3, 1e-2), overrides={"training.steps": 5000}
        ),
    },
    claims=(
        claim_above(
            "The most influential place is at the site in half of the sequences or more, whichever the model "
            "(chance: 2 of 60, 0.033)",
            {},
            0.5,
            metric="site",
        ),
        claim_above("By the gradient too", {}, 0.5, metric="site gradient"),
    ),
)
