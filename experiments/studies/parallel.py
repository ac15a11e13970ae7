"""Recurrence is slow because it is sequential (Feng et al. 2024; Katharopoulos et al. 2020; Vaswani et al. 2017).

Times of one block, batch 8, on the machine at hand, whose number of cores decides the most: the papers' ratios are of a
GPU. The claim that carries over is the slope, not the ratio. The first claim said "half of the time" before the run,
which is more than its inequality asks for; its words were mended after it. The last claim fails as far as 2,048 tokens
go, where what a call costs anyway hides the cache: behind 16 tokens one takes 78 µs and behind 16,384 one takes 941
(docs/benchmark.md). Newton's method over all steps (DEER) has a record of its own, experiments/records/newton.csv.
"""

from experiments.ablation.study import Scale, Study, claim_above, claim_below, claim_near

STUDY = Study(
    question="What does a step of training, and one more token, cost as the sequence grows?",
    paper="Feng et al. 2024, Fig. 1 (arXiv 2410.01201); Katharopoulos et al. 2020, Table 1 (arXiv 2006.16236)",
    fixed={"config": "recall", "model.width": 64},
    grid={"mixer": ("gru", "mingru", "linear", "attention")},
    trained=False,
    measures=("step time", "step depth", "stream time"),
    plot_metric="step time",
    scales={
        "smoke": Scale(seeds=(0,)),
        "quick": Scale(seeds=(0, 1, 2)),
        "standard": Scale(seeds=tuple(range(5))),
        "full": Scale(seeds=tuple(range(5))),
    },
    claims=(
        claim_below(
            "A step of minGRU takes less time than GRU's at 512 tokens",
            {"mixer": "mingru"},
            {"mixer": "gru"},
            metric="step time@512",
        ),
        claim_below(
            "Its time grows more slowly with the length than GRU's",
            {"mixer": "mingru"},
            {"mixer": "gru"},
            margin=0.1,
            metric="slope of step time",
        ),
        claim_below(
            "Its longest chain of operations grows more slowly than GRU's, by 0.5 in the exponent or more",
            {"mixer": "mingru"},
            {"mixer": "gru"},
            margin=0.5,
            metric="slope of step depth",
        ),
        claim_above(
            "Attention's time per step grows faster than the GRU's",
            {"mixer": "attention"},
            {"mixer": "gru"},
            margin=0.1,
            metric="slope of step time",
        ),
        claim_near(
            "One more token of linear attention costs the same behind any number",
            {"mixer": "linear"},
            0,
            within=0.15,
            metric="slope of stream time",
        ),
        claim_above(
            "One of softmax attention, with a cache, costs the more the more there were",
            {"mixer": "attention"},
            0.15,
            metric="slope of stream time",
        ),
    ),
)
