"""Does a trained model look where biology says? Splice junctions, whose introns begin with GT and end with AG."""

from experiments.ablation.study import Scale, Study, above

STUDY = Study(
    question="Where in a DNA sequence is what decides for a model, and is that the splice site?",
    row=11,
    fixed={"config": "splice", "training.steps": 600},
    vary={"mixer": ("lstm", "gru", "mingru", "attention")},
    measured=("site", "site gradient"),
    show="site",
    scales={
        "smoke": Scale((0,), changes={"training.steps": 50, "training.eval_every": 50}),
        "quick": Scale((0, 1, 2), (1e-3, 3e-3, 1e-2)),
        "full": Scale(tuple(range(5)), (3e-4, 1e-3, 3e-3, 1e-2), changes={"training.steps": 5000}),
    },
    claims=(
        above("The most influential place is at the site in half of the sequences or more, whichever the model "
              "(chance: 2 of 60, 0.033)", {}, 0.5, metric="site"),
        above("By the gradient too", {}, 0.5, metric="site gradient"),
    ),
)  # fmt: skip
