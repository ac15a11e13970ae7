"""Means, differences and power-law exponents of a handful of seeds, with their 95 % intervals and p-values.

Below thirty values the interval is Student's t (Welch's, or paired, for a difference), which keeps its coverage at
three seeds: over normal values a bootstrap covers 75 % there, 83 % at five and about 90 % at ten. From thirty values on
it is scipy's bootstrap (BCa: Efron 1987, "Better bootstrap confidence intervals"), which asks for no normal
distribution. Values lie in plain one-dimensional sequences, one per seed, in the unit of the metric.

Scores that are shares, such as accuracies over 178 examples, lie on a grid, and few seeds tie on it by chance: gaps
that tie have no spread, and a plain t-test calls them different for certain (with two seeds, in 8 to 45 % of studies
that ask ten such questions). Where the `step` of the grid is given, or a bound above it, a variance counts as no
smaller than what rounding alone gives: step²/12 for a score and step²/6 for the difference of two (Sheppard 1898). Two
gaps that tie at M steps are then called where M ≥ t·√(1/12) = 0.29 t; without a grid they would be up to half a step
apart, and called where M ≥ 0.25 t at the most. With more seeds, and against numbers, the record of aa_test.py
says how often there is a false alarm.
"""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from scipy import special, stats

MIN_BOOTSTRAP_VALUES = 30  # values from which the bootstrap is used
_RESAMPLES = 9999
UNBOUNDED = (-math.inf, math.inf)

Values = Sequence[float] | np.ndarray
Alternative = Literal["two-sided", "greater", "less"]  # what speaks against the null hypothesis, as in scipy


class Interval(NamedTuple):
    """A mean with `low ≤ mean ≤ high` in the unit of the values; `low` and `high` are nan where nothing is known.

    `n` is the number of values behind it (the smaller sample's for a difference), `method` says how it was made.
    """

    mean: float
    low: float
    high: float
    n: int
    method: str


def mean_interval(
    values: Values, *, level: float = 0.95, bounds: tuple[float, float] = UNBOUNDED, seed: int = 0
) -> Interval:
    """The mean of `values` and an interval that holds the true mean in a share `level` of repetitions.

    The interval is clipped to `bounds`, the range of the metric; `seed` is that of the bootstrap. Raises ValueError
    for no values and for values that are not finite: what a diverged seed counts as is the caller's decision.
    """
    (values,) = finite_arrays(values)
    mean, n = float(values.mean()), len(values)
    if n == 1:
        return Interval(mean, math.nan, math.nan, n, "one seed")
    if _all_equal(values):
        return Interval(mean, mean, mean, n, "no spread seen")
    if n < MIN_BOOTSTRAP_VALUES:
        found, method = stats.ttest_1samp(values, 0.0).confidence_interval(level), "Student's t"
    else:
        found, method = _bootstrap_interval((values,), np.mean, level, seed)
    return _clip_interval(mean, found, n, method, bounds)


def difference_interval(
    a: Values,
    b: Values | float,
    *,
    paired: bool,
    level: float = 0.95,
    bounds: tuple[float, float] = UNBOUNDED,
    seed: int = 0,
    step: float = 0.0,
) -> Interval:
    """mean(a) − mean(b) with its interval, as `mean_interval` makes it.

    `paired`: a[i] and b[i] share a seed (same data, same order), and the spread is that of a[i] − b[i]; otherwise
    Welch's t, which lets the variances differ. `b` may be a number. `step` is that of the grid on which the values lie
    (see above), whose variance an interval by t has in it. Raises ValueError as `mean_interval` does, and for pairs
    that do not match.
    """
    number = np.ndim(b) == 0
    a, b, gaps = _as_samples(a, b, paired)
    mean, n = float(a.mean() - b.mean()), len(a) if gaps is not None else min(len(a), len(b))
    if n == 1:
        return Interval(mean, math.nan, math.nan, n, "one seed")
    same = _has_no_spread(a, b, gaps)
    if same and not step:
        return Interval(mean, mean, mean, n, "no spread seen")
    if n >= MIN_BOOTSTRAP_VALUES and not same:
        samples = (a, b) if gaps is None else (gaps,)
        found, method = _bootstrap_interval(samples, _mean_difference if gaps is None else np.mean, level, seed)
    else:
        error, freedom = _standard_error(a, b, gaps, step)
        reach = float(special.stdtrit(freedom, (1 + level) / 2)) * error
        found = (mean - reach, mean + reach)
        method = "Welch's t" if gaps is None else "Student's t" if number else "paired t"
    return _clip_interval(mean, found, n, method, bounds)


def p_value(
    a: Values,
    b: Values | float,
    *,
    paired: bool = False,
    step: float = 0.0,
    margin: float = 0.0,
    alternative: Alternative = "two-sided",
) -> float:
    """The p-value of mean(a) − mean(b) = `margin` against the `alternative` that it differs, is greater or is less.

    Of a sample against a number or of pairs Student's t, of two samples Welch's, which ask for normal values; with one
    value, nan. `step` is that of the grid on which the values lie (see above): without one, values that have no spread
    differ for certain (0) or not at all (1).
    """
    a, b, gaps = _as_samples(a, b, paired)
    if (len(a) if gaps is not None else min(len(a), len(b))) < 2:
        return math.nan
    gap, scale = float(a.mean() - b.mean()) - margin, max(np.abs(a).max(), np.abs(b).max())
    tie = abs(gap) <= 1e-12 * scale
    if _has_no_spread(a, b, gaps) and (tie or not step):
        return _certain_p_value(0.0 if tie else gap, alternative)
    error, freedom = _standard_error(a, b, gaps, step)
    return _tail_of_t(gap / error, freedom, alternative)


def _certain_p_value(gap: float, alternative: Alternative) -> float:
    """The p-value of a gap that has no error: 0 if it is what the alternative says, else 1."""
    return float(not {"two-sided": gap != 0, "greater": gap > 0, "less": gap < 0}[alternative])


def _tail_of_t(t: float, freedom: float, alternative: Alternative) -> float:
    if alternative == "two-sided":
        return float(2 * special.stdtr(freedom, -abs(t)))
    return float(special.stdtr(freedom, -t if alternative == "greater" else t))


def adjust_p_values(p_values: Values) -> list[float]:
    """Holm–Bonferroni-adjusted p-values (Holm 1979), which bound the family-wise error rate.

    nan stays nan, and counts as a comparison.
    """
    p = np.nan_to_num(np.asarray(p_values, float), nan=1.0)
    order = np.argsort(p)
    raised = np.empty(len(p))
    raised[order] = np.minimum(1, np.maximum.accumulate(p[order] * (len(p) - np.arange(len(p)))))
    return [float(r) if given == given else math.nan for r, given in zip(raised, p_values, strict=True)]


def hedges_g(a: Values, b: Values) -> float:
    """Hedges' g (1981): the difference of means in pooled standard deviations, without the bias of few values.

    Infinite where there is no spread to measure it by, nan with fewer than two values on a side.
    """
    a, b = finite_arrays(a, b)
    if min(len(a), len(b)) < 2:
        return math.nan
    freedom = len(a) + len(b) - 2
    spread = math.sqrt(((len(a) - 1) * a.var(ddof=1) + (len(b) - 1) * b.var(ddof=1)) / freedom)
    gap = float(a.mean() - b.mean())
    if spread <= 1e-12 * max(np.abs(a).max(), np.abs(b).max()):
        return math.copysign(math.inf, gap) if gap else 0.0
    return gap / spread * (1 - 3 / (4 * freedom - 1))


def required_seeds(
    spread: float, margin: float, *, level: float = 0.95, power: float = 0.8, max_seeds: int = 10_000
) -> int:
    """How many seeds on each side show a difference of `margin` with probability `power`.

    `spread` is the standard deviation of the difference of two seeds, one of each side.

    From the noncentral t of a paired test, which asks for a few more than Welch's; `max_seeds` where even those would
    not do. Raises ValueError for a margin or a spread that is no positive number.
    """
    if not (0 < margin < math.inf and 0 < spread < math.inf):
        raise ValueError(f"margin={margin}, spread={spread}: must be positive numbers")

    def power_at(n: int) -> float:
        """The upper tail of the noncentral t: the mean of a normal one over spreads that are equally likely. scipy's
        own is nan for a margin far beyond the spread."""
        return float(stats.norm.cdf(margin / spread * math.sqrt(n) - beyond(n) * spreads(n)).mean())

    def beyond(n: int) -> float:
        return float(special.stdtrit(n - 1, (1 + level) / 2))

    def spreads(n: int) -> np.ndarray:
        return np.sqrt(stats.chi2.ppf((np.arange(500) + 0.5) / 500, n - 1) / (n - 1))

    low, high = 2, max_seeds  # powers grow with n: halve
    if power_at(high) < power:
        return max_seeds
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if power_at(middle) >= power else (middle + 1, high)
    return low


def interquartile_mean(values: Values) -> float:
    """The mean of the middle half (Agarwal et al. 2021, arXiv 2108.13264): one seed that fails does not move it.

    nan for fewer than four values, of which no quarter can be left out.
    """
    (values,) = finite_arrays(values)
    return float(stats.trim_mean(values, 0.25)) if len(values) >= 4 else math.nan


def fit_exponent(x: Values, y: Values, *, level: float = 0.95) -> Interval:
    """The exponent s of a power law y ∝ x^s: least squares on the logarithms, with its t interval (n − 2 degrees).

    The interval answers for scatter about a straight line only; it says nothing about curvature. Raises ValueError
    for fewer than two different x and for anything that is not finite and positive. Two points have no interval.
    """
    x, y = finite_arrays(x, y)
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
    reach = float(special.stdtrit(len(x) - 2, (1 + level) / 2)) * error
    return Interval(exponent, exponent - reach, exponent + reach, len(x), "log–log t")


def exponent_difference(a: Mapping[float, float], b: Mapping[float, float] | float) -> Interval:
    """The difference of the exponents of two power laws {x: y}, or of one and a number, with its 95 % interval.

    By Welch's t over the standard errors of the fits; nan with two points, whose fit has no error.
    """
    gap, error, freedom = _exponent_gap(a, b)
    n = min(len(curve) for curve in (a, b) if isinstance(curve, Mapping))
    if math.isnan(error):
        return Interval(gap, math.nan, math.nan, n, "two points")
    if not error:
        return Interval(gap, gap, gap, n, "no spread seen")
    reach = float(special.stdtrit(freedom, 0.975)) * error
    return Interval(gap, gap - reach, gap + reach, n, "log–log t")


def exponent_p_value(
    a: Mapping[float, float],
    b: Mapping[float, float] | float,
    *,
    margin: float = 0.0,
    alternative: Alternative = "two-sided",
) -> float:
    """The p-value of exponents of power laws {x: y} that are `margin` apart, as `p_value` gives it for samples.

    nan with two points. Fits without an error differ for certain (0) or not at all (1).
    """
    gap, error, freedom = _exponent_gap(a, b)
    gap -= margin
    if not error:
        return _certain_p_value(gap, alternative)
    return _tail_of_t(gap / error, freedom, alternative)


def _exponent_gap(a: Mapping[float, float], b: Mapping[float, float] | float) -> tuple[float, float, float]:
    """The difference of two exponents, its standard error and its degrees of freedom (Welch 1947)."""
    curves = [curve for curve in (a, b) if isinstance(curve, Mapping)]
    fits: list[Any] = [stats.linregress(np.log(list(curve)), np.log(list(curve.values()))) for curve in curves]
    freedoms = [len(curve) - 2 for curve in curves]
    gap = float(fits[0].slope) - (float(fits[1].slope) if isinstance(b, Mapping) else b)
    if min(freedoms) < 1:
        return gap, math.nan, math.nan
    variances = [float(fit.stderr) ** 2 for fit in fits]
    if not sum(variances):
        return gap, 0.0, math.inf
    freedom = sum(variances) ** 2 / sum(v**2 / f for v, f in zip(variances, freedoms, strict=True))
    return gap, math.sqrt(sum(variances)), freedom


def format_interval(estimate: Interval, digits: int = 3) -> str:
    """ "0.993 ± 0.004", or "0.993 [0.980, 1.000]" where the two sides differ, or "0.993 (one seed)".

    `digits` decimals, and more where the interval would otherwise be rounded away.
    """
    mean, low, high = estimate[:3]
    if not (math.isfinite(low) and math.isfinite(high)) or low == high:
        return f"{mean:z.{digits}f} ({estimate.method})"
    half = (high - low) / 2
    needed = math.ceil(-math.log10(half) - 1e-9)  # decimals that show the first digit of the half-width
    if needed > digits + 3:
        return f"{mean:z.{digits}f} ± {half:.0e}"
    digits = max(digits, needed)
    below, above = round(mean - low, digits), round(high - mean, digits)
    if abs(below - above) < 10**-digits / 2:
        return f"{mean:z.{digits}f} ± {max(below, above):.{digits}f}"
    return f"{mean:z.{digits}f} [{low:z.{digits}f}, {high:z.{digits}f}]"


def finite_arrays(*samples: Values | float) -> list[np.ndarray]:
    """Each sample as a flat array. Raises ValueError for one without values or with values that are not finite."""
    arrays = [np.asarray(sample, np.float64).ravel() for sample in samples]
    for array in arrays:
        if not len(array):
            raise ValueError("no values: at least one is needed")
        if not np.isfinite(array).all():
            raise ValueError(
                f"{(~np.isfinite(array)).sum()} of {len(array)} values are not finite: drop or replace them"
            )
    return arrays


def _as_samples(a: Values, b: Values | float, paired: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Both samples, and their differences where the test is of those: for pairs, and against a number."""
    number = np.ndim(b) == 0
    a, b = finite_arrays(a, b)
    if paired and not number and len(a) != len(b):
        raise ValueError(f"paired values must come in pairs: {len(a)} against {len(b)}")
    return a, b, a - b if paired or number else None


def _has_no_spread(a: np.ndarray, b: np.ndarray, gaps: np.ndarray | None) -> bool:
    """Whether the spread is no larger than rounding."""
    if gaps is None:
        return _all_equal(a) and _all_equal(b)
    return _all_equal(gaps, scale=max(np.abs(a).max(), np.abs(b).max()))


def _all_equal(values: np.ndarray, scale: float | None = None) -> bool:
    """Whether the values differ by no more than rounding."""
    return bool(np.ptp(values) <= 1e-12 * (np.abs(values).max() if scale is None else scale))


def _standard_error(a: np.ndarray, b: np.ndarray, gaps: np.ndarray | None, step: float) -> tuple[float, float]:
    """The standard error of mean(a) − mean(b) and its degrees of freedom (Welch 1947).

    The variances are no smaller than `step`, that of the grid on which the values lie, allows.
    """
    if gaps is not None:
        return math.sqrt(max(float(gaps.var(ddof=1)), step**2 / 6) / len(gaps)), len(gaps) - 1
    parts = [max(float(one.var(ddof=1)), step**2 / 12) / len(one) for one in (a, b)]
    freedom = sum(parts) ** 2 / sum(part**2 / (len(one) - 1) for part, one in zip(parts, (a, b), strict=True))
    return math.sqrt(sum(parts)), freedom


def _mean_difference(a: np.ndarray, b: np.ndarray, axis: int = -1) -> np.ndarray:
    return np.mean(a, axis=axis) - np.mean(b, axis=axis)


def _bootstrap_interval(
    samples: tuple[np.ndarray, ...], statistic: Callable, level: float, seed: int
) -> tuple[tuple[float, float], str]:
    """BCa, or percentiles where BCa has no answer (nan on some degenerate samples)."""
    found = (math.nan, math.nan)
    for method, name in (("BCa", "bootstrap, BCa"), ("percentile", "bootstrap, percentile")):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # scipy's DegenerateDataWarning is one
            result = stats.bootstrap(
                samples, statistic, n_resamples=_RESAMPLES, confidence_level=level, method=method, vectorized=True,
                axis=-1, rng=np.random.default_rng(seed),
            )  # fmt: skip
        found = tuple(result.confidence_interval)
        if np.isfinite(found).all():
            return found, name
    return found, "bootstrap failed"


def _clip_interval(mean: float, edges: Sequence[float], n: int, method: str, bounds: tuple[float, float]) -> Interval:
    low, high = (float(min(max(edge, bounds[0]), bounds[1])) for edge in edges)
    return Interval(mean, min(low, mean), max(high, mean), n, method)
