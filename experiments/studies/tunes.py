"""Music: of the tunes that a model writes, how many can be read and played, and do their bars add up?"""

from experiments.ablation.study import Scale, Study, above, below

STUDY = Study(
    question="How many of the tunes that a model writes parse as ABC, and how many of their bars are full?",
    row=14,
    fixed={"config": "irish"},
    vary={"mixer": ("lstm", "gru", "mingru", "attention")},
    measured=("tunes that parse", "full bars", "full bars lost"),
    show="full bars",
    scales={
        "smoke": Scale((0,), changes={"training.steps": 50, "training.eval_every": 50}),
        "quick": Scale((0, 1, 2), (1e-3, 3e-3, 1e-2)),
        "full": Scale(tuple(range(5)), (3e-4, 1e-3, 3e-3, 1e-2), changes={"training.steps": 10_000}),
    },
    claims=(
        above("Nine of ten tunes or more parse, whichever the model", {}, 0.9, metric="tunes that parse"),
        below("As many of their bars are full as of people's, less 0.1 at most", {}, 0.1, metric="full bars lost"),
    ),
)  # fmt: skip
