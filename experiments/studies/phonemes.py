"""The encoding bottleneck on real data: words to sounds, so many words at once, through one vector or attention."""

from experiments.ablation.study import Scale, Study, claim_above, claim_near

BRIDGES = {"one vector": {"model.encoder_decoder": "vector"}, "attention": {"model.encoder_decoder": "additive"}}
STUDY = Study(
    question="How many words at once can an encoder hand over as one vector?",
    notes_row=2,
    fixed={
        "config": "phonemes",
        "task.pairs_per_row": 3,
        "task.eval_pairs_per_row": (1, 2, 3),
        "training.min_length": 20,
    },
    grid={"encoder_decoder": BRIDGES},
    plot_metric="test",
    scales={
        "smoke": Scale(seeds=(0,), overrides={"training.steps": 50, "training.eval_every": 50}),
        "quick": Scale(
            seeds=(0, 1, 2),
            learning_rates=(1e-3, 3e-3, 1e-2),
            overrides={"training.steps": 1200, "training.eval_every": 300},
        ),
        "full": Scale(
            seeds=tuple(range(5)),
            learning_rates=(3e-4, 1e-3, 3e-3),
            overrides={
                "training.steps": 20_000,
                "task.pairs_per_row": 8,
                "task.eval_pairs_per_row": (1, 2, 3, 4, 6, 8),
                "model.width": 128,
            },
        ),
    },
    claims=(
        claim_above(
            "At three words attention is ahead of one vector by 0.1 or more",
            {"encoder_decoder": "attention"},
            {"encoder_decoder": "one vector"},
            margin=0.1,
            metric="test@3",
        ),
        claim_near(
            "At one word one vector is as good, within 0.05",
            {"encoder_decoder": "attention"},
            {"encoder_decoder": "one vector"},
            within=0.05,
            metric="test@1",
        ),
    ),
)
