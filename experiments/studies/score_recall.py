"""Row 6, long memory again: the bits that every mixer recalls, beside the size of its state."""

from experiments.study import Scale, Study, above
from models import MIXERS

STUDY = Study(
    question="How many of 32 bits does every mixer recall, at equal parameters?",
    row=6,
    fixed={"config": "recall"},
    vary={"mixer": (*MIXERS, "rglru,attention")},
    measured=("bits",),
    show="bits",
    scales={
        "smoke": Scale((0, 1), changes={"training.steps": 50, "training.eval_every": 50}),
        "quick": Scale((0, 1, 2), changes={"training.steps": 2000}),
        "full": Scale(tuple(range(10)), (1e-3, 3e-3, 1e-2), (100, 101), {"training.steps": 20_000}),
    },
    claims=(
        above("Attention recalls 24 bits or more", {"mixer": "attention"}, 24, metric="bits"),
        above("It recalls 8 bits more than any recurrence that is not linear", {"mixer": "attention"},
              {"mixer": ("rnn", "lstm", "gru", "slstm")}, 8, metric="bits"),
    ),
)  # fmt: skip
