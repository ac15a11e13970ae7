"""No long memory (Bai, Kolter and Koltun 2018): recurrences lose what a convolution and attention keep.

As in the paper: the adding problem and copy memory to its definitions. Not as in the paper: T = 100 for adding (it has
600) and a silence of 60 (it has 1000), 1,500 steps (it has 7,000 and 3,000), the common skeleton, and a convolution of
two blocks with eight layers of three taps (it has eight levels of 7 or 8). Rows for attention are ours. `reach`
is the share of the gradient of the last output that comes from so many steps back (Bengio et al. 1994, Pascanu et al.
2013). The LSTM's failure at adding is one of time, and is said in other papers to end with more of it.
"""

from experiments.ablation.study import Scale, Study, claim_above, claim_below

RATES = (1e-3, 3e-3, 1e-2)
TASKS = {"adding": {"config": "adding", "task.max_length": 100}, "copy": {"config": "copy_memory", "task.delay": 60}}
RECURRENT = ("rnn", "lstm", "gru")
MIXERS = {**{name: {"mixer": name} for name in RECURRENT}, "tcn": {"mixer": "tcn", "model.tcn.layers": 8}}
STUDY = Study(
    question="Who remembers ten symbols through a silence, and two numbers among a hundred?",
    paper="Bai, Kolter and Koltun 2018, Table 1 and Fig. 4 (arXiv 1803.01271)",
    fixed={},
    grid={"task": TASKS, "mixer": {**MIXERS, "attention": {"mixer": "attention"}}},
    measures=("reach",),
    plot_metric="test",
    scales={
        "smoke": Scale(seeds=(0, 1), overrides={"training.steps": 100, "training.eval_every": 100}),
        "quick": Scale(seeds=(0, 1, 2), learning_rates=RATES, overrides={"training.steps": 1500}),
        "standard": Scale(seeds=tuple(range(5)), learning_rates=RATES, overrides={"training.steps": 7000}),
        "full": Scale(
            seeds=tuple(range(5)),
            learning_rates=RATES,
            overrides={"training.steps": 7000},
            grid={
                "task": {
                    "adding": {"config": "adding", "task.max_length": 600},
                    "copy": {"config": "copy_memory", "task.delay": 1000},
                }
            },
        ),
    },
    claims=(
        claim_above(
            "Convolution and attention keep the ten symbols", {"task": "copy", "mixer": ("tcn", "attention")}, 0.95
        ),
        claim_below("RNN, LSTM and GRU keep less than a quarter of them", {"task": "copy", "mixer": RECURRENT}, 0.25),
        claim_below(
            "Convolution, attention and GRU learn to add",
            {"task": "adding", "mixer": ("tcn", "attention", "gru")},
            0.01,
        ),
        claim_above("The RNN does not", {"task": "adding", "mixer": "rnn"}, 0.1),
    ),
)
