"""Row 7: fed all at once, a sequence has lost its order; positional encoding gives it back."""

from experiments.ablation.study import Scale, Study, claim_above, claim_below

POSITIONS = ("sinusoidal", "learned", "rope", "alibi", "t5", "transformer_xl")
STUDY = Study(
    question="Can attention that looks both ways read a digit's pixels without being told where each of them stands?",
    notes_row=7,
    fixed={"config": "digits", "model.causal": False, "model.pool": "mean"},
    grid={"model.positions": ("none", *POSITIONS)},
    measures=("permuted",),
    scales={
        "smoke": Scale(seeds=(0, 1), overrides={"training.steps": 100}),
        "quick": Scale(seeds=(0, 1, 2), learning_rates=(3e-3, 1e-2), overrides={"training.steps": 500}),
        "full": Scale(
            seeds=tuple(range(10)),
            learning_rates=(1e-3, 3e-3, 1e-2),
            tuning_seeds=(100, 101),
            overrides={"training.steps": 5000},
        ),
    },
    claims=(
        claim_below(
            "Without positions no permutation of the pixels changes the output",
            {"model.positions": "none"},
            1e-3,
            metric="permuted",
        ),
        claim_above("With any encoding one does", {"model.positions": POSITIONS}, 0.1, metric="permuted"),
        claim_above(
            "Every encoding gains 0.2 or more in accuracy",
            {"model.positions": POSITIONS},
            {"model.positions": "none"},
            margin=0.2,
        ),
    ),
)
