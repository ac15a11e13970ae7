"""Row 10: softmax turns scores into weights that sum to one, so that changing one weight changes all the others."""

from experiments.ablation.study import Scale, Study, above, below

ALONE = ("sigmoid", "none")
STUDY = Study(
    question="What does softmax do that other ways from scores to weights do not?",
    row=10,
    fixed={"config": "recall", "mixer": "attention"},
    vary={"model.attention.normalizer": ("softmax", "linear", *ALONE)},
    measured=("coupled",),
    scales={
        "smoke": Scale((0, 1), changes={"training.steps": 100, "training.eval_every": 100}),
        "quick": Scale((0, 1, 2), (3e-3, 1e-2), changes={"training.steps": 3000}),
        "full": Scale(tuple(range(10)), (1e-3, 3e-3, 1e-2), (100, 101), {"training.steps": 10_000}),
    },
    claims=(
        above("Under softmax the other weights together move as much as the one that was changed",
              {"model.attention.normalizer": "softmax"}, 0.95, metric="coupled"),
        below("Under a sigmoid, or without a normaliser, they do not move", {"model.attention.normalizer": ALONE}, 1e-4,
              metric="coupled"),
        above("Softmax recalls at least 0.05 more than every other", {"model.attention.normalizer": "softmax"},
              {"model.attention.normalizer": ("linear", *ALONE)}, 0.05),
    ),
)  # fmt: skip
