"""A first study: does a GRU recall more with more units? Two settings, three seeds, one claim.

.venv/bin/python -m examples.first_study        (half a minute on two cores)

Saved as experiments/studies/NAME.py, with nothing but the docstring, the import and STUDY, the same study runs as
`.venv/bin/python -m experiments.run --study=NAME --scale=smoke`, with a report, figures, and a place in --list.
"""

import tempfile
from pathlib import Path

from experiments.ablation import runner, verdicts
from experiments.ablation.study import Scale, Study, claim_above, validate_study

STUDY = Study(
    question="Does a GRU recall more key-value pairs with more units?",
    fixed={
        "config": "recall",
        "mixer": "gru",
        "task.pairs": 2,
        "task.symbols": 16,
        "task.max_length": 8,
        "model.width": 16,
    },
    grid={"model.hidden_size": (2, 32)},
    scales={
        "smoke": Scale(
            seeds=(0, 1, 2),
            learning_rates=(3e-3, 1e-2),  # the better of these, by validation score
            tuning_seeds=(100,),  # on this seed, which is not reported
            overrides={"training.steps": 200, "training.eval_every": 100},
        ),
    },
    claims=(
        claim_above(
            "32 units recall more than 2 do, by 0.05",
            left={"model.hidden_size": 32},
            right={"model.hidden_size": 2},
            margin=0.05,
        ),
    ),
)


def main(folder: Path) -> None:
    validate_study(STUDY, "smoke")
    records = runner.run_study(STUDY, STUDY.scales["smoke"], folder)
    for record in records:
        if record.phase == "report":
            print(record.labels, f"seed {record.seed}", f"test {record.get_metric('test'):.3f}")
    for verdict in verdicts.judge_claims(STUDY, records, "smoke"):
        print(verdict)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        main(Path(folder))
