import math
from pathlib import Path

import pytest

from experiments.reporting.chart_types import PublishedMark
from experiments.reporting.published_numbers import (
    BEST_OF,
    CONFIDENCE_NOTES,
    PUBLISHED_DIR,
    PublishedNumber,
    best_value,
    convert_value,
    counterpart_values,
    format_counterpart,
    format_mark,
    is_share,
    measured_values,
    parse_value,
    read_published,
)
from tests.experiments.reporting import make_trial, study_trials

NUMBER = PublishedNumber("theirs", "n = 4", "97.0", " %", "V", "Table 1", "a, 4", "test", "1")
HEADER = ",".join(PublishedNumber._fields)


def scored(metric: str, *scores: float, **measures: float):
    """Trials of the setting of NUMBER with these scores of the metric, a seed each."""
    return [
        make_trial({"mixer": "a", "n": 4}, seed, score, measures, metric=metric) for seed, score in enumerate(scores)
    ]


@pytest.mark.parametrize("path", sorted(PUBLISHED_DIR.glob("*.csv")), ids=lambda path: path.stem)
def test_every_published_number_has_a_known_mark_and_a_source_unless_it_is_unverifiable(path: Path):
    for number in read_published(path.stem):
        assert number.confidence in CONFIDENCE_NOTES
        assert number.source or number.confidence == "U"
        assert number.model
        assert number.value
        assert bool(number.setting) == bool(number.metric)


def test_the_marks_are_explained_where_the_command_and_the_docs_explain_them():
    from experiments import reproduce

    methodology = (PUBLISHED_DIR.parents[1] / "docs" / "methodology.md").read_text("utf-8")
    for mark, note in CONFIDENCE_NOTES.items():
        assert f"\n  {mark:<2}  " in str(reproduce.__doc__)
        assert f"| {mark} | {note.strip(' ()')}" in methodology


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("x,,1,,Q,Table 1,,,", r"line 2: confidence=Q: must be one of V, V2, R, H, A, M, U"),
        ("x,,1,,U,,,,\nx,,1,,V,,,,", r"line 3: has no source, and is not marked U"),
    ],
)
def test_a_number_that_nobody_can_check_is_refused_in_one_line(tmp_path: Path, rows: str, message: str):
    (tmp_path / "some.csv").write_text(f"{HEADER}\n{rows}\n")
    with pytest.raises(ValueError, match=rf"some\.csv, {message}") as caught:
        read_published("some", tmp_path)
    assert "\n" not in str(caught.value)


def test_a_table_with_other_columns_is_refused(tmp_path: Path):
    (tmp_path / "some.csv").write_text("model,value\nx,1\n")
    with pytest.raises(ValueError, match=r"some\.csv: has the columns model, value, not model, condition"):
        read_published("some", tmp_path)


@pytest.mark.parametrize(
    ("value", "mark"),
    [
        ("97.0", PublishedMark(97)),
        ("≈ 1", PublishedMark(1)),
        ("5.3e-5", PublishedMark(5.3e-5)),
        ("1,324", PublishedMark(1324)),
        ("−0.5", PublishedMark(-0.5)),
        ("< 20", PublishedMark(20, bound="<")),
        ("≤0.001", PublishedMark(0.001, bound="<")),
        ("> 90", PublishedMark(90, bound=">")),
        ("99.5 ± 0.2", PublishedMark(99.5, 99.3, 99.7)),
        ("0.01 to 10", PublishedMark(math.nan, 0.01, 10)),
        ("accepts", None),
        ("1 to 2, nearly flat", None),
        ("none", None),
    ],
)
def test_a_published_value_is_read_as_it_is_written(value: str, mark: PublishedMark | None):
    found = parse_value(NUMBER._replace(value=value))
    assert (found is None) == (mark is None)
    if found and mark:
        assert found[:3] == pytest.approx(mark[:3], nan_ok=True)
        assert found[3:] == mark[3:]


@pytest.mark.parametrize(
    ("metric", "value", "unit", "ours"),
    [
        ("accuracy", "97.0", " %", "0.97"),
        ("accuracy", "0.97", "", "0.97"),
        ("accuracy", "3", " % wrong", "0.97"),
        ("accuracy", "< 3", " % wrong", "> 0.97"),
        ("accuracy", "0.5", " scaled", "0.55"),  # chance is 0.1
        ("accuracy", "0.000 ± 0.1", " scaled", "0.1 ± 0.09"),
        ("squared error", "0.5", " scaled", None),
        ("error rate", "3", " % wrong", "0.03"),
        ("error rate", "0.01 to 10", " % wrong", "0.0001 to 0.1"),
        ("squared error", "0.164", "", "0.164"),
        ("squared error", "≤ 0.001", " best loss", "< 0.001"),
        ("bits per character", "1.5", " nats", "2.164"),
        ("accuracy", "26.75", " BLEU", None),
        ("accuracy", "256", "", None),
        ("accuracy", "accepts", "", None),
        ("error rate", "97.0", " %", None),
        ("squared error", "97.0", " %", None),
        ("bits per character", "30", " perplexity", None),
    ],
)
def test_numbers_come_into_our_unit_or_are_not_compared(metric: str, value: str, unit: str, ours: str | None):
    mark = convert_value(NUMBER._replace(value=value, unit=unit), scored(metric, 0.5, 0.6))
    assert (format_mark(mark) if mark else None) == ours


def test_a_measure_whose_values_are_all_shares_is_compared_with_per_cents():
    number = NUMBER._replace(metric="whole rows")
    assert is_share(number, scored("accuracy", 0.5, **{"whole rows": 0.25}))
    mark = convert_value(number, scored("accuracy", 0.5, **{"whole rows": 0.25}))
    assert mark
    assert mark.value == pytest.approx(0.97)
    assert convert_value(number, scored("accuracy", 0.5, **{"whole rows": 25.0})) is None


def test_what_was_read_off_a_figure_has_the_error_of_the_reading_and_what_is_unchecked_is_unsure():
    trials = scored("accuracy", 0.5, 0.6)
    for confidence in ("R", "H"):
        mark = convert_value(NUMBER._replace(value="0.99", unit="", confidence=confidence), trials)
        assert mark
        assert mark[1:3] == pytest.approx((0.96, 1.0)), "no share is above 1"
        assert format_mark(mark) == "0.99 ± 0.03"
    unsure = {c: convert_value(NUMBER._replace(confidence=c), trials) for c in CONFIDENCE_NOTES}
    assert [confidence for confidence, mark in unsure.items() if mark and mark.unsure] == ["M", "U"]


def test_a_number_without_a_counterpart_has_none():
    trials = study_trials()
    for number in (NUMBER._replace(setting="", metric=""), NUMBER._replace(setting="c, 4")):
        assert counterpart_values(number, trials) is convert_value(number, trials) is best_value(number, trials) is None
        assert measured_values(number, trials) == ("–", "–")


def test_beside_the_paper_s_best_run_stands_our_best_seed_with_that_word():
    number = NUMBER._replace(metric=f"{BEST_OF}test")
    trials = study_trials()
    assert (number.our_metric, number.is_best, NUMBER.is_best) == ("test", True, False)
    assert best_value(number, trials) == 0.92
    assert format_counterpart(number, trials) == "best of 3 seeds 0.92"
    assert format_counterpart(NUMBER, trials).startswith("0.910 ±")
    assert measured_values(number, trials)[0].startswith("0.910 ±"), "the mean is there too"
    for metric in ("error rate", "squared error", "bits per character"):
        assert best_value(number, scored(metric, 0.5, 0.4, 0.6)) == 0.4


def test_seeds_that_diverged_are_no_numbers_of_ours():
    diverged = [make_trial({"mixer": "a", "n": 4}, seed, 0.5, died_at=7) for seed in range(2)]
    assert counterpart_values(NUMBER, diverged) == []
    assert measured_values(NUMBER, diverged) == ("diverged", "–")
    assert best_value(NUMBER._replace(metric="best of test"), diverged) is None
