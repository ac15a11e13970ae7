"""LSTM counts and GRU does not (Weiss, Goldberg and Yahav 2018).

As in the paper: aⁿbⁿ with n from 0 to 99, ten units (from memory), one layer, and nothing around it but embedding and
head. Not as in the paper: n drawn and not gone through, 160,000 strings, and a word accepted if every token that is
determined (from the first b on) is the likeliest. All rates are shown: every one of them gets all n below 100 right,
so that these can't choose. The rows "skeleton" are the same cells in the common skeleton, of one block.
Tried before: 32,000 strings, with weight decay: no LSTM and no GRU was right at n = 200.
"""

from experiments.ablation.study import BARE_MIXER, Scale, Study, claim_above, claim_below

TEN = {"model.width": 10, "model.hidden_size": 10, **BARE_MIXER}
MODELS = {name: {"mixer": name, **TEN} for name in ("lstm", "gru", "mingru")}
MODELS |= {f"{name}, skeleton": {"mixer": name, "model.width": 16} for name in ("lstm", "gru")}
RATES = {f"rate {rate}": {"optimizer.learning_rate": rate} for rate in (0.003, 0.01, 0.03)}
STEPS = {"training.steps": 5000, "training.batch_size": 32, "training.eval_every": 1000}
STUDY = Study(
    question="Who counts beyond what it was shown?",
    paper="Weiss, Goldberg and Yahav 2018 (arXiv 1805.04908), and the authors' notebook",
    fixed={"config": "counting", "task.eval_lengths": (99, 130, 200, 1000), "model.depth": 1, **STEPS},
    grid={"model": MODELS, "rate": RATES},
    exclude=[
        {"model": name, "rate": rate}
        for name in MODELS
        if name not in ("lstm", "gru")
        for rate in ("rate 0.003", "rate 0.03")
    ],
    plot_metric="test@130",
    scales={
        "smoke": Scale(seeds=(0, 1), overrides={"training.steps": 100, "training.eval_every": 100}),
        "quick": Scale(seeds=tuple(range(10))),
        "standard": Scale(seeds=tuple(range(20)), overrides={"training.steps": 20_000}),
        "full": Scale(seeds=tuple(range(30)), overrides={"training.steps": 20_000, "training.batch_size": 100}),
    },
    claims=(
        claim_above("LSTM is right at n = 99 more often than not", {"model": "lstm"}, 0.5, metric="test@99"),
        claim_above(
            "At n = 130 more LSTMs with the rate 0.01 are right than GRUs with any, by 0.3 or more",
            {"model": "lstm", "rate": "rate 0.01"},
            {"model": "gru", "rate": tuple(RATES)},
            margin=0.3,
            metric="test@130",
        ),
        claim_below("Fewer than one GRU in ten is at n = 200", {"model": "gru"}, 0.1, metric="test@200"),
        claim_above(
            "At n = 200 one LSTM in ten or more",
            {"model": "lstm", "rate": "rate 0.01"},
            0.0,
            margin=0.1,
            metric="test@200",
        ),
    ),
)
