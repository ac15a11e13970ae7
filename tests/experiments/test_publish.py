from pathlib import Path
from types import SimpleNamespace

import pytest

from experiments import publish


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository whose page has two blocks, each with a builder of its own."""

    def missing():
        raise ValueError("some.csv is missing; a command makes it")

    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text("".join(f"<!-- begin {name} -->\n<!-- end {name} -->\n" for name in "abc"))
    builders = {"first": lambda: {"a": "| x |", "b": "text"}, "second": lambda: {"c": "more"}, "third": missing}
    monkeypatch.setattr(publish, "BUILDERS", builders)
    return tmp_path


def test_check_says_what_is_stale_and_writes_nothing(root: Path):
    before = (root / "README.md").read_bytes()
    assert publish.publish_parts(["first", "second"], root, check=True) == [
        "README.md: a, b is stale; python -m experiments.publish --only=first makes it anew",
        "README.md: c is stale; python -m experiments.publish --only=second makes it anew",
    ]
    assert (root / "README.md").read_bytes() == before
    assert publish.publish_parts(["first", "second"], root, check=False) == []
    assert publish.publish_parts(["first", "second"], root, check=True) == []


def test_a_missing_record_is_a_line_and_the_others_are_written(root: Path):
    lines = publish.publish_parts(["third", "first"], root, check=False)
    assert lines == ["third: some.csv is missing; a command makes it"]
    assert "| x |" in (root / "README.md").read_text()


def test_a_builder_that_would_lose_rows_writes_nothing(root: Path, monkeypatch: pytest.MonkeyPatch):
    assert not publish.publish_parts(["first"], root, check=False)
    before = (root / "README.md").read_bytes()
    monkeypatch.setitem(publish.BUILDERS, "first", lambda: {"a": "nothing", "b": "new text"})
    (line,) = publish.publish_parts(["first"], root, check=False)
    assert line.startswith("first: README.md: a shows x, whose record is missing or holds less")
    assert (root / "README.md").read_bytes() == before


def test_the_command_ends_with_status_1_where_something_is_stale(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(publish, "ROOT", root)
    monkeypatch.setattr(publish, "flags", SimpleNamespace(FLAGS=SimpleNamespace(only=["second"], check=True)))
    with pytest.raises(SystemExit) as stopped:
        publish.main()
    assert stopped.value.code == 1
    assert "README.md: c is stale" in capsys.readouterr().err
    monkeypatch.setattr(publish, "flags", SimpleNamespace(FLAGS=SimpleNamespace(only=["second"], check=False)))
    publish.main()
    assert "wrote README.md: c" in capsys.readouterr().out
    monkeypatch.setattr(publish, "flags", SimpleNamespace(FLAGS=SimpleNamespace(only=["secnd"], check=True)))
    with pytest.raises(ValueError, match=r"--only=secnd: must be one of .*did you mean second"):
        publish.main()
