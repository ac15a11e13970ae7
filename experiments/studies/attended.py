"""Attention's own weights in a splice model, held against the known sites: where it looks, is that what matters?"""

from experiments.ablation.study import Scale, Study, claim_above

STUDY = Study(
    question="Is the place that attention gives the most weight the one that decides?",
    notes_row=11,
    fixed={"config": "splice", "training.steps": 600},
    grid={"model.depth": (1, 2)},
    measures=("site", "site weight"),
    plot_metric="site weight",
    scales={
        "smoke": Scale(seeds=(0,), overrides={"training.steps": 50, "training.eval_every": 50}),
        "quick": Scale(seeds=(0, 1, 2), learning_rates=(1e-3, 3e-3, 1e-2)),
        "full": Scale(
            seeds=tuple(range(5)), learning_rates=(3e-4, 1e-3, 3e-3, 1e-2), overrides={"training.steps": 5000}
        ),
    },
    claims=(
        claim_above(
            "The most weighted place is the site more often than by chance (0.033), by 0.1",
            {},
            0.033,
            margin=0.1,
            metric="site weight",
        ),
    ),
)
