import itertools
from typing import Literal

import numpy as np
import pytest
from scipy import stats

from experiments.ablation.exact_tests import coin_p_value, share_p_value

SIDES: tuple[Literal["greater", "less"], ...] = ("greater", "less")


def coins(ones: int, n: int) -> list[int]:
    return [1] * ones + [0] * (n - ones)


def test_a_share_against_a_chance_is_as_sure_as_its_answers():
    assert share_p_value([1.0] * 10, 0.9, 1) == pytest.approx(2 * 0.9**10)
    assert share_p_value([0.0, 0.0], 0.01, 1 / 50) == pytest.approx(2 * 0.99**100)
    assert share_p_value([0.9, 0.94], 0.85, 0.02) == pytest.approx(2 * stats.binomtest(92, 100, 0.85, "greater").pvalue)
    assert share_p_value([1.0, 1.0], 1, 0.1) == 1
    assert share_p_value([1.0, 0.9], 1, 0.1) == 0, "one is wrong"
    for number, step in ((1.1, 0.1), (0.5, 0.0)):
        with pytest.raises(ValueError, match="between 0 and 1"):
            share_p_value([0.5], number, step)


@pytest.mark.parametrize("alternative", SIDES)
def test_a_share_beside_a_number_is_tested_as_scipy_does(alternative: Literal["greater", "less"]):
    binomial = stats.binomtest(92, 100, 0.85, alternative)
    assert share_p_value([0.9, 0.94], 0.85, 0.02, alternative) == pytest.approx(binomial.pvalue)


@pytest.mark.parametrize(("a", "b", "n", "m"), [(6, 0, 12, 12), (3, 0, 3, 3), (5, 1, 8, 5), (2, 2, 5, 8), (0, 3, 5, 5)])
def test_without_a_margin_coins_are_compared_by_barnards_test(a: int, b: int, n: int, m: int):
    for side in SIDES:
        table = [[a, b], [n - a, m - b]]
        expected = stats.barnard_exact(table, alternative=side, pooled=True, n=256).pvalue
        assert coin_p_value(coins(a, n), coins(b, m), 0.0, side) == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize(("n", "margin"), [(3, 0.0), (5, 0.3), (12, 0.0), (8, 0.5), (5, -0.2)])
def test_a_margin_is_found_no_more_often_than_the_level_says(n: int, margin: float):
    """Over all outcomes, at chances that are just the margin apart: an exact sum, not a simulation."""
    counts = range(n + 1)
    p_values = {(a, b): coin_p_value(coins(a, n), coins(b, n), margin, "greater") for a in counts for b in counts}
    for of_b in np.linspace(max(0, -margin), min(1, 1 - margin), 41):
        of_a = min(of_b + margin, 1.0)
        for level in (0.0075, 0.025):
            wrong = sum(
                stats.binom.pmf(a, n, of_a) * stats.binom.pmf(b, n, of_b)
                for a, b in itertools.product(counts, counts)
                if p_values[a, b] <= level
            )
            assert wrong <= level + 1e-4


def test_more_ones_on_the_claimed_side_are_surer():
    p_values = [coin_p_value(coins(ones, 8), coins(2, 8), 0.1, "greater") for ones in range(9)]
    assert p_values == sorted(p_values, reverse=True)
    assert p_values[-1] < 0.01 < p_values[3]


def test_what_is_no_coin_and_no_chance_is_refused():
    with pytest.raises(ValueError, match="coins are 0 or 1"):
        coin_p_value([0.5], [1], 0.0, "greater")
    with pytest.raises(ValueError, match="at most 1 apart"):
        coin_p_value([1], [1], 1.5, "greater")
