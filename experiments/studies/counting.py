"""LSTM counts and GRU does not (Weiss, Goldberg and Yahav 2018).

As in the paper: aⁿbⁿ with n from 0 to 99, ten units, one layer, and nothing around it but embedding and head; the
share of networks that count. Not as in the paper: n drawn and not gone through, 160,000 strings with a rate that
falls (it has ten times as many at one rate), and a word is right if every token that is determined (from the first b
on) is the likeliest; the paper accepts one whose tokens all get more than 0.005, which is laxer. All rates are shown:
every one of them gets all n below 100 right, so that these can't choose. The published n of 256 is from a note on the
paper, and of 1,000 from the authors' notebook, of one network each. Tried before: 32,000 strings, with weight decay:
no LSTM and no GRU was right at n = 200. And scores at the first step at which validation was perfect, a fifth of the
way: one LSTM in four was right at 200, and three in four at the last step.
"""

from experiments.ablation.result_design import decisive_scale
from experiments.ablation.study import BARE_MIXER, Scale, Study, claim_above

TEN = {"model.width": 10, "model.hidden_size": 10, **BARE_MIXER}
MODELS = {name: {"mixer": name, **TEN} for name in ("lstm", "gru", "mingru")}
RATES = {f"rate {rate}": {"optimizer.learning_rate": rate} for rate in (0.003, 0.01, 0.03)}
STEPS = {"training.steps": 5000, "training.batch_size": 32, "training.eval_every": 1000}
GRUS = {"model": "gru", "rate": tuple(RATES)}
STUDY = Study(
    question="Who counts beyond what it was shown?",
    paper="Weiss, Goldberg and Yahav 2018 (arXiv 1805.04908), and the authors' notebook",
    fixed={"config": "counting", "task.eval_lengths": (99, 130, 200, 256, 1000), "model.depth": 1, **STEPS},
    grid={"model": MODELS, "rate": RATES},
    exclude=[{"model": "mingru", "rate": rate} for rate in ("rate 0.003", "rate 0.03")],
    plot_metric="test@256",
    scales={
        "smoke": Scale(seeds=(0, 1), overrides={"training.steps": 100, "training.eval_every": 100}),
        "quick": decisive_scale({}, tuned=False),
        "standard": Scale(seeds=tuple(range(20)), overrides={"training.steps": 20_000}),
        "full": Scale(seeds=tuple(range(30)), overrides={"training.steps": 20_000, "training.batch_size": 100}),
    },
    claims=(
        claim_above(
            "More LSTMs at the rate 0.01 than GRUs at any are right at n = 256",
            {"model": "lstm", "rate": "rate 0.01"},
            GRUS,
            metric="test@256",
            seeds_reach=1.0,
        ),
        claim_above(
            "And at n = 1,000",
            {"model": "lstm", "rate": "rate 0.01"},
            GRUS,
            metric="test@1000",
            seeds_reach=1.0,
        ),
    ),
)
