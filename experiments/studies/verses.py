"""Attention scored against people: Greek to English verses whose word alignments were made by hand."""

from experiments.study import Scale, Study, above

MODELS = {
    "gru, additive": {"mixer": "gru", "model.bridge": "additive"},
    "lstm, general": {"mixer": "lstm", "model.bridge": "general"},
    "attention, scaled": {"mixer": "attention", "model.bridge": "scaled", "model.bridge_heads": 1},
}
STUDY = Study(
    question="Do the largest weights lie on the words that people say are translated?",
    row=11,
    fixed={"config": "verses"},
    vary={"model": MODELS},
    measured=("alignment error", "diagonal error", "alignment gain"),
    show="alignment error",
    scales={
        "smoke": Scale((0,), changes={"training.steps": 50, "training.eval_every": 50}),
        "quick": Scale((0, 1, 2), (1e-3, 3e-3, 1e-2), changes={"training.steps": 1000, "training.eval_every": 250}),
        "full": Scale(tuple(range(5)), (3e-4, 1e-3, 3e-3, 1e-2), changes={"training.steps": 20_000}),
    },
    claims=(
        above("Attention's alignment error is below that of the diagonal by 0.1 or more", {}, 0.0, 0.1,
              metric="alignment gain"),
    ),
)  # fmt: skip
