"""The Chomsky hierarchy's regular tasks (Delétang et al. 2022): recurrences generalise in length, attention does not.

As in the paper: lengths drawn evenly, one a batch, answers read from blanks behind the string, one recurrent layer with
nothing around it, attention that looks both ways, tested at lengths never seen. Not as in the paper: two of its
languages, trained to 20 symbols and tested at 40 (it has 40, and the mean over 41 to 500), a mean over seeds (it has
the best of ten, three rates and five kinds of positions), 67,000 parameters each (it has 256 units, five blocks of
attention). Tried before: recurrences in the common skeleton (a row here), whose LSTM at 40 symbols got 0.60 of the
cycles after 2,000 steps, 0.69 to 0.86 after 6,000, and 0.68 of the parities, one seed of three being at chance.
"""

from experiments.ablation.study import BARE_MIXER, Scale, Study, claim_above, claim_below

RATES = (1e-3, 3e-3, 1e-2)
STEPS = {
    "training.min_length": 2,
    "training.batch_size": 64,
    "task.max_items": 20,
    "task.eval_length_multipliers": (1, 2),
}
MODELS = {
    x: {"mixer": x, "model.hidden_size": n, "model.depth": 1, **BARE_MIXER} for x, n in (("rnn", 200), ("lstm", 96))
}
MODELS |= {"lstm, skeleton": {"mixer": "lstm"}}
MODELS |= {"attention": {"mixer": "attention", "model.causal": False, "model.positions": "sinusoidal"}}
STUDY = Study(
    question="Which architecture keeps the rule at lengths that it never saw?",
    paper="Delétang et al. 2022, Table 2 (arXiv 2207.02098)",
    fixed={"config": "formal_language", **STEPS},
    grid={"model": MODELS, "language": {x: {"task.language": x} for x in ("parity", "cycle")}},
    scales={
        "smoke": Scale(seeds=(0, 1), overrides={"training.steps": 100, "training.eval_every": 100}),
        "quick": Scale(
            seeds=(0, 1, 2), learning_rates=RATES, overrides={"training.steps": 2500, "training.eval_every": 500}
        ),
        "standard": Scale(seeds=tuple(range(5)), learning_rates=RATES, overrides={"training.steps": 20_000}),
        "full": Scale(
            seeds=tuple(range(10)),
            learning_rates=(1e-4, 3e-4, 5e-4),
            overrides={
                "training.steps": 1_000_000,
                "training.batch_size": 128,
                "task.max_items": 40,
                "task.eval_length_multipliers": (1, 2, 5, 12.5),
            },
        ),
    },
    claims=(
        claim_above(
            "RNN and LSTM solve both at twice the length: 90 % or more",
            {"model": ("rnn", "lstm")},
            0.9,
            metric="test@2",
        ),
        claim_below(
            "Attention is near chance on parity there",
            {"model": "attention", "language": "parity"},
            0.65,
            metric="test@2",
        ),
        claim_below("And below 65 % on cycles", {"model": "attention", "language": "cycle"}, 0.65, metric="test@2"),
    ),
)
