"""Attention's own weights in a splice model, held against the known sites: where it looks, is that what matters?"""

from experiments.ablation.study import Scale, Study, above

STUDY = Study(
    question="Is the place that attention gives the most weight the one that decides?",
    row=11,
    fixed={"config": "splice", "training.steps": 600},
    vary={"model.depth": (1, 2)},
    measured=("site", "site weight"),
    show="site weight",
    scales={
        "smoke": Scale((0,), changes={"training.steps": 50, "training.eval_every": 50}),
        "quick": Scale((0, 1, 2), (1e-3, 3e-3, 1e-2)),
        "full": Scale(tuple(range(5)), (3e-4, 1e-3, 3e-3, 1e-2), changes={"training.steps": 5000}),
    },
    claims=(
        above("The most weighted place is the site more often than by chance (0.033), by 0.1", {}, 0.033, 0.1,
              metric="site weight"),
    ),
)  # fmt: skip
