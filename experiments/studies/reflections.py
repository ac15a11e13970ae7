"""Products of reflections (Siems et al. 2025, DeltaProduct): S3 in one layer needs two of them, and the negative sign.

As in the paper: products so far of permutations of three things, every prefix a target, one layer, one or two
Householder steps a token, eigenvalues in [0, 1] or in [−1, 1], tested beyond the trained length, the last step
scored. The authors say which of the four they expect to learn it: two steps with the negative sign, and no other. Not
as in the paper: up to 16 elements, tested at 64 (it has 128 and 512), width 32, the common skeleton, 2,000 steps of
64 sequences; the share of right elements, of which chance is 1/6.
"""

from experiments.ablation.mixer_fields import mixer_fields
from experiments.ablation.result_design import decisive_scale
from experiments.ablation.study import Scale, Study, claim_above


def steps(count: int, negative: bool) -> dict[str, object]:
    """The mixer with so many Householder steps a token."""
    return mixer_fields("gated_delta_product", householder_steps=count, allow_negative_eigenvalues=negative)


MODELS = {
    "1 step": steps(1, negative=False),
    "1 step, negative": steps(1, negative=True),
    "2 steps": steps(2, negative=False),
    "2 steps, negative": steps(2, negative=True),
    "LSTM": {"mixer": "lstm"},
}
OTHERS = ("1 step", "1 step, negative", "2 steps")
STUDY = Study(
    question="How many reflections a token, and of which sign, compose permutations of three things in one layer?",
    paper="Siems et al. 2025, DeltaProduct (arXiv 2502.10297) and the authors' code; Grazzi et al. 2025, Fig. 4",
    fixed={
        "config": "word_problem",
        "task.group": "s3",
        "task.max_items": 16,
        "task.eval_lengths": (64,),
        "model.depth": 1,
        "model.width": 32,
    },
    grid={"model": MODELS},
    plot_metric="test@64",
    scales={
        "smoke": Scale(seeds=(0, 1), overrides={"training.steps": 100, "training.eval_every": 100}),
        "quick": decisive_scale({"training.steps": 2000, "training.eval_every": 1000}),
        "full": Scale(
            seeds=tuple(range(3)),
            learning_rates=(3e-4, 1e-3, 3e-3),
            overrides={
                "training.steps": 50_000,
                "training.batch_size": 1024,
                "task.max_items": 128,
                "task.eval_lengths": (512,),
                "model.width": 128,
            },
        ),
    },
    claims=(
        claim_above(
            "Two steps with the negative sign are ahead of each of the others at the trained length, by 0.2 or more",
            {"model": "2 steps, negative"},
            {"model": OTHERS},
            margin=0.2,
        ),
        claim_above(
            "And at four times the length, by 0.1",
            {"model": "2 steps, negative"},
            {"model": OTHERS},
            margin=0.1,
            metric="test@64",
        ),
    ),
)
