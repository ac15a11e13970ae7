"""How sure a handful of seeds makes us: means, differences and exponents with their 95 % intervals.

Below ten values the interval is Student's t (Welch's, or paired, for a difference), which keeps its coverage at three
seeds: over normal values a bootstrap covers 75 % there and 83 % at five. From ten values on it is scipy's bootstrap
(BCa: Efron 1987, "Better bootstrap confidence intervals"), which asks for no normal distribution; over ten normal
values it still covers only about 90 %, so read it as slightly too narrow. Values lie in plain one-dimensional
sequences, one per seed, in the unit of the metric.
"""

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

ENOUGH = 10  # values from which the bootstrap is used
RESAMPLES = 9999
ANYTHING = (-math.inf, math.inf)

Values = Sequence[float] | np.ndarray


class Interval(NamedTuple):
    """A mean with `low ≤ mean ≤ high` in the unit of the values; `low` and `high` are nan where nothing is known.

    `n` is the number of values behind it (the smaller sample's for a difference), `method` says how it was made.
    """

    mean: float
    low: float
    high: float
    n: int
    method: str


def interval(values: Values, *, level: float = 0.95, bounds: tuple[float, float] = ANYTHING, seed: int = 0) -> Interval:
    """The mean of `values` and an interval that holds the true mean in a share `level` of repetitions.

    The interval is clipped to `bounds`, the range of the metric; `seed` is that of the bootstrap. Raises ValueError
    for no values and for values that are not finite: what a diverged seed counts as is the caller's decision.
    """
    (values,) = _finite(values)
    mean, n = float(values.mean()), len(values)
    if n == 1:
        return Interval(mean, math.nan, math.nan, n, "one seed")
    if _identical(values):
        return Interval(mean, mean, mean, n, "no spread seen")
    if n < ENOUGH:
        found, method = stats.ttest_1samp(values, 0.0).confidence_interval(level), "Student's t"
    else:
        found, method = _bootstrap((values,), np.mean, level, seed)
    return _clipped(mean, found, n, method, bounds)


def difference(
    a: Values,
    b: Values,
    *,
    paired: bool,
    level: float = 0.95,
    bounds: tuple[float, float] = ANYTHING,
    seed: int = 0,
    bootstrapped: bool = True,
) -> Interval:
    """mean(a) − mean(b) with its interval, as `interval` makes it, or by t however many values there are.

    `paired`: a[i] and b[i] share a seed (same data, same order), and the spread is that of a[i] − b[i]; otherwise
    Welch's t, which lets the variances differ. Raises ValueError as `interval` does, and for pairs that do not match.
    """
    a, b = _finite(a, b)
    if paired and len(a) != len(b):
        raise ValueError(f"paired values must come in pairs: {len(a)} against {len(b)}")
    mean, n = float(a.mean() - b.mean()), min(len(a), len(b))
    if n == 1:
        return Interval(mean, math.nan, math.nan, n, "one seed")
    same = _identical(a - b, scale=max(np.abs(a).max(), np.abs(b).max())) if paired else _identical(a) and _identical(b)
    if same:
        return Interval(mean, mean, mean, n, "no spread seen")
    if n >= ENOUGH and bootstrapped:
        samples = (a - b,) if paired else (a, b)
        found, method = _bootstrap(samples, np.mean if paired else _gap, level, seed)
    elif paired:
        found, method = stats.ttest_1samp(a - b, 0.0).confidence_interval(level), "paired t"
    else:
        with warnings.catch_warnings():  # one sample may be constant (accuracy 1 on every seed): Welch's t allows that
            warnings.simplefilter("ignore", RuntimeWarning)
            found = stats.ttest_ind(a, b, equal_var=False).confidence_interval(level)
        method = "Welch's t"
    return _clipped(mean, found, n, method, bounds)


def p_value(a: Values, b: Values | float, *, paired: bool = False) -> float:
    """How often a difference this large comes about where there is none, on either side.

    Of a sample against a number or of pairs Student's t, of two samples Welch's, which ask for normal values; with one
    value, nan. Values without any spread differ for certain (0) or not at all (1).
    """
    a, b = _finite(a, [b] if isinstance(b, int | float) else b)
    alone = len(b) == 1 and len(a) > 1 and not paired
    if paired and len(a) != len(b):
        raise ValueError(f"paired values must come in pairs: {len(a)} against {len(b)}")
    if min(len(a), 2 if alone else len(b)) < 2:
        return math.nan
    gaps = a - b if paired or alone else None
    scale = max(np.abs(a).max(), np.abs(b).max())
    if _identical(gaps, scale) if gaps is not None else _identical(a) and _identical(b):
        return float(abs(a.mean() - b.mean()) <= 1e-12 * scale)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        result: Any = stats.ttest_1samp(gaps, 0.0) if gaps is not None else stats.ttest_ind(a, b, equal_var=False)
    return float(result.pvalue)


def holm(p_values: Values) -> list[float]:
    """The same p-values, each made so much larger that below 5 % of studies call anything different that is not,
    however many questions they ask (Holm 1979). nan stays, and counts as a question."""
    p = np.nan_to_num(np.asarray(p_values, float), nan=1.0)
    order = np.argsort(p)
    raised = np.empty(len(p))
    raised[order] = np.minimum(1, np.maximum.accumulate(p[order] * (len(p) - np.arange(len(p)))))
    return [float(r) if given == given else math.nan for r, given in zip(raised, p_values, strict=True)]


def effect(a: Values, b: Values) -> float:
    """Hedges' g (1981): the difference of means in pooled standard deviations, without the bias of few values.

    Infinite where there is no spread to measure it by, nan with fewer than two values on a side.
    """
    a, b = _finite(a, b)
    if min(len(a), len(b)) < 2:
        return math.nan
    freedom = len(a) + len(b) - 2
    spread = math.sqrt(((len(a) - 1) * a.var(ddof=1) + (len(b) - 1) * b.var(ddof=1)) / freedom)
    gap = float(a.mean() - b.mean())
    if spread <= 1e-12 * max(np.abs(a).max(), np.abs(b).max()):
        return math.copysign(math.inf, gap) if gap else 0.0
    return gap / spread * (1 - 3 / (4 * freedom - 1))


def seeds_needed(spread: float, margin: float, *, level: float = 0.95, power: float = 0.8, most: int = 10_000) -> int:
    """How many pairs of seeds tell means `margin` apart, of differences with standard deviation `spread`, `power` of
    the time.

    From the noncentral t of a paired test; `most` where even those would not do. Raises ValueError for a margin or a
    spread that is no positive number.
    """
    if not (0 < margin < math.inf and 0 < spread < math.inf):
        raise ValueError(f"margin={margin}, spread={spread}: must be positive numbers")

    def found(n: int) -> float:
        beyond = stats.t.ppf((1 + level) / 2, n - 1)
        return float(stats.nct.sf(beyond, n - 1, margin / spread * math.sqrt(n)))

    low, high = 2, most  # powers grow with n: halve
    if found(high) < power:
        return most
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if found(middle) >= power else (middle + 1, high)
    return low


def interquartile_mean(values: Values) -> float:
    """The mean of the middle half (Agarwal et al. 2021, arXiv 2108.13264): one seed that fails does not move it.

    nan for fewer than four values, of which no quarter can be left out.
    """
    (values,) = _finite(values)
    return float(stats.trim_mean(values, 0.25)) if len(values) >= 4 else math.nan


def slope(x: Values, y: Values, *, level: float = 0.95) -> Interval:
    """The exponent s of a power law y ∝ x^s: least squares on the logarithms, with its t interval (n − 2 degrees).

    The interval answers for scatter about a straight line only; it says nothing about curvature. Raises ValueError
    for fewer than two different x and for anything that is not finite and positive. Two points have no interval.
    """
    x, y = _finite(x, y)
    if len(x) != len(y):
        raise ValueError(f"{len(x)} values of x against {len(y)} of y")
    if min(x.min(), y.min()) <= 0:
        raise ValueError("a power law is fitted to positive values only")
    if len(np.unique(x)) < 2:
        raise ValueError("an exponent needs two different values of x")
    fit: Any = stats.linregress(np.log(x), np.log(y))
    exponent, error = float(fit.slope), float(fit.stderr)
    if len(x) == 2:
        return Interval(exponent, math.nan, math.nan, 2, "two points")
    reach = float(stats.t.ppf((1 + level) / 2, len(x) - 2)) * error
    return Interval(exponent, exponent - reach, exponent + reach, len(x), "log–log t")


def format_interval(found: Interval, digits: int = 3) -> str:
    """ "0.993 ± 0.004", or "0.993 [0.980, 1.000]" where the two sides differ, or "0.993 (one seed)".

    `digits` decimals, and more where the interval would otherwise be rounded away.
    """
    mean, low, high = found[:3]
    if not (math.isfinite(low) and math.isfinite(high)) or low == high:
        return f"{mean:z.{digits}f} ({found.method})"
    half = (high - low) / 2
    needed = math.ceil(-math.log10(half) - 1e-9)  # decimals that show the first digit of the half-width
    if needed > digits + 3:
        return f"{mean:z.{digits}f} ± {half:.0e}"
    digits = max(digits, needed)
    below, above = round(mean - low, digits), round(high - mean, digits)
    if abs(below - above) < 10**-digits / 2:
        return f"{mean:z.{digits}f} ± {max(below, above):.{digits}f}"
    return f"{mean:z.{digits}f} [{low:z.{digits}f}, {high:z.{digits}f}]"


def _finite(*samples: Values) -> list[np.ndarray]:
    arrays = [np.asarray(sample, np.float64).ravel() for sample in samples]
    for array in arrays:
        if not len(array):
            raise ValueError("no values: at least one is needed")
        if not np.isfinite(array).all():
            raise ValueError(
                f"{(~np.isfinite(array)).sum()} of {len(array)} values are not finite: drop or replace them"
            )
    return arrays


def _identical(values: np.ndarray, scale: float | None = None) -> bool:
    """Whether nothing but rounding tells the values apart."""
    return bool(np.ptp(values) <= 1e-12 * (np.abs(values).max() if scale is None else scale))


def _gap(a: np.ndarray, b: np.ndarray, axis: int = -1) -> np.ndarray:
    return np.mean(a, axis=axis) - np.mean(b, axis=axis)


def _bootstrap(
    samples: tuple[np.ndarray, ...], statistic: Callable, level: float, seed: int
) -> tuple[tuple[float, float], str]:
    """BCa, or percentiles where BCa has no answer (nan on some degenerate samples)."""
    found = (math.nan, math.nan)
    for method, name in (("BCa", "bootstrap, BCa"), ("percentile", "bootstrap, percentile")):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # scipy's DegenerateDataWarning is one
            result = stats.bootstrap(
                samples, statistic, n_resamples=RESAMPLES, confidence_level=level, method=method, vectorized=True,
                axis=-1, rng=np.random.default_rng(seed),
            )  # fmt: skip
        found = tuple(result.confidence_interval)
        if np.isfinite(found).all():
            return found, name
    return found, "bootstrap failed"


def _clipped(mean: float, found: Sequence[float], n: int, method: str, bounds: tuple[float, float]) -> Interval:
    low, high = (float(min(max(edge, bounds[0]), bounds[1])) for edge in found)
    return Interval(mean, min(low, mean), max(high, mean), n, method)
