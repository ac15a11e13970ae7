"""The Chomsky hierarchy's regular tasks (Delétang et al. 2022): recurrences generalise in length, attention does not.

As in the paper: lengths up to 20 drawn evenly, one a batch, answers read from blanks behind the string, attention that
looks both ways, tested at lengths never seen. Not as in the paper: trained to 20 and tested at 40 (it has 40 and 500),
two blocks of the common skeleton at width 64 (it has one recurrent layer of 256 units, five blocks of attention), sine
positions alone (it takes the best of five kinds). Bucket sort is no regular task: an LSTM counts its way through.
"""

from experiments.study import Scale, Study, above, below

RATES = (1e-3, 3e-3, 1e-2)
STEPS = {"training.shortest": 2, "training.batch": 64, "task.longest": 20, "task.times": (1, 2)}
MIXERS = {name: {"mixer": name} for name in ("rnn", "lstm", "mingru")}
MIXERS["attention"] = {"mixer": "attention", "model.causal": False, "model.positions": "sinusoidal"}
STUDY = Study(
    question="Which architecture keeps the rule at lengths that it never saw?",
    paper="Delétang et al. 2022, Table 2 (arXiv 2207.02098)",
    fixed={"config": "formal_language", **STEPS},
    vary={"model": MIXERS, "language": {x: {"task.language": x} for x in ("even_pairs", "parity", "cycle")}},
    show="test",
    scales={
        "smoke": Scale((0, 1), changes={"training.steps": 100, "training.eval_every": 100}),
        "quick": Scale((0, 1, 2), RATES, changes={"training.steps": 3000, "training.eval_every": 500}),
        "standard": Scale(tuple(range(5)), RATES, changes={"training.steps": 20_000}),
        "full": Scale(tuple(range(10)), (1e-4, 3e-4, 5e-4), changes={
            "training.steps": 1_000_000, "training.batch": 128, "task.longest": 40, "task.times": (1, 2, 5, 12.5)}),
    },
    claims=(
        above("RNN and LSTM are right at twice the length", {"model": ("rnn", "lstm")}, 0.9, metric="test@2"),
        below("Attention is near chance on parity there", {"model": "attention", "language": "parity"}, 0.65,
              metric="test@2"),
        below("And wrong more often than not on cycles", {"model": "attention", "language": "cycle"}, 0.65,
              metric="test@2"),
    ),
)  # fmt: skip
