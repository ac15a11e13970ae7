"""Choose a learning rate."""

from pathlib import Path

from experiments.ablation.record_files import read_record

LEARNING_RATES = (1e-3, 3e-3, 1e-2, 3e-2)
RATE_TIE = 1e-3  # relative difference of two mean scores below which neither rate is called better
RECORDS_DIR = Path(__file__).parents[1] / "records"


def read_recorded_rates() -> dict[str, dict[float, list[float]]]:
    """Settings → rate → validation scores, from the record in the repository."""
    found: dict[str, dict[float, list[float]]] = {}
    for line in read_record(RECORDS_DIR / "rates.csv"):
        score = float(line["validation"] or "nan")
        found.setdefault(line["settings"], {}).setdefault(float(line["learning_rate"]), []).append(score)
    return found


def choose_learning_rate(scores: dict[float, list[float]], metric_mode: str) -> float:
    """The rate with the fewest diverged seeds (nan) and, among those, the best mean score of the others.

    Means within `RATE_TIE` of the best are no evidence of a difference: of those the smallest rate is taken.
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
