"""Row 4 again: what a recurrent network can recall is bounded by the size of its state."""

from experiments.ablation.study import Scale, Study, claim_above, claim_below

STUDY = Study(
    question="How many bits of eight key–value pairs does a state of a given size recall?",
    notes_row=4,
    fixed={"config": "recall"},
    grid={"mixer": ("lstm", "gru", "gla", "delta"), "model.hidden_size": (16, 48, 128)},
    measures=("bits",),
    plot_metric="bits",
    scales={
        "smoke": Scale(seeds=(0, 1), overrides={"training.steps": 100, "training.eval_every": 100}),
        "quick": Scale(seeds=(0, 1, 2), overrides={"training.steps": 1500}),
        "full": Scale(
            seeds=tuple(range(10)),
            learning_rates=(1e-3, 3e-3, 1e-2),
            tuning_seeds=(100, 101),
            overrides={"training.steps": 20_000},
        ),
    },
    claims=(
        claim_above(
            "With eight times the units each recalls at least two bits more",
            {"mixer": ("lstm", "gru", "gla", "delta"), "model.hidden_size": 128},
            {"model.hidden_size": 16},
            margin=2,
            metric="bits",
        ),
        claim_below(
            "Even at 128 units an LSTM or a GRU recalls less than half of the 32 bits",
            {"mixer": ("lstm", "gru"), "model.hidden_size": 128},
            16,
            metric="bits",
        ),
        claim_above(
            "A matrix for a state (delta rule) recalls more than a vector of as many units",
            {"mixer": "delta"},
            {"mixer": ("lstm", "gru")},
            margin=1,
            metric="bits",
        ),
    ),
)
