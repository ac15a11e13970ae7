"""Before or behind (Jelassi et al. 2024, Repeat After Me): a fixed state looks up what it knew that it would be asked.

As in the paper: a string of letters and a key in it, and what follows the key is to be told; the key stands before
the string or behind it; strings longer than in training; whole answers counted, each letter being told those before
it, the last step scored. Not as in the paper: a key of one letter and an answer of two (its sizes are not on record),
strings of up to 12 letters tested at 24 (it has 30 and 100), two blocks of width 64 (it has twelve of 768), no Mamba,
one string a row. Tried before: keys of two letters, of which one GRU had got 0.14 after 3,000 steps; of one letter,
0.998 with the key first and 0.04 with the key last.
"""

from experiments.ablation.result_design import RATES, SCORED_LAST, decisive_scale
from experiments.ablation.study import Scale, Study, claim_above

RECURRENT = ("gru", "lstm")
MODELS = {
    **{name: {"mixer": name} for name in RECURRENT},
    "ALiBi": {"mixer": "attention", "model.positions": "alibi", "model.attention.heads": 8},
}
STUDY = Study(
    question="Does it matter whether the question stands before the text or behind it?",
    paper="Jelassi et al. 2024, Repeat After Me, §3 (arXiv 2402.01032)",
    fixed={
        "config": "key_lookup",
        "task.key_length": 1,
        "task.max_items": 12,
        "training.min_length": 9,
    },
    grid={"model": MODELS, "key": {"first": {}, "last": {"task.key_first": False}}},
    plot_metric="test@2",
    scales={
        "smoke": Scale(seeds=(0, 1), overrides={"training.steps": 100, "training.eval_every": 100}),
        "quick": decisive_scale({"training.steps": 3000, "training.eval_every": 1000}),
        "standard": Scale(
            seeds=tuple(range(5)), learning_rates=RATES, overrides={**SCORED_LAST, "training.steps": 20_000}
        ),
        "full": Scale(
            seeds=tuple(range(5)),
            learning_rates=(1e-4, 3e-4, 1e-3),
            overrides={
                **SCORED_LAST,
                "training.steps": 100_000,
                "training.batch_size": 64,
                "task.max_items": 30,
                "training.min_length": 16,
                "task.key_length": 3,
                "task.answer_length": 4,
                "task.eval_length_multipliers": (1, 2, 3),
                "model.width": 512,
                "model.depth": 4,
            },
        ),
    },
    claims=(
        claim_above(
            "With the key first GRU and LSTM tell nine of ten answers at the trained length",
            {"model": RECURRENT, "key": "first"},
            0.9,
            metric="test@1",
        ),
        claim_above(
            "With the key last they tell fewer than with the key first, by 0.3 or more",
            {"model": RECURRENT, "key": "first"},
            {"key": "last"},
            margin=0.3,
            metric="test@1",
        ),
        claim_above(
            "With the key last attention is ahead of both, by 0.3 or more",
            {"model": "ALiBi", "key": "last"},
            {"model": RECURRENT},
            margin=0.3,
            metric="test@1",
        ),
        claim_above(
            "With the key first both are ahead of attention with ALiBi at twice the length, by 0.1 or more",
            {"model": RECURRENT, "key": "first"},
            {"model": "ALiBi"},
            margin=0.1,
            metric="test@2",
        ),
    ),
)
