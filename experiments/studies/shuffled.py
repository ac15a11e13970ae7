"""Row 5 again: to one dense network the order of its inputs means nothing; to a recurrence it does."""

from experiments.ablation.study import Scale, Study, claim_above, claim_near

STUDY = Study(
    question="What does it cost to see the pixels of every image in one and the same random order?",
    notes_row=5,
    fixed={},
    grid={
        "mixer": ("dense", "gru", "attention"),
        "pixels": {"row by row": {"config": "digits"}, "shuffled": {"config": "permuted_digits"}},
    },
    scales={
        "smoke": Scale(seeds=(0, 1), overrides={"training.steps": 100}),
        "quick": Scale(seeds=(0, 1, 2, 3, 4), learning_rates=(3e-3, 1e-2), overrides={"training.steps": 500}),
        "full": Scale(
            seeds=tuple(range(10)),
            learning_rates=(1e-3, 3e-3, 1e-2),
            tuning_seeds=(100, 101),
            overrides={"training.steps": 5000},
        ),
    },
    claims=(
        claim_near(
            "The dense network does as well either way, within 0.03",
            {"mixer": "dense", "pixels": "shuffled"},
            {"pixels": "row by row"},
            within=0.03,
        ),
        claim_above(
            "A GRU loses 0.05 or more", {"mixer": "gru", "pixels": "row by row"}, {"pixels": "shuffled"}, margin=0.05
        ),
    ),
)
