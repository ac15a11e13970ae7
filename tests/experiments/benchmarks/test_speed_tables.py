from typing import Any

from experiments.benchmarks import speed_tables
from tests.experiments.benchmarks.test_tables import row


def before(mixer: str, length: int, library: str, seconds: Any, **more: Any) -> dict[str, str]:
    return row(mixer, length, seconds, section="before", library=library, **more)


def speed_rows() -> list[dict[str, str]]:
    ratios = {"ratio": 4.0, "ratio_low": 3.9, "ratio_high": 4.2}
    rows = [row("", 0, "", section="rates", note="a machine; before: revision abc")]
    for length in (64, 256, 1024):
        rows += [before("s4d", length, "ours", 0.1), before("s4d", length, "before", 0.4, **ratios)]
    memory = {"batch": 8, "temporary_bytes": 2**20}
    rows += [before("s4d", 4096, "ours", "", **memory), before("s4d", 4096, "before", "", **memory)]
    return rows


def test_every_mixer_is_in_one_row_with_what_there_is():
    benchmark = [row("s4d", 256, 0.5), row("lstm", 256, 0.2)]
    peers = [row("lstm", 256, 0.3, library="torch", ratio=1.5), row("lstm", 256, 0.4, library="linen", ratio=2.0)]
    lines = speed_tables.mixer_table([*benchmark, *peers], speed_rows()).rows
    assert lines == [
        ["lstm", "200 ms", "50 %", "torch: 1.50 ×", "– / – / –", "–", "–"],
        ["s4d", "100 ms", "50 %", "–", "4.00 × / 4.00 × / 4.00 ×", "1 MiB", "1.00"],
    ]
    assert speed_tables.mixer_table(benchmark, []).rows[1][:2] == ["s4d", "500 ms"]


def test_two_runs_beside_an_earlier_revision_are_compared():
    document = speed_tables.format_document(speed_rows(), speed_rows(), [])
    assert "Of 3 ratios, 3 (100 %) agree within 10 %" in document
    assert "before: revision abc" in document
    assert speed_tables.format_document([], [], []) == ""


def test_packages_stand_beside_ours():
    rows = [row("mingru", 64, 0.1, section="peers")]
    rows += [row("mingru", 64, 0.5, section="peers", library="scan", ratio=5.0, ratio_low=4.8, ratio_high=5.1)]
    rows += [row("mingru", 64, 0.2, section="peers", library="other", note="another model")]
    assert speed_tables.peer_table(rows).rows == [
        ["mingru", "64", "100 ms", "500 ms, 5.00 × (4.80–5.10)", "200 ms, another model"]
    ]


def test_what_was_measured_again_takes_the_place_of_what_was_measured_before():
    """In its own cell alone: a ratio to a time of another run would mean nothing."""
    before = [row("lstm", 64, 0.2, what="step"), row("lstm", 64, 0.1, what="step", library="torch", ratio=0.5)]
    before += [row("lstm", 64, 0.3, what="step", batch=8), row("gru", 64, 0.4, what="step")]
    again = [row("lstm", 64, 0.1, what="step", section="peers")]
    again += [row("lstm", 64, 0.2, what="step", section="peers", library="torch", ratio=2.0)]
    renewed = speed_tables.renew_rows(before, [row("", 0, "", section="rates"), *again])
    assert {(r["mixer"], r["batch"], r["library"]): r["seconds"] for r in renewed} == {
        ("lstm", "8", "ours"): "0.3",
        ("gru", "32", "ours"): "0.4",
        ("lstm", "32", "ours"): "0.1",
        ("lstm", "32", "torch"): "0.2",
    }
    assert {r["section"] for r in renewed} == {"step"}


def test_the_readme_says_how_far_behind_or_ahead():
    rows = [row("lstm", n, 1, library="torch", ratio=ratio) for n, ratio in ((64, 0.9), (256, 1.5))]
    assert "is 0.9 to 1.5 times as fast" in speed_tables.readme_sentence(rows, []).replace("\n ", "")
    assert "cuDNN's LSTM is ahead from 64 steps on" in speed_tables.readme_sentence(rows, rows).replace("\n ", "")
