from pathlib import Path

import pytest
from experiments.comparison import OUTDATED_MARK, older

import models
from experiments import comparison, mixers
from experiments.ablation.record_files import read_record
from training import builder, files


def line(mixer: str, row: str, seed: int, test: str, died_at: str = "") -> dict[str, str]:
    cost = {"parameters": "1234", "state_floats": "56"}
    return {"mixer": mixer, "row": row, "seed": str(seed), "test": test, "died_at": died_at, **cost}


def test_the_table_is_made_from_the_record():
    """Mean and interval over the seeds that lived, those that diverged named, what was not run said so."""
    lines = [line("lstm", "recall", seed, test) for seed, test in enumerate(("0.2", "0.4", "0.3"))]
    lines += [line("lstm", "copy memory", 0, "0.5"), line("lstm", "copy memory", 1, "", died_at="7")]
    header, rule, row = mixers.mixers_table(lines).splitlines()
    assert header.count("|") == rule.count("|") == row.count("|") == 6
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[0] == "lstm"
    assert cells[1].startswith("0.300 ± 0.24")
    assert "1 of 2 diverged" in cells[2]
    assert cells[3:] == ["1,234", "56"]
    assert "not run" in mixers.mixers_table(lines[:3])


def test_the_record_has_every_mixer_and_the_readme_has_its_table():
    lines, old = mixers.read_mixers_record()
    cells = {(line["mixer"], line["row"], int(line["seed"])) for line in lines}
    names = [*models.MIXERS, mixers.HYBRID_PATTERN]
    assert cells == {(name, row.name, seed) for name in names for row in mixers.MIXER_TASKS for seed in range(3)}
    readme = Path(__file__).parents[2].joinpath("README.md").read_text()
    assert mixers.mixers_table(lines, old) in readme


def test_what_is_of_older_code_is_marked(monkeypatch: pytest.MonkeyPatch):
    """Another VERSION of a mixer or its task, other steps, a seed less, data that can't be had."""

    def as_now(mixer: str) -> list[dict[str, str]]:
        """The record's lines with the keys that they would have now."""
        lines = [line for line in read_record(mixers.MIXERS_RECORD) if line["mixer"] == mixer]
        for line in lines:
            row = next(row for row in mixers.MIXER_TASKS if row.name == line["row"])
            config = comparison.configure(row, mixer, (0, 1, 2), (float(line["learning_rate"]),))
            line["key"] = files.fingerprint(comparison.config_identity(builder.build_run(config).config))
        return lines

    gru, lstm = as_now("gru"), as_now("lstm")
    assert len(gru) == len(lstm) == 6
    assert older(gru, mixers.MIXER_TASKS) == []
    assert older(gru[1:], mixers.MIXER_TASKS) == gru[1:3]  # the group was of three
    longer = [
        mixers.MIXER_TASKS[0],
        mixers.MIXER_TASKS[1]._replace(changes={**mixers.MIXER_TASKS[1].changes, "training.steps": 2000}),
    ]
    assert older([*gru, *lstm], longer) == [*gru[:3], *lstm[:3]]
    assert older(gru, mixers.MIXER_TASKS[:1]) == gru[:3]
    with monkeypatch.context() as patched:
        patched.setattr(models, "mixer_version", lambda mixer: 9)
        assert older(gru, mixers.MIXER_TASKS) == gru
    table = mixers.mixers_table([*gru, *lstm], gru[:3])
    assert table.count(OUTDATED_MARK) == 1
    (row,) = (row for row in table.splitlines() if OUTDATED_MARK in row)
    assert row.startswith("| gru |")
    assert row.split("|")[3].strip().endswith(OUTDATED_MARK)  # the column of copy memory

    def missing(*_: object) -> None:
        raise FileNotFoundError("not installed")

    monkeypatch.setattr(comparison, "config_identity", missing)
    assert older(gru, mixers.MIXER_TASKS) == gru


@pytest.mark.parametrize("row", mixers.MIXER_TASKS, ids=lambda row: row.name)
def test_what_was_recorded_is_what_would_be_run(row):
    """The number of steps and, but for a change of a mixer's VERSION, the settings behind a chosen rate."""
    steps = {line["steps"] for line in read_record(mixers.MIXERS_RECORD) if line["row"] == row.name}
    assert steps == {str(row.changes["training.steps"])}
