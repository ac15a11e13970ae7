from experiments.ablation.study import Scale, Study, claim_above

STUDY = Study(  # of two tiny networks that are fitted to a curve
    question="?",
    fixed={
        "config": "curve", "model.width": 8, "model.depth": 1, "training.batch_size": 8, "training.eval_every": 20,
        "training.steps_per_call": 10,
    },
    grid={"model.activation": ("relu", "identity")},
    measures=("affine",),
    scales={"smoke": Scale((0, 1), (1e-3, 1e-2), (100,), {"training.steps": 20})},
    claims=(claim_above("", {"model.activation": "identity"}, 0.5),),
)  # fmt: skip
