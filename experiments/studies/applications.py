"""RNN against attention on real data: language, music, biology, vision and translation, each from one config."""

from experiments.ablation.study import Scale, Study, claim_above, claim_below, claim_near

CONFIGS = ("shakespeare", "python", "bible", "irish", "peptides", "splice", "digits", "permuted_digits", "mnist")
DATA = {name: {"config": name} for name in (*CONFIGS, "phonemes", "verses")}
RECURRENT = ("lstm", "gru", "mingru")
STUDY = Study(
    question="On real data, at equal parameters and in equal steps: who is ahead where?",
    notes_row=14,
    fixed={},
    grid={"data": DATA, "mixer": (*RECURRENT, "attention")},
    scales={
        "smoke": Scale(seeds=(0,), overrides={"training.steps": 50, "training.eval_every": 50}),
        "quick": Scale(
            seeds=(0, 1, 2),
            learning_rates=(1e-3, 3e-3, 1e-2),
            overrides={"training.steps": 600, "training.eval_every": 100},
        ),
        "full": Scale(
            seeds=tuple(range(5)), learning_rates=(3e-4, 1e-3, 3e-3, 1e-2), overrides={"training.steps": 5000}
        ),
    },
    claims=(
        claim_near(
            "On permuted pixels attention is as good as on those in order, within 0.05",
            {"data": "digits", "mixer": "attention"},
            {"data": "permuted_digits"},
            within=0.05,
        ),
        claim_above(
            "GRU loses 0.02 or more there", {"data": "digits", "mixer": "gru"}, {"data": "permuted_digits"}, margin=0.02
        ),
        claim_above(
            "On splice sites attention, which can look at a place, is ahead of the LSTM",
            {"data": "splice", "mixer": "attention"},
            {"mixer": "lstm"},
        ),
        claim_below(
            "On characters, in so few steps, the LSTM is ahead of attention (fewer bits)",
            {"data": ("shakespeare", "python", "irish"), "mixer": "lstm"},
            {"mixer": "attention"},
        ),
        claim_above("On peptides every model beats the nearest neighbour's 0.792", {"data": "peptides"}, 0.792),
    ),
)
