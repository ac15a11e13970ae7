"""RNNs against attention: one skeleton, equal parameters, budget and tuning; recall, images, text and translation.

Five mixers differ in nothing but how they mix a sequence. `python -m experiments.compare` runs this study and
compare_cost, and shows both on one page. The scale "recall" is the part of "full" that has a record: the recall of 2,
4, 8 and 16 pairs.
"""

from typing import Any

from experiments.ablation.learning_rates import LEARNING_RATES
from experiments.ablation.study import Claim, Scale, Study, claim_below

RECURRENT = ("lstm", "gru", "rnn")
MIXERS = ("attention", *RECURRENT, "dense")

# Claims, made before the runs that decide them.
RECALLED, FORGOTTEN = 0.99, 0.60  # shares of recalled pairs: attention's at least, every recurrent mixer's at most
NEAR = 0.10  # bits per character by which the best recurrent mixer may trail attention and still count as near


def recall(pairs: int, symbols: int = 32, steps: int = 3000) -> dict[str, Any]:
    """Recall of `pairs` key–value pairs, in sequences of four tokens per pair."""
    lengths = {"task.pairs": pairs, "task.symbols": symbols, "task.max_length": 4 * pairs}
    return {"config": "recall", **lengths, "training.steps": steps}


def task(config: str, steps: int) -> dict[str, Any]:
    """A config as it is, trained for so many steps."""
    return {"config": config, "training.steps": steps}


ONE_VECTOR = {
    **task("translation", 500),
    "model.encoder_decoder": "vector",
    "model.width": 32,
    "task.max_items": 8,
    "training.min_length": 3,
    "training.eval_every": 100,
}
SMOKE = {"recall 2": recall(2, steps=100), "digits": task("digits", 100)}
QUICK = {
    "recall": recall(8),
    "digits": task("digits", 500),
    "shakespeare": task("shakespeare", 600),
    "one vector": ONE_VECTOR,
}
RECALL = {f"recall {pairs}": recall(pairs, symbols=40) for pairs in (2, 4, 8, 16)}
FULL = RECALL | {
    "digits": task("digits", 3000),
    "shakespeare": task("shakespeare", 6000),
    "copy memory": task("copy_memory", 4000),
    "adding": task("adding", 4000),
}
# Seconds that the quick scale may take on two cores, by task, and for the times of compare_cost.
BUDGET = {"recall": 240, "digits": 90, "shakespeare": 120, "one vector": 120, "timing": 60}

EIGHT_PAIRS = ("recall", "recall 8")
STUDY = Study(
    question="At equal parameters and equal budget, what does attention do that a recurrent network can't, "
    "and what does it cost?",
    fixed={},
    grid={"task": QUICK, "mixer": MIXERS},
    measures={"permuted": {"task": "digits"}},
    scales={
        "smoke": Scale(
            seeds=(0, 1),
            learning_rates=LEARNING_RATES,
            tuning_seeds=(100,),
            overrides={"optimizer.warmup_steps": 10},
            grid={"task": SMOKE},
        ),
        "quick": Scale(seeds=(0, 1, 2, 3), learning_rates=LEARNING_RATES, tuning_seeds=(100, 101)),
        "recall": Scale(
            seeds=tuple(range(6)), learning_rates=LEARNING_RATES, tuning_seeds=(100, 101), grid={"task": RECALL}
        ),
        "full": Scale(
            seeds=tuple(range(6)), learning_rates=LEARNING_RATES, tuning_seeds=(100, 101), grid={"task": FULL}
        ),
    },
    claims=(
        Claim(
            f"At equal parameters attention recalls ≥ {RECALLED} of 8 pairs where every recurrent mixer stays "
            f"≤ {FORGOTTEN}",
            {"task": EIGHT_PAIRS, "mixer": "attention"},
            RECALLED,
            also=(claim_below("", {"task": EIGHT_PAIRS, "mixer": RECURRENT}, FORGOTTEN),),
        ),
        claim_below(
            f"On Shakespeare the best recurrent mixer comes within {NEAR:.2f} bits per character of attention, or "
            f"beats it",
            {"task": "shakespeare", "mixer": RECURRENT},
            {"mixer": "attention"},
            margin=-NEAR,
            best_of="mixer",
        ),
    ),
)
