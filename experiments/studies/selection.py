"""Selective copying (Gu and Dao 2023, Feng et al. 2024): a recurrence must choose what it writes.

As in the paper: data tokens at random places among blanks, 14 of them usable, two layers of width 64, then one to
three of minGRU. Not as in the paper: 64 blanks and 8 tokens (it has 4,096 and 16), 1,500 steps (it has 400,000), the
common skeleton with feed-forward layers in place of the papers' own blocks, fewer states a feature (S4D 2, S6 4; they
cost time). S6 is Mamba's whole block, with its gate and convolution. Our S4D has a gate behind its recurrence, so its
counterparts are the paper's H3 and Mamba block of S4 (57.0 and 56.4 %), and not its S4 without a gate. A gap is
claimed and no level: with more steps or fewer blanks S4D gets further (0.80 with 40 blanks and 6 tokens).
"""

from experiments.ablation.result_design import decisive_scale
from experiments.ablation.study import Scale, Study, claim_above

MODELS = {
    "s4d, 2 layers": {"mixer": "s4d", "model.s4d.state_size": 2},
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
        "quick": decisive_scale({"training.steps": 1500, "training.eval_every": 500}),
        "standard": Scale(
            seeds=tuple(range(5)), learning_rates=(1e-3, 3e-3, 1e-2), overrides={"training.steps": 30_000}
        ),
        "full": Scale(
            seeds=tuple(range(5)),
            learning_rates=(1e-4, 1e-3),
            overrides={
                "training.steps": 400_000,
                "training.batch_size": 64,
                "task.noise": 4096,
                "task.data": 16,
            },
        ),
    },
    claims=(
        claim_above(
            "S6, which sees the input, is ahead of S4D, which does not, by 0.1 or more",
            {"model": "s6, 2 layers"},
            {"model": "s4d, 2 layers"},
            margin=0.1,
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
