from experiments.ablation.record_files import read_record
from experiments.benchmarks import newton_lengths


def test_the_record_has_every_case_and_the_solvers_agree():
    rows = read_record(newton_lengths.RECORD)
    assert not list(newton_lengths.missing_cases(rows, "cpu"))
    for row in rows:
        assert float(row["difference"]) < 1e-5
        assert int(row["iterations"]) <= 5 * int(row["chunks"]), "few in practice"


def test_a_small_row_is_like_those_of_the_record(monkeypatch):
    monkeypatch.setattr(newton_lengths, "REPEATS", (1, 1))
    row = newton_lengths.measure_row("paralstm", 2, 12, width=4)
    assert list(row) == list(read_record(newton_lengths.RECORD)[0])
    assert float(row["difference"]) < 1e-5


def test_crossings_name_the_first_length_from_which_on_it_is_ahead():
    row = {"mixer": "paragru", "batch": "1", "device": "cpu"}
    rows = [row | {"length": str(length), "ratio": ratio} for length, ratio in ((256, "0.9"), (64, "2"), (1024, "0.5"))]
    (line,) = newton_lengths.format_crossings(rows)
    assert "ahead from 256 steps on" in line
    (line,) = newton_lengths.format_crossings([*rows, row | {"length": "4096", "ratio": "1.1"}])
    assert "not ahead" in line
