"""Row 11: attention's weights single out what matters: in a translation, the word that is being translated."""

from experiments.ablation.study import Scale, Study, claim_above

MODELS = {
    "GRU, additive": {"mixer": "gru", "model.encoder_decoder": "additive"},
    "GRU, dot": {"mixer": "gru", "model.encoder_decoder": "dot"},
    "GRU, general": {"mixer": "gru", "model.encoder_decoder": "general"},
    "Transformer": {"mixer": "attention", "model.encoder_decoder": "scaled"},
}
STUDY = Study(
    question="Does attention look at the source word that it translates, where that is known by construction?",
    notes_row=11,
    fixed={"config": "translation", "task.eval_lengths": (2, 4, 6, 8, 10, 12)},
    grid={"model": MODELS},
    measures=("aligned",),
    plot_metric="aligned",
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
            "The largest weight is on the word that is translated nine times in ten",
            {"model": tuple(MODELS)},
            0.9,
            metric="aligned",
        ),
        claim_above(
            "Far above chance, one in twelve, for every model", {"model": tuple(MODELS)}, 0.3, metric="aligned"
        ),
    ),
)
