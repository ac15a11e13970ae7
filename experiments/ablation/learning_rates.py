"""Choose a learning rate by validation scores, on seeds that are not reported."""

from collections.abc import Collection

LEARNING_RATES = (1e-3, 3e-3, 1e-2, 3e-2)
RATE_TIE = 1e-3  # relative difference of two mean scores below which neither rate counts as better


def choose_learning_rate(scores: dict[float, list[float]], metric_mode: str) -> float:
    """The rate with the fewest diverged seeds (nan) and, among those, the best mean score of the seeds that lived.

    `scores` maps each rate to one score per seed; `metric_mode` is "max" or "min". Means within `RATE_TIE` of the best
    count as ties: of those the smallest rate is taken.
    """
    sign = 1 if metric_mode == "max" else -1
    alive = {rate: [value for value in values if value == value] for rate, values in scores.items()}
    fewest = min(len(scores[rate]) - len(alive[rate]) for rate in scores)
    means = {
        rate: sign * sum(values) / max(len(values), 1)
        for rate, values in alive.items()
        if len(scores[rate]) - len(values) == fewest
    }
    top = max(means.values())
    return min(rate for rate, mean in means.items() if mean >= top - RATE_TIE * abs(top))


def next_wider_rate(best: float, tried: Collection[float], wider: Collection[float]) -> float | None:
    """The rate of `wider` that is nearest beyond the best one, if that is the lowest or highest of those `tried`."""
    if best == max(tried) and (above := [rate for rate in wider if rate > best]):
        return min(above)
    if best == min(tried) and (below := [rate for rate in wider if rate < best]):
        return max(below)
    return None


def format_learning_rate(rate: float, rates: tuple[float, ...] = LEARNING_RATES) -> str:
    """A rate, with a star where it is the smallest or largest of those on offer."""
    return f"{rate:g}" + ("*" if rate in (min(rates), max(rates)) else "")
