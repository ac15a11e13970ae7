"""The Chomsky hierarchy's regular tasks (Delétang et al. 2022): recurrences generalise in length, attention does not.

As in the paper: lengths drawn evenly, one a batch, answers read from blanks behind the string, attention that looks
both ways, tested at lengths never seen. Not as in the paper: two of its languages, trained to 20 symbols and tested at
40 (it has 40, and the mean over 41 to 500), a mean over seeds (it has the best of ten, three rates and five kinds of
positions), two blocks of the common skeleton at width 64 (it has one recurrent layer of 256 units, five of attention).
"""

from experiments.study import Scale, Study, above, below

RATES = (1e-3, 3e-3, 1e-2)
STEPS = {"training.shortest": 2, "training.batch": 64, "task.longest": 20, "task.times": (1, 2)}
MIXERS = {name: {"mixer": name} for name in ("rnn", "lstm", "mingru")}
ATTENTION = {"mixer": "attention", "model.causal": False, "model.positions": "sinusoidal"}
STUDY = Study(
    question="Which architecture keeps the rule at lengths that it never saw?",
    paper="Delétang et al. 2022, Table 2 (arXiv 2207.02098)",
    fixed={"config": "formal_language", **STEPS},
    vary={
        "model": {**MIXERS, "attention": ATTENTION},
        "language": {x: {"task.language": x} for x in ("parity", "cycle")},
    },
    show="test",
    scales={
        "smoke": Scale((0, 1), changes={"training.steps": 100, "training.eval_every": 100}),
        "quick": Scale((0, 1, 2), RATES, changes={"training.steps": 2000, "training.eval_every": 500}),
        "standard": Scale(tuple(range(5)), RATES, changes={"training.steps": 20_000}),
        "full": Scale(tuple(range(10)), (1e-4, 3e-4, 5e-4), changes={
            "training.steps": 1_000_000, "training.batch": 128, "task.longest": 40, "task.times": (1, 2, 5, 12.5)}),
    },
    claims=(
        above("RNN and LSTM solve both at twice the length: 90 % or more", {"model": ("rnn", "lstm")}, 0.9,
              metric="test@2"),
        below("Attention is near chance on parity there", {"model": "attention", "language": "parity"}, 0.65,
              metric="test@2"),
        below("And below 65 % on cycles", {"model": "attention", "language": "cycle"}, 0.65,
              metric="test@2"),
    ),
)  # fmt: skip
