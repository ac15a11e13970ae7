"""Tracking a state: products so far in a group, trained on up to 64 elements and tested on 512, in one layer.

After Merrill et al. 2024 (arXiv 2404.08819), Grazzi et al. 2024 (arXiv 2411.12537) and Siems et al. 2025 (arXiv
2502.10297): a linear recurrence whose transitions have positive eigenvalues can't do parity, one with an eigenvalue of
−1 can; products of several reflections turn, and so count and permute; a nonlinear recurrence does all of it; attention
needs layers. As in these papers: uniform elements, every prefix a target, longer tests. Not as in them: one layer of
width 32 in the common skeleton, or 64 nonlinear units with nothing around them, 32 rows a step for 1,000 steps at one
learning rate, which is far from enough for groups of 60 elements, and lengths drawn evenly. Tried before: an LSTM in
the skeleton, which of S3 learned next to nothing in 1,200 steps (0.24), and alone all of it in 2,000. `whole rows` is
the share of rows of so many elements without a mistake; the score counts every element.

The groups of 24 and 60 elements are asked of few: S4 of one reflection, which can't do it in one layer, and of two,
which can, since S4 is the rotations of a cube; A5 of four, an LSTM and, for comparison, attention in one layer, which
can't; A4×Z5 of the last two. A5 is the rotations of an icosahedron, so two reflections would do: not run.
"""

from experiments.ablation.mixer_fields import mixer_fields
from experiments.ablation.study import BARE_MIXER, Scale, Study, claim_above, claim_below

NEGATIVE = {"allow_negative_eigenvalues": True}
PRODUCTS = {
    f"{n} reflection{'s' * (n > 1)}": mixer_fields("gated_delta_product", householder_steps=n, **NEGATIVE)
    for n in (1, 2, 3, 4)
}
NONLINEAR, SEVERAL = ("rnn", "lstm", "slstm"), tuple(PRODUCTS)[1:]
SIGNED = ("delta, negative", "gated delta, negative", "1 reflection")
POSITIVE = ("delta", "gated delta", "mamba2", "s6")
MODELS = {
    **{name: {**mixer_fields(name), "model.hidden_size": 64, **BARE_MIXER} for name in NONLINEAR},
    "delta": mixer_fields("delta"),
    "delta, negative": mixer_fields("delta", **NEGATIVE),
    "gated delta": mixer_fields("gated_delta"),
    "gated delta, negative": mixer_fields("gated_delta", **NEGATIVE),
    **PRODUCTS,
    **{name: mixer_fields(name) for name in ("rwkv7", "mamba2", "s6", "attention")},
}
GROUPS = {name: {"task.group": name} for name in ("z2", "z5", "s3", "s4", "a5", "a4xz5")}
ASKED = {  # of these models alone, for the time that all of them would take
    "z2": tuple(name for name in MODELS if name not in ("3 reflections", "4 reflections")),
    "z5": ("gated delta", "1 reflection", "2 reflections", "rwkv7", "mamba2", "attention"),
    "s3": ("rnn", "lstm", "1 reflection", "2 reflections", "3 reflections", "rwkv7", "attention"),
    "s4": ("1 reflection", "2 reflections"),
    "a5": ("lstm", "4 reflections", "attention"),
    "a4xz5": ("lstm", "attention"),
}
STUDY = Study(
    question="Which recurrence tracks the state of which group, far beyond the lengths that it was trained on?",
    fixed={
        "config": "word_problem",
        "model.depth": 1,
        "model.width": 32,
        "model.max_length": 67,  # as in needle and mad: hidden sizes are matched once for all of them
        "task.max_items": 64,
        "task.eval_lengths": (512,),
        "training.batch_size": 32,
        "optimizer.learning_rate": 1e-2,
    },
    grid={"model": MODELS, "group": GROUPS},
    exclude=[
        {"model": model, "group": group} for group, asked in ASKED.items() for model in MODELS if model not in asked
    ],
    measures=("whole rows",),
    plot_metric="test@512",
    scales={
        "smoke": Scale(
            seeds=(0, 1),
            overrides={
                "training.steps": 50,
                "training.eval_every": 50,
                "task.max_items": 16,
                "task.eval_lengths": (32,),
            },
            grid={"group": {name: GROUPS[name] for name in ("z2", "a5")}},
        ),
        "quick": Scale(seeds=tuple(range(5)), overrides={"training.steps": 1000, "training.eval_every": 500}),
        "full": Scale(
            seeds=tuple(range(5)),
            learning_rates=(1e-3, 3e-3),
            overrides={
                "training.steps": 20_000,
                "training.eval_every": 1000,
                "training.batch_size": 256,
                "model.width": 128,
                "task.eval_lengths": (128, 256, 512),
            },
        ),
    },
    claims=(
        claim_above(
            "Parity: every nonlinear recurrence is right at 90 % of 512 elements",
            {"model": NONLINEAR, "group": "z2"},
            0.9,
            metric="test@512",
        ),
        claim_above(
            "Parity: so is the delta rule with negative eigenvalues",
            {"model": SIGNED, "group": "z2"},
            0.9,
            metric="test@512",
        ),
        claim_below(
            "Parity: linear recurrences with positive eigenvalues are right at 65 % of 512 or fewer",
            {"model": POSITIVE, "group": "z2"},
            0.65,
            metric="test@512",
        ),
        claim_below(
            "Parity: and so is attention of one layer",
            {"model": "attention", "group": "z2"},
            0.65,
            metric="test@512",
        ),
        claim_above(
            "Counting to five: two reflections are ahead of one by 0.2 at 512 elements",
            {"model": SEVERAL, "group": "z5"},
            {"model": "1 reflection"},
            margin=0.2,
            metric="test@512",
        ),
        claim_above(
            "S3: two reflections or more are ahead of one by 0.2 at 512 elements",
            {"model": SEVERAL, "group": "s3"},
            {"model": "1 reflection"},
            margin=0.2,
            metric="test@512",
        ),
        claim_above(
            "S3: the LSTM has 90 % of rows of 64 elements right as a whole",
            {"model": "lstm", "group": "s3"},
            0.9,
            metric="whole rows@64",
        ),
        claim_below(
            "S3: attention of one layer has none of them, 1 % at most",
            {"model": "attention", "group": "s3"},
            0.01,
            metric="whole rows@64",
        ),
        claim_above(
            "S4: two reflections are ahead of one at 64 elements, by 0.1",
            {"model": "2 reflections", "group": "s4"},
            {"model": "1 reflection"},
            margin=0.1,
        ),
        claim_above(
            "A5 and A4×Z5: the LSTM is ahead of attention at 64 elements, by 0.05",
            {"model": "lstm", "group": ("a5", "a4xz5")},
            {"model": "attention"},
            margin=0.05,
        ),
    ),
)
