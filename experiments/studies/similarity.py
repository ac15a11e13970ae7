"""Row 9: the similarity of query and key, by dot product or cosine: similar words get the higher weight."""

from experiments.ablation.study import Scale, Study, claim_above, claim_near

OTHERS = ("dot", "cosine", "additive", "general")
STUDY = Study(
    question="Does it matter how attention measures similarity, and do similar tokens come to get higher weights?",
    notes_row=9,
    fixed={"config": "recall", "mixer": "attention"},
    grid={"model.attention.similarity": ("scaled", *OTHERS)},
    measures=("similar", "similar before", "similar gain"),
    scales={
        "smoke": Scale(seeds=(0, 1), overrides={"training.steps": 100, "training.eval_every": 100}),
        "quick": Scale(seeds=(0, 1, 2), learning_rates=(3e-3, 1e-2), overrides={"training.steps": 3000}),
        "full": Scale(
            seeds=tuple(range(10)),
            learning_rates=(1e-3, 3e-3, 1e-2),
            tuning_seeds=(100, 101),
            overrides={"training.steps": 10_000},
        ),
    },
    claims=(
        claim_near(
            "Every similarity recalls as well as the scaled dot product, within 0.05",
            {"model.attention.similarity": OTHERS},
            {"model.attention.similarity": "scaled"},
            within=0.05,
        ),
        claim_near(
            "Before training, weights do not follow the similarity of the embeddings (rank correlation within 0.1)",
            {"model.attention.similarity": ("scaled", *OTHERS)},
            0,
            within=0.1,
            metric="similar before",
        ),
        claim_above(
            "Training makes similar tokens get higher weights: the rank correlation gains 0.1",
            {"model.attention.similarity": ("scaled", *OTHERS)},
            0.1,
            metric="similar gain",
        ),
    ),
)
