"""Row 6, continuous stream and parallelisation: what every mixer costs as sequences and streams grow."""

from experiments.ablation.study import Scale, Study, claim_above, claim_near
from models import MIXERS

FIXED_STATE = tuple(name for name in MIXERS if name not in ("attention", "dense", "loglinear"))
STUDY = Study(
    question="What does a token cost as a stream grows, and how long is a training step's chain of operations?",
    notes_row=6,
    fixed={"config": "recall", "model.width": 64},
    grid={"mixer": (*MIXERS, "rglru,attention")},
    measures=("stream time", "state", "step time", "step depth"),
    trained=False,
    plot_metric="step time",
    scales={"smoke": Scale(seeds=(0,)), "quick": Scale(seeds=(0,)), "full": Scale(seeds=(0, 1, 2))},
    registry_axis="mixer",
    claims=(
        claim_near(
            "The state of a recurrence has one size, however long the stream",
            {"mixer": FIXED_STATE},
            0,
            within=0.001,
            metric="slope of state",
        ),
        claim_near(
            "Log-linear attention's grows too, by a power of the length below 0.2",
            {"mixer": "loglinear"},
            0.1,
            within=0.1,
            metric="slope of state",
        ),
        claim_above("Attention's grows in proportion to it", {"mixer": "attention"}, 0.99, metric="slope of state"),
    ),
)
