import pytest

from experiments.reporting import scorecard
from tests.experiments.reporting import make_trial


def trials(mixer: str) -> dict:
    labels = {"mixer": mixer}
    cost = {"stream time@128": 65e-6, "stream time@2048": 1e-4, "state@2048": 4096.0, "step depth@512": 1234.0}
    cost |= {f"step time@{length}": length * 1e-5 for length in (64, 128, 256)}
    memory = {"reach@64": 0.25, "permuted": 1.5}
    return {
        "score_cost": [make_trial(labels, 0, 0.0, cost)],
        "score_memory": [make_trial(labels, seed, 0.5 + seed / 100, memory) for seed in range(3)],
        "score_context": [make_trial(labels, 0, 0.0, {"test@2": 0.75, "test@12": 0.25})],
        "mixers": [make_trial({"task": "recall", **labels}, seed, 0.9) for seed in range(3)],
    }


def test_a_mixer_has_a_figure_in_every_column():
    header, _, row = scorecard.scorecard_table(trials("rglru,attention"), {"rglru,attention": 2}).splitlines()
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert header.count("|") == row.count("|") == len(scorecard.SCORECARD_HEADER) + 1
    assert cells[0] == "rglru + attention †"
    assert cells[1:4] == ["65", "100", "4,096"]
    assert cells[4].startswith("1.00")
    assert cells[5:7] == ["1,234", "0.90 (no spread seen)"]
    assert cells[7].startswith("0.51")
    assert cells[8:] == ["0.25", "0.75", "0.25", "1.50"]


def test_a_mixer_without_recall_has_a_dash_there():
    some = {**trials("lstm"), "mixers": []}
    row = scorecard.scorecard_table(some).splitlines()[-1].split(" | ")
    assert row[0] == "| lstm"
    assert row[6] == "–"


def test_a_missing_record_is_named():
    with pytest.raises(ValueError, match=r"score_cost-smoke\.csv is missing; python -m experiments\.run --study="):
        scorecard.read_scorecard_records("smoke")
