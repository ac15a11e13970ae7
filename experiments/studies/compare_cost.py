"""What a training step and a streamed token cost the mixers of compare, against length: one block, width 64."""

from experiments.ablation.study import Scale, Study, claim_above
from experiments.studies.compare import MIXERS, RECURRENT

STUDY = Study(
    question="What do a training step and one more token cost as sequences grow?",
    fixed={"config": "recall", "model.width": 64},
    grid={"mixer": MIXERS},
    measures=("step time", "step depth", "stream time"),
    trained=False,
    plot_metric="step time",
    scales={"smoke": Scale(seeds=(0,)), "quick": Scale(seeds=(0,)), "full": Scale(seeds=(0,))},
    claims=(
        claim_above(
            "The time of attention's training step grows with a higher power of length than any recurrent mixer's",
            {"mixer": "attention"},
            {"mixer": RECURRENT},
            metric="slope of step time",
        ),
    ),
)
