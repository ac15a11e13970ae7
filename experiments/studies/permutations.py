"""The illusion of state (Merrill, Petty and Sabharwal 2024): composing permutations takes one recurrent layer.

As in the paper: running products in A5 (which is not solvable) and in Z60 (which is), all shorter lengths with them.
Not as in the paper: 12 elements at most (it has 25), width 64 (it has 512), data drawn anew, and what one and two
layers reach in the same steps, as a share of all products of up to 12, in place of the fewest layers for 90 %.
"""

from experiments.study import Scale, Study, above, below

RATES = (1e-3, 3e-3, 1e-2)
MODELS = {
    "rnn, 1 layer": {"mixer": "rnn", "model.depth": 1},
    "lstm, 1 layer": {"mixer": "lstm", "model.depth": 1},
    "attention, 1 layer": {"mixer": "attention", "model.depth": 1},
    "attention, 2 layers": {"mixer": "attention"},
    "mingru, 2 layers": {"mixer": "mingru"},
}
GROUPS = {f"group {name}": {"task.group": name} for name in ("a5", "z60")}
STUDY = Study(
    question="Who composes permutations, one after the other, and in how many layers?",
    paper="Merrill, Petty and Sabharwal 2024, Fig. 3 (arXiv 2404.08819)",
    fixed={"config": "word_problem", "task.lengths": (4, 8, 12)},
    vary={"model": MODELS, "group": GROUPS},
    scales={
        "smoke": Scale((0, 1), changes={"training.steps": 100, "training.eval_every": 100}),
        "quick": Scale((0, 1, 2), RATES, changes={"training.steps": 3000, "training.batch": 64}),
        "standard": Scale(tuple(range(5)), RATES, changes={"training.steps": 30_000, "training.batch": 64}),
        "full": Scale(tuple(range(5)), (1e-4, 3e-4, 1e-3), changes={
            "training.steps": 50_000, "training.batch": 512, "model.width": 512, "task.longest": 25,
            "task.lengths": (5, 10, 15, 20, 25)}),
    },
    claims=(
        above("One layer of an RNN or LSTM gets 90 % of the products of up to 12 in A5",
              {"model": ("rnn, 1 layer", "lstm, 1 layer"), "group": "group a5"}, 0.9),
        below("Attention and minGRU, of two layers or fewer, do not", {"model": ("attention, 1 layer",
              "attention, 2 layers", "mingru, 2 layers"), "group": "group a5"}, 0.7),
        above("Z60 is easier for attention of one layer", {"model": "attention, 1 layer", "group": "group z60"},
              {"group": "group a5"}, 0.1),
    ),
)  # fmt: skip
