"""The illusion of state (Merrill, Petty and Sabharwal 2024): composing permutations takes one recurrent layer.

As in the paper: running products in A5 (which is not solvable) and in Z60 (which is), a recurrence of one layer with
nothing around, whole sequences counted, the last step scored. Not as in the paper: an LSTM in place of an RNN of
2,048 ReLU units, up to 10 elements (it has 25), width 64 (it has 512), all shorter lengths with them (it trains on
each alone), and what a layer or two reach in the same steps in place of the fewest layers for 90 % of whole
sequences. Tried before: the LSTM in the common skeleton; and a bare RNN of 128 units, which 8,000 steps leave at
0.26, and 20,000 bring to 0.98 of 12 elements.
"""

from experiments.ablation.result_design import RATES, SCORED_LAST, decisive_scale
from experiments.ablation.study import BARE_MIXER, Scale, Study, claim_above, claim_below

LAYER = {"model.hidden_size": 128, "model.depth": 1, **BARE_MIXER}
LONG = {
    "training.steps_per_call": 100,
    "training.eval_every": 1000,
    "task.max_items": 10,
    "task.eval_lengths": (4, 7, 10),
}
MODELS = {"lstm, 1 layer": {"mixer": "lstm", **LAYER}}
MODELS |= {"attention, 1 layer": {"mixer": "attention", "model.depth": 1}}
MODELS |= {f"{name}, 2 layers": {"mixer": name} for name in ("attention", "mingru")}
OTHERS = ("attention, 1 layer", "attention, 2 layers", "mingru, 2 layers")
A5, Z60 = {"group": "a5"}, {"group": "z60"}
STUDY = Study(
    question="Who composes permutations, one after the other, and in how many layers?",
    paper="Merrill, Petty and Sabharwal 2024, Fig. 3 (arXiv 2404.08819)",
    fixed={"config": "word_problem", **LONG},
    grid={"model": MODELS, "group": {name: {"task.group": name} for name in ("a5", "z60")}},
    measures=("whole rows",),
    exclude=[{"model": name, **Z60} for name in MODELS if name != "attention, 1 layer"],
    scales={
        "smoke": Scale(seeds=(0, 1), overrides={"training.steps": 100, "training.eval_every": 100}),
        "quick": decisive_scale({"training.steps": 8000, "training.eval_every": 4000}),
        "standard": Scale(
            seeds=tuple(range(5)), learning_rates=RATES, overrides={**SCORED_LAST, "training.steps": 30_000}
        ),
        "full": Scale(
            seeds=tuple(range(5)),
            learning_rates=(1e-4, 3e-4, 1e-3),
            overrides={
                **SCORED_LAST,
                "training.steps": 50_000,
                "training.batch_size": 512,
                "model.width": 512,
                "task.max_items": 25,
                "task.eval_lengths": (5, 10, 15, 20, 25),
            },
        ),
    },
    claims=(
        claim_above(
            "One layer of an LSTM gets nine of ten sequences of ten elements right in A5",
            {"model": "lstm, 1 layer", **A5},
            0.9,
            metric="whole rows@10",
        ),
        claim_below(
            "Attention and minGRU, of two layers or fewer, get one of ten or fewer",
            {"model": OTHERS, **A5},
            0.1,
            metric="whole rows@10",
        ),
        claim_above(
            "Attention of one layer gets more products right in Z60 than in A5, by 0.1 or more",
            {"model": OTHERS[0], **Z60},
            A5,
            margin=0.1,
        ),
    ),
)
