"""Recurrence is slow because it is sequential (Feng et al. 2024; Katharopoulos et al. 2020; Vaswani et al. 2017).

Times of one block, batch 8, on the machine at hand, whose number of cores decides the most: the papers' ratios are of a
GPU, and of an eager loop over the GRU's steps. What carries over is who is faster and how cost grows, not the ratio. A
"seed" is a timing of its own. Tried before: lengths of 64 to 512, where the products of a layer hide what attention's
square costs, and a cache of up to 2,048 tokens, which what a call costs anyway hides; and the claim that minGRU's time
grows more slowly than the GRU's, which two cores do not show: they gain nothing from a shorter chain. Newton's method
over all steps (DEER) has a record of its own, experiments/records/newton.csv.
"""

from experiments.ablation.study import Scale, Study, claim_above, claim_below, claim_near

STUDY = Study(
    question="What does a step of training, and one more token, cost as the sequence grows?",
    paper="Feng et al. 2024, Fig. 1 (arXiv 2410.01201); Katharopoulos et al. 2020, Table 1 (arXiv 2006.16236)",
    fixed={"config": "recall", "model.width": 64},
    grid={"mixer": ("gru", "mingru", "linear", "attention")},
    trained=False,
    measures=("long step time", "step depth", "long stream time"),
    plot_metric="long step time",
    scales={
        "smoke": Scale(seeds=(0,)),
        "quick": Scale(seeds=(0, 1, 2)),
        "standard": Scale(seeds=tuple(range(5))),
        "full": Scale(seeds=tuple(range(5))),
    },
    claims=(
        claim_below(
            "A step of minGRU takes less time than GRU's, at 512 and at 2,048 tokens",
            {"mixer": "mingru"},
            {"mixer": "gru"},
            metric="long step time@512",
            also=(claim_below("at 2,048", {"mixer": "mingru"}, {"mixer": "gru"}, metric="long step time@2048"),),
        ),
        claim_below(
            "Its longest chain of operations grows more slowly than GRU's, by 0.5 in the exponent or more",
            {"mixer": "mingru"},
            {"mixer": "gru"},
            margin=0.5,
            metric="slope of step depth",
        ),
        claim_above(
            "Attention's time per step grows faster than the GRU's, by 0.1 in the exponent or more",
            {"mixer": "attention"},
            {"mixer": "gru"},
            margin=0.1,
            metric="slope of long step time",
        ),
        claim_near(
            "One more token of linear attention costs the same behind any number",
            {"mixer": "linear"},
            0,
            within=0.15,
            metric="slope of long stream time",
        ),
        claim_above(
            "One of softmax attention, with a cache, costs the more the more there were: an exponent of 0.3 or more",
            {"mixer": "attention"},
            0.3,
            metric="slope of long stream time",
        ),
    ),
)
