"""The illusion of state (Merrill, Petty and Sabharwal 2024): composing permutations takes one recurrent layer.

As in the paper: running products in A5 (which is not solvable) and in Z60 (which is), all shorter lengths with them,
recurrences of one layer with nothing around. Not as in the paper: up to 10 elements (it has 25), width 64 (it has 512),
and what a layer or two reach in the same steps in place of the fewest layers for 90 %. Tried before: recurrences in the
common skeleton (a row here), and for 12 elements a bare RNN: 0.98 after 20,000 steps, which take more than ten minutes.
"""

from experiments.ablation.study import BARE_MIXER, Scale, Study, claim_above, claim_below

LAYER = {"model.hidden_size": 128, "model.depth": 1, **BARE_MIXER}
LONG = {
    "training.steps_per_call": 100,
    "training.eval_every": 1000,
    "task.max_items": 10,
    "task.eval_lengths": (4, 7, 10),
}
MODELS = {f"{name}, 1 layer": {"mixer": name, **LAYER} for name in ("rnn", "lstm")}
MODELS |= {"lstm, skeleton": {"mixer": "lstm", "model.depth": 1}}
MODELS |= {"attention, 1 layer": {"mixer": "attention", "model.depth": 1}}
MODELS |= {f"{name}, 2 layers": {"mixer": name} for name in ("attention", "mingru")}
OTHERS = ("attention, 1 layer", "attention, 2 layers", "mingru, 2 layers")
A5, Z60 = {"group": "a5"}, {"group": "z60"}
STUDY = Study(
    question="Who composes permutations, one after the other, and in how many layers?",
    paper="Merrill, Petty and Sabharwal 2024, Fig. 3 (arXiv 2404.08819)",
    fixed={"config": "word_problem", **LONG},
    grid={"model": MODELS, "group": {name: {"task.group": name} for name in ("a5", "z60")}},
    exclude=[{"model": name, **Z60} for name in MODELS if name != "attention, 1 layer"],
    scales={
        "smoke": Scale(seeds=(0, 1), overrides={"training.steps": 100, "training.eval_every": 100}),
        "quick": Scale(seeds=(0, 1, 2), learning_rates=(1e-3, 3e-3, 1e-2), overrides={"training.steps": 8000}),
        "standard": Scale(
            seeds=tuple(range(5)), learning_rates=(1e-3, 3e-3, 1e-2), overrides={"training.steps": 30_000}
        ),
        "full": Scale(
            seeds=tuple(range(5)),
            learning_rates=(1e-4, 3e-4, 1e-3),
            overrides={
                "training.steps": 50_000,
                "training.batch_size": 512,
                "model.width": 512,
                "task.max_items": 25,
                "task.eval_lengths": (5, 10, 15, 20, 25),
            },
        ),
    },
    claims=(
        claim_above("One layer of an LSTM gets 90 % of the products in A5", {"model": "lstm, 1 layer", **A5}, 0.9),
        claim_above(
            "One of an RNN is ahead of attention's, by 0.3 or more",
            {"model": "rnn, 1 layer", **A5},
            {"model": OTHERS[:2]},
            margin=0.3,
        ),
        claim_below("Attention and minGRU, of two layers or fewer, are below 0.7", {"model": OTHERS, **A5}, 0.7),
        claim_above("Z60 is easier for attention of one layer", {"model": OTHERS[0], **Z60}, A5, margin=0.1),
    ),
)
