"""Row 3: a recurrent network is slow, for its steps can't be taken side by side; attention's work grows faster."""

from experiments.ablation.study import Scale, Study, claim_above, claim_below

RECURRENT = ("rnn", "lstm", "gru")
STUDY = Study(
    question="How do the time of a training step and its longest chain of operations grow with length?",
    notes_row=3,
    fixed={"config": "recall", "model.width": 64},
    grid={"mixer": (*RECURRENT, "mingru", "attention")},
    measures=("step time", "step depth"),
    trained=False,
    plot_metric="step time",
    scales={"smoke": Scale(seeds=(0,)), "quick": Scale(seeds=(0, 1, 2)), "full": Scale(seeds=tuple(range(10)))},
    claims=(
        claim_above(
            "The longest chain of operations of every recurrent network grows in proportion to length",
            {"mixer": RECURRENT},
            0.9,
            metric="slope of step depth",
        ),
        claim_below("Attention's does not grow", {"mixer": "attention"}, 0.05, metric="slope of step depth"),
        claim_above(
            "The time of attention's step grows with a higher power of length, on two cores",
            {"mixer": "attention"},
            {"mixer": RECURRENT},
            margin=0.2,
            metric="slope of step time",
        ),
        claim_below(
            "At 64 tokens attention's step is the faster one",
            {"mixer": "attention"},
            {"mixer": RECURRENT},
            metric="step time@64",
        ),
    ),
)
