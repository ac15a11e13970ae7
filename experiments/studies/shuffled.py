"""Row 5 again: to one dense network the order of its inputs means nothing; to a recurrence it does."""

from experiments.ablation.study import Scale, Study, above, near

STUDY = Study(
    question="What does it cost to see the pixels of every image in one and the same random order?",
    row=5,
    fixed={},
    vary={
        "mixer": ("dense", "gru", "attention"),
        "pixels": {"row by row": {"config": "digits"}, "shuffled": {"config": "permuted_digits"}},
    },
    scales={
        "smoke": Scale((0, 1), changes={"training.steps": 100}),
        "quick": Scale((0, 1, 2, 3, 4), (3e-3, 1e-2), changes={"training.steps": 500}),
        "full": Scale(tuple(range(10)), (1e-3, 3e-3, 1e-2), (100, 101), {"training.steps": 5000}),
    },
    claims=(
        near("The dense network does as well either way, within 0.03", {"mixer": "dense", "pixels": "shuffled"},
             {"pixels": "row by row"}, 0.03),
        above("A GRU loses 0.05 or more", {"mixer": "gru", "pixels": "row by row"}, {"pixels": "shuffled"}, 0.05),
    ),
)  # fmt: skip
