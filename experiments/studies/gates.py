"""Ablation: which gate of the LSTM matters (Greff et al. 2017, arXiv 1503.04069), and the bias of its forget gate."""

from experiments.ablation.study import Scale, Study, claim_above, claim_near

GATES = {
    "all gates": {},
    "no input gate": {"model.lstm.disabled_gates": "i"},
    "no forget gate": {"model.lstm.disabled_gates": "f"},
    "no output gate": {"model.lstm.disabled_gates": "o"},
    "forget bias 0": {"model.lstm.forget_bias": 0.0},
    "forget bias 3": {"model.lstm.forget_bias": 3.0},
}
STUDY = Study(
    question="Which of its gates does an LSTM need to add two marked numbers among fifty?",
    fixed={"config": "adding", "mixer": "lstm", "task.max_length": 50},
    grid={"gates": GATES},
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
            "Without forget gate the error is 0.01 larger",
            {"gates": "no forget gate"},
            {"gates": "all gates"},
            margin=0.01,
        ),
        claim_near(
            "Without output gate it is as small, within 0.01",
            {"gates": "no output gate"},
            {"gates": "all gates"},
            within=0.01,
        ),
        claim_above(
            "A forget bias of 0 leaves 0.01 more than one of 1",
            {"gates": "forget bias 0"},
            {"gates": "all gates"},
            margin=0.01,
        ),
    ),
)
