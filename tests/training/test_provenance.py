"""Where a result comes from: whether the source had changed since its revision."""

import subprocess
from pathlib import Path

from training.provenance import has_changes


def test_records_are_no_source(tmp_path: Path):
    """A command that writes one record after another runs the same source all the time."""
    source, record = tmp_path / "train.py", tmp_path / "experiments" / "records" / "studies" / "slots.csv"
    record.parent.mkdir(parents=True)
    source.write_text("1")
    record.write_text("1")
    assert not has_changes(tmp_path)  # no repository
    identity = ["-c", "user.name=A", "-c", "user.email=a@b.c"]
    for words in (["init", "-q"], ["add", "."], [*identity, "commit", "-q", "-m", "first"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    assert not has_changes(tmp_path)
    record.write_text("2")
    assert not has_changes(tmp_path)
    source.write_text("2")
    assert has_changes(tmp_path)
