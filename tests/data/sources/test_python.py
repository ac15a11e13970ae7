import platform
from pathlib import Path

import pytest

import data
from data.sources import python


def test_the_library_is_there_and_its_tests_are_not():
    modules = python.read_source()
    assert {"abc.py", "asyncio/base_events.py", "argparse.py"} <= set(modules)
    assert not any("test" in module.split("/")[:-1] for module in modules)
    assert sum(map(len, modules.values())) > 8_000_000


def test_a_package_is_in_one_split():
    split = {}
    for subset, module, _ in python.Python.generate_records():
        assert split.setdefault(module.split("/")[0], subset) == subset
    assert set(split.values()) == set(data.SPLITS)


def test_the_version_is_that_of_python():
    assert str(python.Python.VERSION) == ".".join(platform.python_version_tuple()[:2]) + "." + str(
        int("".join(c for c in platform.python_version_tuple()[2] if c.isdigit()))
    )


def test_a_python_without_its_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(python.sysconfig, "get_paths", lambda: {"stdlib": str(tmp_path)})
    with pytest.raises(FileNotFoundError, match=r"holds no source of Python's standard library, as some packagings"):
        python.read_source()


def test_what_is_not_ascii_is_a_question_mark(monkeypatch: pytest.MonkeyPatch):
    """Said so in the code, and only there: other sets keep or refuse such characters."""
    monkeypatch.setattr(python, "read_source", lambda: {"a.py": "aé…"})
    ((_, _, record),) = python.Python.generate_records()
    assert record["text"].tobytes() == b"a??"
