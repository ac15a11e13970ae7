"""Choose a learning rate by validation scores, on seeds that are not reported."""

from collections.abc import Collection, Sequence

LEARNING_RATES = (1e-3, 3e-3, 1e-2, 3e-2)
RATE_TIE = 1e-3  # relative difference of two mean scores below which neither rate counts as better


def tied_rates(scores: dict[float, list[float]], metric_mode: str) -> list[float]:
    """The rates with the fewest diverged seeds (nan) that, among those, have the best mean score of the seeds that
    lived, or one within `RATE_TIE` of it. The smallest of them is the one to take.

    `scores` maps each rate to one score per seed; `metric_mode` is "max" or "min".
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
    return [rate for rate, mean in means.items() if mean >= top - RATE_TIE * abs(top)]


def next_wider_rate(ties: Sequence[float], tried: Collection[float], wider: Collection[float]) -> float | None:
    """The rate of `wider` that is nearest beyond the best one, if that is the lowest or highest of those `tried`.

    None where several rates do best (`ties`): then the best is not at the edge alone.
    """
    if len(ties) > 1:
        return None
    (best,) = ties
    if best == max(tried) and (above := [rate for rate in wider if rate > best]):
        return min(above)
    if best == min(tried) and (below := [rate for rate in wider if rate < best]):
        return max(below)
    return None


def format_learning_rate(rate: float, rates: tuple[float, ...] = LEARNING_RATES) -> str:
    """A rate, with a star where it is the smallest or largest of those on offer."""
    return f"{rate:g}" + ("*" if rate in (min(rates), max(rates)) else "")
