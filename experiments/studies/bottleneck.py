"""Row 2: an encoder that hands over one vector is a bottleneck; attention over all of its states is the way around."""

from experiments.ablation.study import Scale, Study, claim_above, claim_near

MODELS = {
    "GRU, one vector": {"mixer": "gru", "model.encoder_decoder": "vector"},
    "GRU, additive attention": {"mixer": "gru", "model.encoder_decoder": "additive"},
    "GRU, general attention": {"mixer": "gru", "model.encoder_decoder": "general"},
    "Transformer": {"mixer": "attention", "model.encoder_decoder": "scaled"},
}
ATTENTION = tuple(name for name in MODELS if "one vector" not in name)
STUDY = Study(
    question="How does translation hold up as sentences grow, with and without attention between encoder and decoder?",
    notes_row=2,
    fixed={"config": "translation", "task.eval_lengths": (2, 4, 6, 8, 10, 12)},
    grid={"model": MODELS},
    scales={
        "smoke": Scale(seeds=(0, 1), overrides={"training.steps": 100, "training.eval_every": 100}),
        "quick": Scale(seeds=(0, 1, 2), learning_rates=(3e-3, 1e-2), overrides={"training.steps": 1500}),
        "full": Scale(
            seeds=tuple(range(10)),
            learning_rates=(1e-3, 3e-3, 1e-2),
            tuning_seeds=(100, 101),
            overrides={"training.steps": 10_000},
        ),
    },
    claims=(
        claim_above(
            "At 12 words attention is ahead of the one vector by 0.2 or more",
            {"model": ATTENTION},
            {"model": "GRU, one vector"},
            margin=0.2,
            metric="test@12",
        ),
        claim_above(
            "With attention 12 words are translated to 95 % or better", {"model": ATTENTION}, 0.95, metric="test@12"
        ),
        claim_near(
            "At 2 words the one vector is as good as additive attention, within 0.05",
            {"model": "GRU, one vector"},
            {"model": "GRU, additive attention"},
            within=0.05,
            metric="test@2",
        ),
    ),
)
