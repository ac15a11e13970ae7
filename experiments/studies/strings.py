"""Repeat after me (Jelassi et al. 2024): attention copies strings, a fixed state forgets them.

As in the paper: 26 letters, `$ x | x .`, whole strings counted, each letter being told those before it. Not as in the
paper: strings of 5 to 15 letters (it has up to 300), two blocks of width 64 (it has twelve of 1024), one string a row
(it packs them), an LSTM without its dropout of 0.65, no Mamba. Tried before: ten letters, which a GRU copies (0.96);
four heads, of which hard ALiBi leaves two short ones: it got 0.77 of the longest strings and none of twice the length.
"""

from experiments.ablation.study import Scale, Study, claim_above, claim_below

RATES = (1e-3, 3e-3, 1e-2)
MODELS = {
    name: {"mixer": "attention", "model.positions": kind, "model.attention.heads": 8}
    for name, kind in {"RoPE": "rope", "ALiBi": "alibi", "hard ALiBi": "hard_alibi"}.items()
}
MODELS |= {name: {"mixer": name} for name in ("lstm", "gru")}
STUDY = Study(
    question="Can a state of fixed size copy what it has read, and at lengths it never saw?",
    paper="Jelassi et al. 2024, Repeat After Me, Figs 3 and 5 (arXiv 2402.01032)",
    fixed={
        "config": "copy_string",
        "task.max_items": 15,
        "task.eval_length_multipliers": (0.5, 1, 1.5, 2),
        "training.min_length": 12,
    },
    grid={"model": MODELS},
    scales={
        "smoke": Scale(seeds=(0, 1), overrides={"training.steps": 100, "training.eval_every": 100}),
        "quick": Scale(seeds=(0, 1, 2), learning_rates=RATES, overrides={"training.steps": 4000}),
        "standard": Scale(
            seeds=tuple(range(5)),
            learning_rates=RATES,
            overrides={
                "training.steps": 30_000,
                "task.max_items": 20,
                "task.eval_length_multipliers": (0.5, 1, 1.5, 2, 4),
            },
        ),
        "full": Scale(
            seeds=tuple(range(5)),
            learning_rates=(1e-4, 3e-4, 1e-3),
            overrides={
                "training.steps": 100_000,
                "model.depth": 4,
                "model.width": 256,
                "task.max_items": 50,
                "task.eval_length_multipliers": (1, 1.5, 2, 4, 20),
            },
        ),
    },
    claims=(
        claim_above(
            "Attention with RoPE or ALiBi copies the longest strings of training: 90 % or more of them",
            {"model": ("RoPE", "ALiBi")},
            0.9,
            metric="test@1",
        ),
        claim_above(
            "In as many steps LSTM and GRU are behind by 0.3 or more",
            {"model": "RoPE"},
            {"model": ("lstm", "gru")},
            margin=0.3,
            metric="test@1",
        ),
        claim_above(
            "At twice the length hard ALiBi is ahead of RoPE and ALiBi by 0.2 or more",
            {"model": "hard ALiBi"},
            {"model": ("RoPE", "ALiBi")},
            margin=0.2,
            metric="test@2",
        ),
        claim_below("No recurrence copies there", {"model": ("lstm", "gru")}, 0.1, metric="test@2"),
    ),
)
