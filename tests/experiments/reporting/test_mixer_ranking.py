import random
from collections.abc import Sequence

import pytest

from experiments.reporting.mixer_ranking import (
    COSTS,
    MARGIN,
    Choice,
    Curve,
    Exponent,
    Point,
    Rank,
    Row,
    Score,
    find_figure,
    format_quantity,
    rank_mixers,
)

FIXED, GROWING = Exponent(0.0, 0.0, 0.0, "0.00"), Exponent(1.0, 1.0, 1.0, "1.00")
CURVE = Curve([Point(64, 2.0, 1.0, 3.0), Point(256, 32.0), Point(1024, 512.0)], Exponent(2.0, 1.5, 2.5, "2.0 ± 0.5"))


def make_row(name: str, mean: float, reach: float = 0.0, state: float = 64.0, growth: Exponent | None = FIXED) -> Row:
    """A row scored at length 32, whose interval reaches so far on both sides."""
    score = Score(32, mean, mean - reach, mean + reach, f"{mean}")
    return Row(name, name, True, False, [score], Curve([Point(32, state)], growth))


def costs(**seconds: float) -> dict[str, dict[str, Curve]]:
    """Each mixer's cost, the same for a step and a token."""
    curves = {name: Curve([Point(32, value)], GROWING) for name, value in seconds.items()}
    return dict.fromkeys(COSTS, curves)


def labels(ranks: Sequence[Rank]) -> list[tuple[str, str]]:
    return [(one.rank, one.row.label) for one in ranks]


def test_a_measured_length_gives_the_measured_value():
    assert find_figure(CURVE, 64) == (2.0, 1.0, 3.0, "measured")
    assert find_figure(CURVE, 256) == (32.0, None, None, "measured")


@pytest.mark.parametrize(("length", "how", "start"), [(100, "interpolated", "64"), (4096, "extrapolated", "1,024"),
                                                     (16, "extrapolated", "64")])  # fmt: skip
def test_another_length_is_marked_and_follows_the_power_of_length(length: int, how: str, start: str):
    value, low, high, source = find_figure(CURVE, length)
    assert value is not None
    assert value == pytest.approx(2 * (length / 64) ** 2)  # the law that all three points lie on
    assert source == f"{how} from {start} by length^2.0 ± 0.5"
    assert low is not None
    assert high is not None
    assert low < value < high


def test_the_range_takes_low_ends_and_high_ends_together():
    _, low, high, _ = find_figure(CURVE, 32)  # half of 64: the smaller power gives the larger value
    assert (low, high) == (1.0 * 0.5**2.5, 3.0 * 0.5**1.5)
    assert find_figure(CURVE._replace(exponent=Exponent(2.0, None, None, "2.00 (two points)")), 32)[:3] == (
        0.5, None, None,
    )  # fmt: skip


def test_what_is_not_measured_says_so():
    assert find_figure(None, 64) == (None, None, None, "not measured")
    assert find_figure(CURVE._replace(exponent=None), 128).source == "measured at 256 only"
    limited = CURVE._replace(memory_limit=4096)
    assert find_figure(limited, 1024).value == 512
    assert find_figure(limited, 8192) == (None, None, None, "not measured: memory ran out at 4,096")


def test_a_state_of_one_size_keeps_it():
    state = Curve([Point(67, 42.0)], FIXED, "a remark")
    assert find_figure(state, 4096) == (42.0, None, None, "measured at 67, of one size; a remark")


def test_ties_stand_by_cost_and_all_else_by_score():
    rows = [make_row("best", 0.95, 0.02), make_row("cheap", 0.92, 0.02), make_row("apart", 0.90, 0.001),
            make_row("last", 0.1)]  # fmt: skip
    ranking = rank_mixers(rows, costs(best=3, cheap=1, apart=0.1), Choice(32))
    assert labels(ranking.ranks) == [("1–2", "cheap"), ("1–2", "best"), ("3", "apart"), ("4", "last")]
    assert ranking.ranks[3].costs["step"].source == "not measured"


def test_a_wide_interval_far_below_is_no_tie_and_is_marked():
    rows = [make_row("sure", 1.0), make_row("wide", 1 - 2 * MARGIN, 0.5), make_row("low", 0.3)]
    ranking = rank_mixers(rows, costs(), Choice(32))
    assert [(one.row.label, one.unsettled) for one in ranking.ranks] == [
        ("sure", False), ("wide", True), ("low", False),
    ]  # fmt: skip


def test_what_is_not_measured_comes_last_among_those_that_tie():
    rows = [make_row("unknown", 1.0), make_row("slow", 1.0), make_row("fast", 1.0)]
    assert labels(rank_mixers(rows, costs(slow=2, fast=1), Choice(32)).ranks) == [
        ("1–3", "fast"), ("1–3", "slow"), ("1–3", "unknown"),
    ]  # fmt: skip


def test_streaming_ties_by_a_token_and_training_by_a_step():
    both = costs() | {
        "step": {"a": Curve([Point(32, 1.0)], None), "b": Curve([Point(32, 2.0)], None)},
        "token": {"a": Curve([Point(32, 2.0)], None), "b": Curve([Point(32, 1.0)], None)},
    }
    rows = [make_row("a", 1.0), make_row("b", 1.0)]
    assert [one.row.label for one in rank_mixers(rows, both, Choice(32)).ranks] == ["a", "b"]
    assert [one.row.label for one in rank_mixers(rows, both, Choice(32, streaming=True)).ranks] == ["b", "a"]


def test_less_is_better_turns_the_order_round():
    rows = [make_row("more", 2.0), make_row("less", 1.0)]
    assert labels(rank_mixers(rows, costs(), Choice(32), less_is_better=True).ranks) == [("1", "less"), ("2", "more")]


def test_a_choice_leaves_out_with_a_reason():
    rows = [make_row("fixed", 1.0, state=100), make_row("growing", 1.0, state=10, growth=GROWING),
            make_row("unknown", 1.0, state=10, growth=None),
            make_row("dead", 1.0)._replace(scores=[Score(32, None, None, None, "all diverged")])]  # fmt: skip

    def ask(**choice: float) -> tuple[list[str], dict[str, Sequence[str]]]:
        ranking = rank_mixers(rows, costs(), Choice(**{"length": 320, **choice}))
        return sorted(one.row.label for one in ranking.ranks), dict(ranking.left_out)

    dead = {"every seed diverged": ["dead"]}
    assert ask() == (["fixed", "growing", "unknown"], dead)
    assert ask(fixed=True) == (["fixed"], dead | {"the state grows": ["growing"],
                               "it is not measured whether the state grows": ["unknown"]})  # fmt: skip
    assert ask(budget=99) == ([], dead | {"the state is larger": ["fixed", "growing"],  # which has 100 floats at 320
                              "the state at 320 is not measured": ["unknown"]})  # fmt: skip
    assert ask(budget=100)[0] == ["fixed", "growing"]


def test_nothing_is_lost_and_no_better_score_stands_below_by_more_than_the_margin():
    draw = random.Random(0)
    for _ in range(200):
        rows = [
            make_row(str(i), draw.random(), draw.choice((0, 0.01, 0.1, 0.5)), draw.choice((10, 100)),
                     draw.choice((FIXED, GROWING, None)))
            for i in range(draw.randrange(12))
        ]  # fmt: skip
        choice = Choice(draw.choice((32, 999)), draw.choice((None, 50)), draw.random() < 0.3, draw.random() < 0.5)
        ranking = rank_mixers(rows, costs(**{str(i): draw.random() for i in range(0, 12, 2)}), choice)
        left_out = [label for some in ranking.left_out.values() for label in some]
        assert sorted(left_out + [one.row.label for one in ranking.ranks]) == sorted(row.label for row in rows)
        means = [one.score.interval[0] for one in ranking.ranks]
        assert all(upper >= lower - MARGIN for i, upper in enumerate(means) for lower in means[i:])


@pytest.mark.parametrize(("value", "text"), [(12345.0, "12,345"), (12345.6, "12,300"), (0.3125, "0.313"),
                                            (0.012344, "0.0123"), (68.0, "68"), (1e-7, "0.0000001")])  # fmt: skip
def test_quantities_have_three_digits(value: float, text: str):
    assert format_quantity(value) == text
