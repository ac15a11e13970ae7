"""Products of reflections (Siems et al. 2025, DeltaProduct): S3 in one layer needs two of them, and the negative sign.

As in the paper: products so far of permutations of three things, every prefix a target, one layer of DeltaProduct,
one or two Householder steps a token, eigenvalues in [0, 1] or in [−1, 1], tested beyond the trained length, the last
step scored. The authors say which of the four they expect to learn it: two steps with the negative sign, and no
other. Not as in the paper: up to 8 elements, tested at 32 (it has 128 and 512), width 32, the common skeleton, 4,000
steps of 64 sequences, no short convolution; the share of right elements, of which chance is 1/6. The row for the LSTM
is ours. Tried before: with gates and a convolution, 1,000 steps, of which one network had got half of the elements
right; and a gap of 0.2 at the trained length, of which the seeds that choose the rates have 0.16 to one step with the
negative sign (8 elements are few enough for it).
"""

from experiments.ablation.mixer_fields import mixer_fields
from experiments.ablation.result_design import RATES, SCORED_LAST, decisive_scale
from experiments.ablation.study import Overrides, Scale, Study, claim_above


def delta_product(steps: int, *, negative: bool) -> Overrides:
    """DeltaProduct with so many Householder steps a token."""
    return mixer_fields(
        "gated_delta_product",
        householder_steps=steps,
        allow_negative_eigenvalues=negative,
        forget_gate=False,
        output_gate=False,
        kernel=0,
    )


MODELS = {
    "1 step": delta_product(1, negative=False),
    "1 step, negative": delta_product(1, negative=True),
    "2 steps": delta_product(2, negative=False),
    "2 steps, negative": delta_product(2, negative=True),
    "LSTM": {"mixer": "lstm"},
}
OTHERS = ("1 step", "1 step, negative", "2 steps")
STUDY = Study(
    question="How many reflections a token, and of which sign, compose permutations of three things in one layer?",
    paper="Siems et al. 2025, DeltaProduct (arXiv 2502.10297) and its code; Grazzi et al. 2025 (arXiv 2411.12537)",
    fixed={
        "config": "word_problem",
        "task.group": "s3",
        "task.max_items": 8,
        "task.eval_lengths": (32,),
        "training.min_length": 2,
        "model.depth": 1,
        "model.width": 32,
    },
    grid={"model": MODELS},
    scales={
        "smoke": Scale(seeds=(0, 1), overrides={"training.steps": 100, "training.eval_every": 100}),
        "quick": decisive_scale({"training.steps": 4000, "training.eval_every": 1000}),
        "standard": Scale(
            seeds=tuple(range(5)), learning_rates=RATES, overrides={**SCORED_LAST, "training.steps": 20_000}
        ),
        "full": Scale(
            seeds=tuple(range(3)),
            learning_rates=(3e-4, 1e-3, 3e-3),
            overrides={
                **SCORED_LAST,
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
            "Two steps with the negative sign learn it: 99 % or more at the trained length",
            {"model": "2 steps, negative"},
            0.99,
        ),
        claim_above(
            "They are ahead of each of the others there, by 0.05 or more",
            {"model": "2 steps, negative"},
            {"model": OTHERS},
            margin=0.05,
        ),
        claim_above(
            "And at four times the length, by 0.1",
            {"model": "2 steps, negative"},
            {"model": OTHERS},
            margin=0.1,
            metric="test@32",
        ),
    ),
)
