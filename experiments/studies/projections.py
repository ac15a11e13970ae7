"""Row 8: query, key and value each have weights and a bias of their own, over an input that knows its position."""

from experiments.ablation.study import Scale, Study, claim_above, claim_near

PROJECTIONS = {
    "own weights and biases": {},
    "no biases": {"model.attention.bias": False},
    **{f"{'='.join(names.upper())}": {"model.attention.tied_projections": names} for names in ("qk", "kv", "qkv")},
    **{
        f"position in {names.upper()} only": {"model.attention.position_injection": names}
        for names in ("q", "k", "v", "qk", "qkv")
    },
}
STUDY = Study(
    question="What do separate weights, biases and positions in each of query, key and value do for attention?",
    notes_row=8,
    fixed={"config": "copy_memory", "mixer": "attention", "task.delay": 20},
    grid={"projections": PROJECTIONS},
    scales={
        "smoke": Scale(seeds=(0, 1), overrides={"training.steps": 100, "training.eval_every": 100}),
        "quick": Scale(
            seeds=(0, 1, 2), learning_rates=(3e-3, 1e-2), overrides={"training.steps": 600, "training.eval_every": 100}
        ),
        "full": Scale(
            seeds=tuple(range(10)),
            learning_rates=(1e-3, 3e-3, 1e-2),
            tuning_seeds=(100, 101),
            overrides={"training.steps": 5000},
        ),
    },
    claims=(
        claim_above(
            "Q, K and V of their own do better than one matrix for all, by 0.05",
            {"projections": "own weights and biases"},
            {"projections": "Q=K=V"},
            margin=0.05,
        ),
        claim_near(
            "Biases make no difference, within 0.02",
            {"projections": "no biases"},
            {"projections": "own weights and biases"},
            within=0.02,
        ),
        claim_above(
            "Positions are needed in Q and K: in V alone they are worth 0.3 less",
            {"projections": "position in QK only"},
            {"projections": "position in V only"},
            margin=0.3,
        ),
    ),
)
