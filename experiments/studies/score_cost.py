"""Row 6, continuous stream and parallelisation: what every mixer costs as sequences and streams grow."""

from experiments.ablation.study import Scale, Study, above, near
from models import MIXERS

FIXED_STATE = tuple(name for name in MIXERS if name not in ("attention", "dense"))
STUDY = Study(
    question="What does a token cost as a stream grows, and how long is a training step's chain of operations?",
    row=6,
    fixed={"config": "recall", "model.width": 64},
    vary={"mixer": (*MIXERS, "rglru,attention")},
    measured=("stream time", "state", "step time", "step depth"),
    trained=False,
    show="step time",
    scales={"smoke": Scale((0,)), "quick": Scale((0,)), "full": Scale((0, 1, 2))},
    claims=(
        near("The state of a recurrence has one size, however long the stream", {"mixer": FIXED_STATE}, 0, 0.001,
             metric="slope of state"),
        above("Attention's grows in proportion to it", {"mixer": "attention"}, 0.99, metric="slope of state"),
    ),
)  # fmt: skip
