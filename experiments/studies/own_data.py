"""RNN against attention on data of yours: --config=configs/text.py --config.task.path=notes.txt names them.

Four mixers in one skeleton, at equal parameters and in equal steps, each at the learning rate that does best on seeds
that are not reported. configs/labelled.py, pairs.py and series.py are for other kinds of files. Nothing is claimed of
data that nobody has seen.
"""

from experiments.ablation.study import Scale, Study

STUDY = Study(
    question="At equal parameters and in equal steps, which mixer learns these data best?",
    fixed={"config": "shakespeare"},  # as long as nobody has named other data
    needs_data=True,
    grid={"mixer": ("attention", "lstm", "gru", "mingru")},
    scales={
        "smoke": Scale(
            seeds=(0, 1),
            overrides={"training.steps": 100, "training.eval_every": 50, "optimizer.warmup_steps": 20},
        ),
        "quick": Scale(
            seeds=(0, 1, 2),
            learning_rates=(1e-3, 3e-3, 1e-2),
            overrides={"training.steps": 600, "training.eval_every": 100},
        ),
        "full": Scale(
            seeds=tuple(range(5)),
            learning_rates=(3e-4, 1e-3, 3e-3, 1e-2),
            tuning_seeds=(100, 101),
            overrides={"training.steps": 5000, "training.eval_every": 500},
        ),
    },
    claims=(),
)
