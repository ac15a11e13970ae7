"""LSTM counts and GRU does not (Weiss, Goldberg and Yahav 2018).

As in the paper: aⁿbⁿ with n from 0 to 99, ten units (from memory), one layer, and nothing around it but embedding and
head. Not as in the paper: 32,000 strings (it has 100,000 and more), n drawn and not gone through, and a word accepted
if every token that is determined (from the first b on) is the likeliest. The rows "skeleton" are the same cells in the
common skeleton, of one block.
"""

from experiments.study import Scale, Study, above, below

RATES = (1e-3, 3e-3, 1e-2)
BARE = {"model.norm": "none", "model.residual": False, "model.final_norm": False, "model.feedforward": 0.0}
BARE |= {"model.width": 10, "model.inner": 10}
CELLS = ("lstm", "gru", "rnn", "mingru")
MODELS = {name: {"mixer": name, **BARE} for name in CELLS}
MODELS |= {f"{name}, skeleton": {"mixer": name, "model.width": 16} for name in ("lstm", "gru")}
STUDY = Study(
    question="Who counts beyond what it was shown?",
    paper="Weiss, Goldberg and Yahav 2018 (arXiv 1805.04908), and the authors' notebook",
    fixed={"config": "counting", "task.lengths": (99, 130, 200, 1000), "model.depth": 1},
    vary={"model": MODELS},
    scales={
        "smoke": Scale((0, 1), changes={"training.steps": 100, "training.eval_every": 100}),
        "quick": Scale(tuple(range(10)), RATES, (100, 101), {"training.steps": 2000, "training.batch": 16}),
        "standard": Scale(tuple(range(20)), RATES, (100, 101, 102), {"training.steps": 10_000}),
        "full": Scale(tuple(range(30)), RATES, (100, 101, 102), {"training.steps": 20_000, "training.batch": 100}),
    },
    claims=(
        above("LSTM is right at n = 99 more often than not", {"model": "lstm"}, 0.5, metric="test@99"),
        above("At n = 200 more LSTMs than GRUs are right, by 0.3 or more", {"model": "lstm"}, {"model": "gru"}, 0.3,
              metric="test@200"),
        below("Fewer than one GRU in ten is at n = 1000", {"model": "gru"}, 0.1, metric="test@1000"),
        above("More LSTMs than GRUs are, by one in ten", {"model": "lstm"}, {"model": "gru"}, 0.1, metric="test@1000"),
    ),
)  # fmt: skip
