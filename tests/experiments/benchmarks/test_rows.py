import json
from pathlib import Path

import pytest

from experiments.benchmarks.rows import COLUMNS, KEY, TEXT_COLUMNS, read_rows
from tests.experiments.benchmarks import KEPT


def test_columns_are_text_or_numbers():
    text = {"section", "what", "mixer", "library", "dtype", "options", "note"}
    assert text | {KEY} == TEXT_COLUMNS
    assert text < set(COLUMNS)


@pytest.mark.parametrize(
    "line",
    ["{}", "[]", "null", "3", '"rows"', '{"rows": 3}', '{"rows": [3]}', '{"rows": [{}]}', "{" * 9, "[" * 100_000,
     '{"section": 3, "key": "x"}', '{"section": "step", "key": "x", "seconds": "0.5"}', "", "\xff",
     '{"section": "step", "key": "x", "secnds": 0.5}'],
)  # fmt: skip
def test_a_damaged_line_is_named(line: str, tmp_path: Path):
    path = tmp_path / "rows.jsonl"
    first, second = (json.dumps(line).encode() for line in KEPT)
    path.write_bytes(b"\n".join([first, line.encode("latin-1"), second, b""]))
    with pytest.raises(ValueError, match=r"rows\.jsonl: line 2 is damaged; delete that line, and") as caught:
        read_rows(path)
    assert "\n" not in str(caught.value)
