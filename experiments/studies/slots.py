"""Softmax has capacity, linear attention has slots (Schlag, Irie and Schmidhuber 2021), at the published scale.

As in the paper: their single-read memories with keys of 64 numbers, their tasks (keys all different; or repeating,
the last value counting), their squared error, their learning rate of 0.001. Not as in the paper: a rate that falls to
0 over 2,500 steps, and no early stop at a loss of 0.001. One wrong pair of 40 is a loss of 0.0125. Tried before, on
other seeds: rates of up to 0.01; and the claim that everything that fits is stored with a loss below 0.01, which one
linear memory in three missed at 40 pairs, and two of three with DPFP-1 at 100, by one pair or two; and the common
skeleton on the same task at 20 pairs, which attention and a GRU did not learn (0.476).
"""

from experiments.ablation.result_design import decisive_scale
from experiments.ablation.study import Scale, Study, claim_above, claim_below

MEMORIES = {name: {"model.associative_memory": name} for name in ("softmax", "linear", "dpfp1", "dpfp2")}
REPEAT = {"task.with_replacement": True, "model.associative_memory": "dpfp1"}
AGAIN = {"sum, keys repeat": REPEAT, "delta, keys repeat": {**REPEAT, "model.update_rule": "delta"}}
STUDY = Study(
    question="How many associations does a memory with keys of 64 numbers hold?",
    paper="Schlag, Irie and Schmidhuber 2021, Fig. 2 (arXiv 2102.11174)",
    fixed={"config": "associations"},
    grid={"model": {**MEMORIES, **AGAIN}, "task.pairs": (20, 40, 100)},
    scales={
        "smoke": Scale(seeds=(0, 1), overrides={"training.steps": 100}),
        "quick": decisive_scale({}, tuned=False)._replace(seeds=(400, 401, 402)),
        "standard": Scale(
            seeds=tuple(range(5)), learning_rates=(1e-3, 3e-3, 1e-2), overrides={"training.steps": 10_000}
        ),
        "full": Scale(seeds=tuple(range(5)), learning_rates=(3e-4, 1e-3, 3e-3), overrides={"training.steps": 100_000}),
    },
    claims=(
        claim_below("Softmax stores 100 pairs", {"model": "softmax"}, 0.003),
        claim_below(
            "Linear attention stores 40, as its 64 features should: a loss of 0.05 at most",
            {"model": "linear", "task.pairs": (20, 40)},
            0.05,
        ),
        claim_above("And not 100: 0.1 or more", {"model": "linear", "task.pairs": 100}, 0.1),
        claim_below(
            "At 100 pairs DPFP with 128 and with 256 features loses less than that, by 0.1 or more",
            {"model": ("dpfp1", "dpfp2"), "task.pairs": 100},
            {"model": "linear"},
            margin=0.1,
        ),
        claim_above("Where keys repeat a sum is never right", {"model": "sum, keys repeat"}, 0.05),
        claim_below(
            "The delta rule is ahead of it there, for 20, 40 and 100 pairs, by 0.05 or more",
            {"model": "delta, keys repeat"},
            {"model": "sum, keys repeat"},
            margin=0.05,
        ),
    ),
)
