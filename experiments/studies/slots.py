"""Softmax has capacity, linear attention has slots (Schlag, Irie and Schmidhuber 2021), at the published scale.

As in the paper: their single-read memories with keys of 64 numbers, their tasks (keys all different; or repeating,
the last value counting), their squared error, their learning rate of 0.001. Not as in the paper: a rate that falls to
0 over 2,500 steps, and no early stop at a loss of 0.001. The rows "skeleton" put the common skeleton to the same
task, at 20 pairs. Tried before: rates of up to 0.01, at which one pair in forty was now and then wrong at the end.
"""

from experiments.ablation.result_design import decisive_scale
from experiments.ablation.study import Scale, Study, claim_above, claim_below

MEMORIES = {name: {"model.associative_memory": name} for name in ("softmax", "linear", "dpfp1", "dpfp2")}
REPEAT = {"task.with_replacement": True, "model.associative_memory": "dpfp1"}
AGAIN = {"sum, keys repeat": REPEAT, "delta, keys repeat": {**REPEAT, "model.update_rule": "delta"}}
SKELETONS = {f"{mixer}, skeleton": {"mixer": mixer} for mixer in ("attention", "gru")}
PAIRS = (20, 40, 60, 100)
STUDY = Study(
    question="How many associations does a memory with keys of 64 numbers hold?",
    paper="Schlag, Irie and Schmidhuber 2021, Fig. 2 (arXiv 2102.11174)",
    fixed={"config": "associations"},
    grid={"model": {**MEMORIES, **AGAIN, **SKELETONS}, "task.pairs": PAIRS},
    exclude=[{"model": name, "task.pairs": n} for name in SKELETONS for n in PAIRS[1:]],
    scales={
        "smoke": Scale(seeds=(0, 1), overrides={"training.steps": 100}),
        "quick": decisive_scale({}, tuned=False),
        "standard": Scale(
            seeds=tuple(range(5)), learning_rates=(1e-3, 3e-3, 1e-2), overrides={"training.steps": 10_000}
        ),
        "full": Scale(seeds=tuple(range(5)), learning_rates=(3e-4, 1e-3, 3e-3), overrides={"training.steps": 100_000}),
    },
    claims=(
        claim_below("Softmax stores 100 pairs", {"model": "softmax"}, 0.003),
        claim_below(
            "Linear attention stores 40, as 64 features should", {"model": "linear", "task.pairs": (20, 40)}, 0.01
        ),
        claim_above("And not 100", {"model": "linear", "task.pairs": 100}, 0.1),
        claim_below("DPFP with 128 and with 256 features stores 100", {"model": ("dpfp1", "dpfp2")}, 0.01),
        claim_above("Where keys repeat a sum is never right", {"model": "sum, keys repeat"}, 0.05),
        claim_below("The delta rule is, for 20 and 40", {"model": "delta, keys repeat", "task.pairs": (20, 40)}, 0.01),
    ),
)
