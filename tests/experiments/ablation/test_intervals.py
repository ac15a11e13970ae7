import math
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import pytest
from scipy import stats

from experiments.ablation.intervals import (
    Interval,
    adjust_p_values,
    difference_interval,
    exponent_difference,
    exponent_p_value,
    fit_exponent,
    format_interval,
    hedges_g,
    interquartile_mean,
    mean_interval,
    p_value,
    required_seeds,
)

THREE = [0.90, 0.94, 0.98]


def test_t_interval_by_hand():
    found = mean_interval(THREE)
    reach = 4.302652729696142 * 0.04 / math.sqrt(3)  # t(0.975, 2) from a table × s / √n
    assert found[:3] == pytest.approx((0.94, 0.94 - reach, 0.94 + reach), rel=1e-9)
    assert found[3:] == (3, "Student's t")


@pytest.mark.parametrize("n", [3, 5])
def test_t_interval_covers_what_it_says(n):
    draws = np.random.default_rng(7).normal(2.0, 0.5, (2000, n))
    hits = [found.low <= 2.0 <= found.high for found in map(mean_interval, draws)]
    assert 0.935 <= np.mean(hits) <= 0.965


def test_welch_covers_with_unequal_spread():
    rng = np.random.default_rng(3)
    found = [difference_interval(rng.normal(1, 1, 5), rng.normal(0, 0.1, 5), paired=False) for _ in range(2000)]
    assert 0.935 <= np.mean([one.low <= 1 <= one.high for one in found]) <= 0.965


def test_level_widens():
    narrow, wide = mean_interval(THREE, level=0.5), mean_interval(THREE, level=0.99)
    assert wide.low < narrow.low < narrow.high < wide.high


def test_thirty_values_take_the_bootstrap():
    values = np.random.default_rng(0).exponential(size=30)
    found = mean_interval(values)
    reference = stats.bootstrap((values,), np.mean, method="BCa", rng=np.random.default_rng(0)).confidence_interval
    assert found.method == "bootstrap, BCa"
    assert found[1:3] == pytest.approx(reference)
    assert mean_interval(values) == found, "the same seed gives the same interval"
    assert mean_interval(values, seed=1)[1:3] != found[1:3]
    assert mean_interval(values[:29]).method == "Student's t"


def test_bootstrap_without_bca(monkeypatch):
    real = stats.bootstrap

    def without_bca(*arguments, method, **rest):
        if method == "BCa":
            return SimpleNamespace(confidence_interval=(np.nan, np.nan))
        return real(*arguments, method=method, **rest)

    monkeypatch.setattr(stats, "bootstrap", without_bca)
    found = mean_interval(np.arange(30.0))
    assert found.method == "bootstrap, percentile"
    assert found.low < found.mean < found.high


@pytest.mark.parametrize("n", [10, 30])
def test_all_but_one_identical(n):
    found = mean_interval([1.0] * (n - 1) + [0.0], bounds=(0, 1))
    assert 0 <= found.low < found.mean <= found.high <= 1


def test_clipped_to_bounds():
    assert mean_interval([0.97, 0.99, 1.0], bounds=(0, 1)).high == 1
    assert mean_interval([0.0, 0.01, 0.05], bounds=(0, 1)).low == 0
    assert mean_interval([0.97, 0.99, 1.0]).high > 1
    assert difference_interval([1.0, 0.9], [0.0, 0.2], paired=False, bounds=(-1, 1)).high == 1


@pytest.mark.parametrize("n", [2, 5, 12])
@pytest.mark.parametrize("value", [0.1, 1.0, 0.0, -3.3])
def test_no_spread(n, value):
    found = mean_interval([value] * n)
    assert found.mean == pytest.approx(value)
    assert found[1:] == (found.mean, found.mean, n, "no spread seen")


def test_one_seed():
    for found in (mean_interval([0.5]), difference_interval([0.5], [0.0, 0.1], paired=False)):
        assert math.isnan(found.low)
        assert math.isnan(found.high)
        assert (found.mean > 0.4, found.n, found.method) == (True, 1, "one seed")


@pytest.mark.parametrize("values", [[], [0.5, math.nan], [math.inf, 1, 2]])
def test_not_finite_is_refused(values):
    with pytest.raises(ValueError, match=r"finite|no values"):
        mean_interval(values)
    with pytest.raises(ValueError, match=r"finite|no values"):
        difference_interval([1.0, 2.0], values, paired=False)


def test_difference_against_scipy():
    a, b = np.random.default_rng(1).normal(size=(2, 5))
    welch, paired = difference_interval(a, b, paired=False), difference_interval(a, b, paired=True)
    assert welch[1:3] == pytest.approx(stats.ttest_ind(a, b, equal_var=False).confidence_interval())
    assert paired[1:3] == pytest.approx(stats.ttest_rel(a, b).confidence_interval())
    assert welch.mean == paired.mean == pytest.approx(a.mean() - b.mean())
    assert (welch.method, paired.method) == ("Welch's t", "paired t")
    with pytest.raises(ValueError, match="pairs"):
        difference_interval(a, b[:3], paired=True)


def test_difference_pairs_take_away_what_is_shared():
    b = np.array([0.1, 0.5, 0.9, 0.3])
    a = b + np.array([0.10, 0.11, 0.09, 0.10])
    paired = difference_interval(a, b, paired=True)
    assert 0 < paired.low < paired.high < 0.12
    assert difference_interval(a, b, paired=False).low < 0


def test_difference_without_spread():
    assert difference_interval([1.0] * 3, [0.3] * 3, paired=False).method == "no spread seen"
    assert difference_interval([0.9, 0.5, 0.3], [0.8, 0.4, 0.2], paired=True).method == "no spread seen", (
        "up to rounding"
    )
    one_sided = difference_interval([1.0, 1.0, 1.0], THREE, paired=False)
    three = mean_interval(THREE)
    assert one_sided[1:3] == pytest.approx((1 - three.high, 1 - three.low))


@pytest.mark.parametrize("paired", [True, False])
def test_difference_from_ten_on(paired):
    a, b = np.random.default_rng(2).normal([[1], [0]], 1, (2, 40))
    found = difference_interval(a, b, paired=paired)
    assert found.method == "bootstrap, BCa"
    t = stats.ttest_rel(a, b) if paired else stats.ttest_ind(a, b, equal_var=False)
    assert found[1:3] == pytest.approx(t.confidence_interval(), abs=0.05), "at forty values the two agree"


def test_slope():
    x = np.array([32, 64, 128, 256, 512, 1024])
    assert fit_exponent(x, 3 * x**2.0)[:3] == pytest.approx((2, 2, 2), abs=1e-6)
    noisy = 3 * x**1.5 * np.exp(np.random.default_rng(5).normal(0, 0.1, 6))
    found = fit_exponent(x, noisy)
    fit, covariance = np.polyfit(np.log(x), np.log(noisy), 1, cov=True)
    reach = stats.t.ppf(0.975, 4) * math.sqrt(covariance[0, 0])
    assert found[:4] == pytest.approx((fit[0], fit[0] - reach, fit[0] + reach, 6))
    assert found.low < 1.5 < found.high
    two = fit_exponent([1, 10], [1, 100])
    assert two.mean == pytest.approx(2)
    assert math.isnan(two.low)
    for bad in (([1, 2], [0, 1]), ([2, 2], [1, 3]), ([1, 2, 3], [1, 2]), ([1, math.nan], [1, 2])):
        with pytest.raises(ValueError, match=r"positive|different|against|finite"):
            fit_exponent(*bad)


@pytest.mark.parametrize(
    ("found", "digits", "text"),
    [
        ((0.993, 0.989, 0.997, 3, "t"), 3, "0.993 ± 0.004"),
        ((0.993, 0.98, 1.0, 3, "t"), 3, "0.993 [0.980, 1.000]"),
        ((0.993, 0.9926, 0.9934, 3, "t"), 3, "0.9930 ± 0.0004"),  # not ± 0.000
        ((0.993, 0.9925, 0.9935, 3, "t"), 2, "0.9930 ± 0.0005"),  # nor ± 0.001
        ((0.5, 0.5 - 1e-9, 0.5 + 1e-9, 3, "t"), 3, "0.500 ± 1e-09"),
        ((1.0, 1.0, 1.0, 5, "no spread seen"), 2, "1.00 (no spread seen)"),
        ((0.99, math.nan, math.nan, 1, "one seed"), 2, "0.99 (one seed)"),
        ((-0.0004, -0.3, 0.2992, 4, "t"), 2, "0.00 ± 0.30"),
        ((1234.4, 1200.4, 1268.4, 4, "t"), 0, "1234 ± 34"),
        ((0.0001, 0.0, 0.3, 4, "t"), 2, "0.00 [0.00, 0.30]"),
    ],
)
def test_format(found, digits, text):
    assert format_interval(Interval(*found), digits) == text


def test_p_values_are_scipy_s():
    a, b = np.random.default_rng(0).normal(size=(2, 6))
    b = b + 0.5
    welch: Any = stats.ttest_ind(a, b, equal_var=False)
    paired: Any = stats.ttest_rel(a, b)
    alone: Any = stats.ttest_1samp(a, 0.2)
    assert p_value(a, b) == pytest.approx(welch.pvalue)
    assert p_value(a, b, paired=True) == pytest.approx(paired.pvalue)
    assert p_value(a, 0.2) == pytest.approx(alone.pvalue)
    assert math.isnan(p_value([1.0], [2.0]))
    with pytest.raises(ValueError, match="3 against 2"):
        p_value([1, 2, 3], [1, 2], paired=True)


@pytest.mark.parametrize("alternative", ["greater", "less"])
def test_one_sided_p_values_of_a_margin_are_scipy_s(alternative: Literal["greater", "less"]):
    a, b = np.random.default_rng(0).normal(size=(2, 6))
    welch: Any = stats.ttest_ind(a - 0.3, b, equal_var=False, alternative=alternative)
    alone: Any = stats.ttest_1samp(a, 0.5, alternative=alternative)
    assert p_value(a, b, margin=0.3, alternative=alternative) == pytest.approx(welch.pvalue)
    assert p_value(a, 0.2, margin=0.3, alternative=alternative) == pytest.approx(alone.pvalue)


def test_exponents_differ_as_surely_as_their_fits_allow():
    x = np.array([1.0, 2, 4, 8, 16])
    noise = np.exp(0.05 * np.random.default_rng(0).normal(size=(2, 5)))
    a, b = (dict(zip(x, x**power * one, strict=True)) for power, one in zip((2.0, 1.0), noise, strict=True))
    gap = exponent_difference(a, b)
    assert gap.low < 1 < gap.high
    assert exponent_p_value(a, b, margin=gap.low) == pytest.approx(0.05)
    assert exponent_p_value(a, b, margin=gap.low, alternative="greater") == pytest.approx(0.025)
    assert exponent_p_value(a, b, margin=gap.mean, alternative="less") == pytest.approx(0.5)
    exact = {one: one for one in (1.0, 2.0, 4.0)}
    assert exponent_p_value(exact, exact) == exponent_p_value(exact, exact, margin=0.5, alternative="greater") == 1
    assert exponent_p_value(exact, exact, margin=-0.5, alternative="greater") == 0
    assert math.isnan(exponent_p_value({1.0: 1.0, 2.0: 2.0}, exact))


def test_values_without_spread_differ_for_certain_or_not_at_all():
    assert p_value([1.0, 1.0, 1.0], [0.5, 0.5, 0.5], paired=True) == 0
    assert p_value([1.0, 1.0], 0.5, alternative="greater") == p_value([1.0, 1.0], 1.5, alternative="less") == 0
    assert p_value([1.0, 1.0], 0.5, alternative="less") == p_value([1.0, 1.0], 0.5, margin=0.5) == 1
    assert p_value([1.0, 1.0], [1.0, 1.0]) == p_value([1.0, 1.0], 1.0) == 1
    assert 0 < p_value([1.0, 1.0, 1.0], THREE) < 0.2  # one side alone without spread has an answer


def test_ties_on_a_grid_are_as_sure_as_its_step_lets_them_be():
    """Gaps of two steps, by hand: t = 2·√n / √(1/6). Against a number, and of two samples, the same standard error."""
    step = 1 / 178
    for n in (2, 3, 5):
        a, b = step * np.arange(160, 160 + n), step * np.arange(158, 158 + n)
        expected = 2 * stats.t.sf(2 * math.sqrt(n) * math.sqrt(6), n - 1)
        assert p_value(a, b, paired=True) == 0, "without a grid"
        assert p_value(a, b, paired=True, step=step) == pytest.approx(expected)
        assert p_value([a[0]] * n, a[0] - 2 * step, step=step) == pytest.approx(expected)
        reach = stats.t.ppf(0.975, n - 1) * step / math.sqrt(6 * n)
        found = difference_interval(a, b, paired=True, step=step)
        assert found[1:3] == pytest.approx((2 * step - reach, 2 * step + reach))
        assert difference_interval([a[0]] * n, 0.5, paired=True, step=step).high == pytest.approx(a[0] - 0.5 + reach)
        constant = stats.ttest_ind_from_stats(2, math.sqrt(1 / 12), n, 0, math.sqrt(1 / 12), n, equal_var=False)
        assert p_value([2.0] * n, [0.0] * n, step=1) == pytest.approx(constant.pvalue)
    assert p_value([1.0, 1.0], [1.0, 1.0], paired=True, step=step) == 1
    assert difference_interval([1.0] * 12, [0.5] * 12, paired=True, step=step).method == "paired t"


def test_a_step_finer_than_the_spread_changes_nothing():
    a, b = np.random.default_rng(4).normal(size=(2, 5))
    for paired in (True, False):
        assert p_value(a, b, paired=paired, step=0.1) == p_value(a, b, paired=paired)
        assert difference_interval(a, b, paired=paired, step=0.1) == difference_interval(a, b, paired=paired)


@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize("right", [0.5, 0.9, 0.99, 0.998])
@pytest.mark.parametrize("paired", [True, False])
def test_no_more_false_alarms_on_a_grid_than_off_it(seeds: int, right: float, paired: bool):
    random = np.random.default_rng([seeds, round(1000 * right)])
    scores = random.binomial(178, right, (3000, 2, seeds)) / 178
    called = [p_value(a, b, paired=paired, step=1 / 178) <= 0.05 and a.mean() > b.mean() for a, b in scores]
    assert np.mean(called) < 0.035, "2.5 % are meant"


def test_an_interval_that_leaves_zero_out_has_a_p_below_5_percent():
    random = np.random.default_rng(1)
    for _ in range(200):
        a, b = random.normal(0, 1, 4), random.normal(1, 2, 4)
        for paired in (True, False):
            found = difference_interval(a, b, paired=paired)
            assert (p_value(a, b, paired=paired) < 0.05) == (not found.low <= 0 <= found.high)


def test_holm_by_hand():
    """4·0.01, 3·0.02, 2·0.03 raised to what came before, 1·0.04 too; nan is a question that was asked."""
    assert adjust_p_values([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert adjust_p_values([0.01, math.nan])[0] == pytest.approx(0.02)
    assert math.isnan(adjust_p_values([0.01, math.nan])[1])
    assert adjust_p_values([0.9, 0.8]) == [1, 1]


def test_holm_keeps_false_alarms_of_a_whole_study_below_5_percent():
    random = np.random.default_rng(2)
    alarms = [min(adjust_p_values(random.uniform(size=8))) <= 0.05 for _ in range(4000)]
    assert 0.03 < np.mean(alarms) < 0.06


def test_effect_by_hand():
    """Two standard deviations apart, times 1 − 3/(4·4 − 1)."""
    assert hedges_g([3, 4, 5], [1, 2, 3]) == pytest.approx(2 * (1 - 3 / 15))
    assert hedges_g([1, 1], [0, 0]) == math.inf
    assert hedges_g([1, 1], [1, 1]) == 0
    assert math.isnan(hedges_g([1], [0, 1]))


@pytest.mark.parametrize(("spread", "margin"), [(1.0, 1.0), (0.05, 0.03)])
def test_as_many_seeds_as_said_are_needed(spread: float, margin: float):
    """By simulation: with so many Student's test finds the margin in four trials of five."""
    n = required_seeds(spread, margin)
    a = np.random.default_rng(0).normal(margin, spread, (20_000, n))
    found: Any = stats.ttest_1samp(a, 0, axis=1)
    assert 0.79 < np.mean(found.pvalue < 0.05) < 0.85
    assert required_seeds(1, 1e-6) == 10_000
    with pytest.raises(ValueError, match="must be positive"):
        required_seeds(0, 1)


def test_seeds_needed_at_every_ratio():
    """Where the spread is tiny scipy's noncentral t is nan, and 10,000 seeds were asked for where two do."""
    for level in (0.95, 0.999, 0.9999):
        counts = [required_seeds(1, ratio, level=level) for ratio in np.geomspace(1e-3, 1e6, 30)]
        assert counts == sorted(counts, reverse=True)
        assert (counts[0], counts[-1]) == (10_000, 2)
    assert required_seeds(1e-9, 1) == 2
    assert [required_seeds(1, ratio) for ratio in (20, 5, 1, 0.1)] == [2, 3, 10, 787], (
        "statsmodels' TTestPower says the same"
    )


@pytest.mark.parametrize(("ratio", "level"), [(5, 0.95), (30, 0.999), (0.5, 0.95), (300, 0.9999)])
def test_seeds_needed_against_a_simulation(ratio: float, level: float):
    n = required_seeds(1, ratio, level=level)
    for seeds, enough in ((n, True), (n - 1, False)):
        if seeds > 1:
            draws = np.random.default_rng(1).normal(ratio, 1, (200_000 // seeds, seeds))
            t = draws.mean(axis=1) / draws.std(axis=1, ddof=1) * math.sqrt(seeds)
            power = (t > stats.t.ppf((1 + level) / 2, seeds - 1)).mean()
            assert power >= 0.79 if enough else power < 0.81


def test_the_middle_half_does_not_feel_one_failure():
    assert interquartile_mean([0.9, 0.9, 0.9, 0.0]) == pytest.approx(0.9)
    assert math.isnan(interquartile_mean([0.9, 0.9, 0.0]))
