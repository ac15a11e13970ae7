"""Every mixer on two tasks that ask for memory, at equal parameters and budget: docs/results/mixers.md.

Recall of 8 pairs, as in compare, and copy memory over a silence of 20 steps; two and a half hours on two cores. Mixers
with a short convolution or an output gate among their options have a second row, with what they have of both on: by
what it is better, the convolution and the gate recall, and not the recurrence.
"""

from experiments.ablation.learning_rates import LEARNING_RATES
from experiments.ablation.mixer_fields import mixer_fields
from experiments.ablation.study import Scale, Study
from experiments.studies.compare import recall
from models import MIXERS, mixer_options

TASKS = {
    "recall": recall(8),
    "copy memory": {"config": "copy_memory", "task.delay": 20, "training.steps": 1000, "training.eval_every": 100},
}
PARTS = {"kernel": "convolution", "output_gate": "gate"}  # option → its name in a label
EQUIPPED = {  # those that lack one of the two by default
    f"{name} with {' and '.join(label for part, label in PARTS.items() if part in mixer_options(name))}": mixer_fields(
        name, kernel=4, output_gate=True
    )
    for name in MIXERS
    if any(mixer_options(name).get(part, True) in (0, False) for part in PARTS)
}
STUDY = Study(
    question="What does every mixer recall of 8 pairs, and keep of ten digits through a silence of 20 steps?",
    fixed={},
    grid={
        "task": TASKS,
        "mixer": {
            **{name: {"mixer": name} for name in ("attention", *MIXERS, "rglru,attention")},
            **EQUIPPED,
        },
    },
    scales={
        "smoke": Scale(seeds=(0,), overrides={"training.steps": 100, "training.eval_every": 100}),
        "quick": Scale(seeds=tuple(range(5)), learning_rates=LEARNING_RATES, tuning_seeds=(100,)),
    },
    registry_axis="mixer",
    claims=(),
)
