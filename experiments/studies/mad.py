"""MAD's tasks (Poli et al. 2024): what every mixer does on six small tasks that each ask for one thing.

As in the paper (arXiv 2403.17844): the six tasks by their definitions, two layers. Not as in the paper: rows of 16 to
48 tokens (it has 32 to 256), 63 keys to memorize (it has 127), width 32 (it has 128), 200 steps on fresh rows at one
rate (it has 200 epochs of 12,800 rows, of memorization 256, and the best of six settings), a feed-forward layer in
every block, and a map of its own for each place of compression.
"""

from experiments.ablation.study import Scale, Study, claim_above, claim_below
from models import MIXERS

TASKS = {
    "in-context recall": {"config": "in_context_recall", "task.max_length": 31},
    "noisy recall": {
        "config": "in_context_recall",
        "task.max_length": 31,
        "task.symbols": 32,
        "task.noise_symbols": 16,
        "task.noise": 0.2,
    },
    "fuzzy recall": {"config": "fuzzy_recall", "task.max_length": 48},
    "compression": {"config": "compression", "task.max_length": 16},
    "memorization": {"config": "memorization", "task.symbols": 128},
    "selective copy": {"config": "mad_selective_copy", "task.noise": 24, "task.data": 4},
}
PAPER = {  # at the sizes of the paper, baseline settings
    "in-context recall": {"config": "in_context_recall"},
    "noisy recall": {
        "config": "in_context_recall",
        "task.symbols": 32,
        "task.noise_symbols": 16,
        "task.noise": 0.2,
    },
    "fuzzy recall": {"config": "fuzzy_recall"},
    "compression": {"config": "compression"},
    "memorization": {"config": "memorization"},
    "selective copy": {"config": "mad_selective_copy"},
}
NONLINEAR = ("rnn", "lstm", "gru", "slstm")
DELTAS = ("delta", "gated_delta", "gated_delta_product", "kda", "rwkv7")
STUDY = Study(
    question="What does every mixer do on the six tasks of mechanistic architecture design?",
    fixed={
        "model.width": 32,
        "model.max_length": 67,  # one for all tasks, as in needle: hidden sizes are matched once
        "optimizer.learning_rate": 1e-2,
    },
    grid={"task": TASKS, "mixer": tuple(name for name in MIXERS if name != "irnn")},
    scales={
        "smoke": Scale(
            seeds=(0,),
            overrides={"training.steps": 20, "training.eval_every": 20, "training.steps_per_call": 20},
            grid={"mixer": ("lstm", "gla", "delta", "attention")},
        ),
        "quick": Scale(seeds=tuple(range(5)), overrides={"training.steps": 200, "training.eval_every": 100}),
        "full": Scale(
            seeds=tuple(range(5)),
            learning_rates=(5e-4, 1e-3, 3e-3),
            overrides={
                "training.steps": 20_000,
                "training.batch_size": 128,
                "model.width": 128,
                "model.max_length": 256,
            },
            grid={"task": PAPER},
        ),
    },
    registry_axis="mixer",
    claims=(
        claim_above(
            "In-context recall: attention is ahead of every nonlinear recurrence by 0.1",
            {"task": "in-context recall", "mixer": "attention"},
            {"mixer": NONLINEAR},
            margin=0.1,
        ),
        claim_above(
            "In-context recall: every matrix with the delta rule is too",
            {"task": "in-context recall", "mixer": DELTAS},
            {"mixer": NONLINEAR},
            margin=0.1,
        ),
        claim_below(
            "Noise costs the delta rule less than 0.1: noisy recall",
            {"task": "in-context recall", "mixer": ("delta", "gated_delta")},
            {"task": "noisy recall"},
            margin=-0.1,
        ),
        claim_below(
            "Keys of several tokens cost attention and the delta rule 0.1 or more: fuzzy recall",
            {"task": "fuzzy recall", "mixer": ("attention", "delta", "gated_delta")},
            {"task": "in-context recall"},
            margin=0.1,
        ),
        claim_above(
            "Compression: the GRU hands on more than attention by 0.1",
            {"task": "compression", "mixer": "gru"},
            {"mixer": "attention"},
            margin=0.1,
        ),
        claim_above(
            "Memorization needs no mixer: attention, LSTM and the delta rule get 90 %",
            {"task": "memorization", "mixer": ("attention", "lstm", "delta")},
            0.9,
        ),
        claim_below(
            "Selective copy: what does not see the input (LRU, S4D) is behind S6 by 0.1",
            {"task": "selective copy", "mixer": ("lru", "s4d")},
            {"mixer": "s6"},
            margin=0.1,
        ),
    ),
)
