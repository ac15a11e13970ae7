from pathlib import Path
from typing import Any

import pytest

from data.files import find_sources, series
from experiments.ablation.own_data import OwnData
from experiments.ablation.study import load_study
from experiments.reporting import data_summary
from training import builder

GAP = 7  # the row without a value


def write_sites(path: Path) -> dict[str, Any]:
    """The task of a table of two sites of 100 steps, whose levels differ much."""
    rows = [
        f"{site},{i},{'' if i == GAP and site else 100 * site + i % 10},{i % 7}" for i in range(100) for site in (0, 1)
    ]
    path.write_text("\n".join(["site,t,load,price", *rows]) + "\n")
    fields = {"path": str(path), "series_column": "site", "time_column": "t", "target_columns": "load"}
    return {"name": "series", "horizon": 3, "max_length": 16, **fields}


def test_steps_and_forecasts_of_series_are_those_that_describe_counts(tmp_path: Path):
    task = write_sites(tmp_path / "sites.csv")
    built = builder.build_task(task, str(tmp_path / "data"))
    table = data_summary.summarize_data(OwnData("series", "", {}, task), built, str(tmp_path / "data"))
    shown = {row[0]: row[1] for row in table.rows}
    assert shown["series"] == "2"
    assert shown["target columns"] == "load"
    assert shown["horizon"] == "3 steps"
    assert shown["train"] == "140 steps, 136 forecasts"  # not before a gap, from it, nor into another split
    fields: dict[str, Any] = {n: value for n, value in task.items() if n not in ("name", "horizon", "max_length")}
    options = series.Options(**fields)
    lines = series.describe(options, find_sources(options))
    assert "140 train, 20 validation, 40 test" in lines[0]
    assert "steps that a forecast can be made from: 136 train, 20 validation, 40 test" in lines


def test_notes_are_printed_once_when_data_are_prepared_and_once_when_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(data_summary, "check_settings", lambda *_: None)
    data, study = OwnData("series", "", {}, write_sites(tmp_path / "sites.csv")), load_study("own_data")
    for _ in range(2):
        shown = data_summary.introduce_data("own_data", study, study.scales["smoke"], data, [], str(tmp_path / "data"))
        output = capsys.readouterr()
        assert (output.out + output.err).count("task.scale_by=series") == 1
        assert shown["data"].note.count("task.scale_by=series") == 1, "the page has them in any case"
