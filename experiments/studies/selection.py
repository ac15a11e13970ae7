"""Selective copying (Gu and Dao 2023, Feng et al. 2024): a recurrence must choose what it writes.

As in the paper: data tokens at random places among blanks, 14 of them usable, two layers of width 64, then one to
three of minGRU. Not as in the paper: 64 blanks and 8 tokens (it has 4,096 and 16), 1,500 steps (it has 400,000), the
common skeleton with feed-forward layers in place of the papers' own blocks, fewer states a feature (S4D 2, S6 4; they
cost time). S6 is Mamba's whole block, with its gate and convolution, and S4D has a gate behind its recurrence. Tried
before: 40 blanks and 6 tokens, of which S4D gets 0.80 right, one layer of minGRU 0.61 and three of them all.
"""

from experiments.ablation.study import Scale, Study, claim_above, claim_below

RATES = (1e-3, 3e-3, 1e-2)
MODELS = {
    "s4d, 2 layers": {"mixer": "s4d", "model.s4d.state_size": 2},
    "lru, 2 layers": {"mixer": "lru"},
    "s6, 2 layers": {"mixer": "s6", "model.s6.state_size": 4},
    **{f"mingru, {n} layer{'s' * (n > 1)}": {"mixer": "mingru", "model.depth": n} for n in (1, 2, 3)},
}
STUDY = Study(
    question="Must a recurrence's gates see what they let in, and in how many layers?",
    paper="Gu and Dao 2023, Mamba, Table 1 (arXiv 2312.00752); Feng et al. 2024, Tables 1 and 2 (arXiv 2410.01201)",
    fixed={"config": "selective_copy"},
    grid={"model": MODELS},
    scales={
        "smoke": Scale(seeds=(0, 1), overrides={"training.steps": 100, "training.eval_every": 100}),
        "quick": Scale(seeds=(0, 1, 2), learning_rates=RATES, overrides={"training.steps": 1500}),
        "standard": Scale(seeds=tuple(range(5)), learning_rates=RATES, overrides={"training.steps": 30_000}),
        "full": Scale(
            seeds=tuple(range(5)),
            learning_rates=(1e-4, 1e-3),
            overrides={"training.steps": 400_000, "training.batch_size": 64, "task.noise": 4096, "task.data": 16},
        ),
    },
    claims=(
        claim_below(
            "Of a recurrence that does not see the input (S4D, LRU) less than 70 % comes out",
            {"model": ("s4d, 2 layers", "lru, 2 layers")},
            0.7,
        ),
        claim_above(
            "S6 is ahead of S4D by 0.2 or more", {"model": "s6, 2 layers"}, {"model": "s4d, 2 layers"}, margin=0.2
        ),
        claim_above(
            "Three layers of minGRU are ahead of one by 0.2 or more",
            {"model": "mingru, 3 layers"},
            {"model": "mingru, 1 layer"},
            margin=0.2,
        ),
        claim_above("And get 90 % or more", {"model": "mingru, 3 layers"}, 0.9),
    ),
)
