"""Rates beyond an edge of the grid where the best one is."""

from pathlib import Path
from typing import Any

import pytest

from experiments.ablation import learning_rates, record_files, record_table, runner
from tests.experiments.ablation import STUDY

SCALE = STUDY.scales["smoke"]


@pytest.mark.parametrize(
    ("best", "tried", "wider", "expected"),
    [
        (1e-2, {1e-3, 3e-3, 1e-2}, (3e-4, 3e-2, 1e-1), 3e-2),
        (1e-3, {1e-3, 3e-3, 1e-2}, (1e-4, 3e-4, 3e-2), 3e-4),
        (3e-3, {1e-3, 3e-3, 1e-2}, (3e-4, 3e-2), None),
        (3e-2, {1e-3, 3e-3, 1e-2, 3e-2}, (3e-4, 3e-2), None),
        (1e-2, {1e-3, 1e-2}, (), None),
    ],
)
def test_a_wider_rate_is_the_next_beyond_the_best_at_an_edge(best: float, tried: set[float], wider: Any, expected: Any):
    assert learning_rates.next_wider_rate([best], tried, wider) == expected
    others = [rate for rate in tried if rate != best]
    assert learning_rates.next_wider_rate([best, others[0]], tried, wider) is None, "another one does as well"


def test_rates_are_tried_beyond_an_edge_until_the_best_is_none_and_no_further(tmp_path: Path):
    """All rates of this study are too low: the highest is the best until one is too high."""
    wider = SCALE._replace(learning_rates=(1e-5, 1e-4), wider_rates=(1e-6, 1e-3, 1e-2))
    lines = runner.run_study(STUDY, wider, tmp_path, log=lambda line: None)
    for labels in ({"model.activation": "relu"}, {"model.activation": "identity"}):
        own = [x for x in lines if x.labels == labels]
        scores = {x.learning_rate: x.get_metric("validation") for x in own if x.phase == "choose"}
        (rate,) = {x.learning_rate for x in own if x.phase == "report"}
        assert {1e-5, 1e-4, 1e-3} <= set(scores), "beyond the upper edge, where they are better"
        assert 1e-6 not in scores
        assert scores[rate] <= min(scores.values()) * (1 + 1e-3)
        assert rate not in (1e-5, 1e-4) or max(scores) > rate
    record_files.write_record(tmp_path / "record.csv", *record_table.tabulate_records(lines))
    rows = record_files.read_record(tmp_path / "record.csv")
    assert len(record_table.parse_records(rows, STUDY, wider)) == len(lines)
    lacking = [row for row in rows if (row["part"], row["learning_rate"]) != ("choose", "1e-05")]
    with pytest.raises(ValueError, match=r"the record lacks .*at rate 1e-05 \(choose\)"):
        record_table.parse_records(lacking, STUDY, wider)
