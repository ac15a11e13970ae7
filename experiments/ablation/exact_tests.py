"""Exact tests of counts: shares of right answers, and seeds that are right or wrong as a whole."""

from typing import Literal

import numpy as np
from scipy import special, stats

from experiments.ablation.intervals import Alternative, Values, finite_arrays


def share_p_value(shares: Values, number: float, step: float, alternative: Alternative = "two-sided") -> float:
    """The p-value of shares of right answers, if each answer were right with probability `number`.

    The tail of a binomial distribution, or twice the smaller one (Clopper and Pearson 1934), over 1/`step` answers in
    each share. Raises ValueError for a number that is no chance and a step that is no share.
    """
    (shares,) = finite_arrays(shares)
    if not (0 <= number <= 1 and 0 < step <= 1):
        raise ValueError(f"number={number}, step={step}: must lie between 0 and 1")
    answers = len(shares) * round(1 / step)
    right = round(float(shares.mean()) * answers)
    below, above = stats.binom.cdf(right, answers, number), stats.binom.sf(right - 1, answers, number)
    return float({"greater": above, "less": below, "two-sided": min(1, 2 * min(below, above))}[alternative])


def coin_p_value(a: Values, b: Values, margin: float, alternative: Literal["greater", "less"]) -> float:
    """The p-value of two samples of zeros and ones whose chances of a one are `margin` apart.

    The exact unconditional test of the difference of shares: the largest tail over all pairs of chances that are
    `margin` apart, of outcomes that are no less extreme by their score statistic (Chan 1998, "Exact tests of
    equivalence and efficacy with a non-zero lower bound"; without a margin Barnard's test). Raises ValueError for other
    values than 0 and 1, and for a margin that no two chances have.
    """
    a, b = finite_arrays(a, b)
    if not (np.isin(a, (0, 1)).all() and np.isin(b, (0, 1)).all() and -1 <= margin <= 1):
        raise ValueError("coins are 0 or 1, and their chances at most 1 apart")
    sign = 1 if alternative == "greater" else -1
    statistics = sign * _score_statistics(len(a), len(b), margin)
    beyond = statistics >= statistics[round(float(a.sum())), round(float(b.sum()))] - 1e-9
    chances = _chances_apart(margin)[:, None]  # of b
    of_a = stats.binom.pmf(np.arange(len(a) + 1)[None], len(a), np.clip(chances + margin, 0, 1))
    of_b = stats.binom.pmf(np.arange(len(b) + 1)[None], len(b), chances)
    return float(min(1.0, np.einsum("ci,cj,ij->c", of_a, of_b, beyond).max()))


def _chances_apart(margin: float) -> np.ndarray:
    """Chances from which another one is `margin` apart."""
    return np.linspace(max(0.0, -margin), min(1.0, 1 - margin), 501)


def _score_statistics(n: int, m: int, margin: float) -> np.ndarray:
    """The score statistic [n + 1, m + 1] of each number of ones in two samples of n and m, at a difference of `margin`.

    How far the difference of shares is from the margin, in standard errors at the likeliest chances that are `margin`
    apart (Miettinen and Nurminen 1985).
    """
    ones_a, ones_b = np.arange(n + 1)[:, None, None], np.arange(m + 1)[None, :, None]
    of_b = _chances_apart(margin)
    of_a = np.clip(of_b + margin, 0, 1)
    likelihood = special.xlogy(ones_a, of_a) + special.xlogy(n - ones_a, 1 - of_a)
    likelihood = likelihood + special.xlogy(ones_b, of_b) + special.xlogy(m - ones_b, 1 - of_b)
    likeliest = likelihood.argmax(axis=-1)
    variance = (of_a * (1 - of_a) / n + of_b * (1 - of_b) / m)[likeliest]
    gap = (ones_a / n - ones_b / m)[..., 0] - margin
    gap = np.where(np.abs(gap) < 1e-12, 0.0, gap)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(gap == 0, 0.0, gap / np.sqrt(variance))
