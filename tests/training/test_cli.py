import errno
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest
from absl import flags
from absl.testing import flagsaver

from training import cli, startup


def test_an_error_that_a_user_can_mend_is_one_line_and_status_1(capsys):
    def fails():
        raise ValueError("first\n  second")

    with pytest.raises(SystemExit) as stop:
        cli.report_errors(fails)
    assert stop.value.code == 1
    assert capsys.readouterr().err == "error: first second\n"


def test_an_os_error_names_its_file(capsys):
    def fails():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/somewhere/x")

    with pytest.raises(SystemExit):
        cli.report_errors(fails)
    assert capsys.readouterr().err == "error: /somewhere/x: No space left on device\n"


def test_too_little_memory_is_one_line_too(capsys):
    def fails():
        raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 10 bytes.")

    with pytest.raises(SystemExit):
        cli.report_errors(fails)
    assert capsys.readouterr().err.startswith("error: out of memory: RESOURCE_EXHAUSTED: Out of memory allocating")


@pytest.mark.parametrize("given", ["", " "])
def test_an_empty_name_is_no_directory(given: str):
    values = flags.FlagValues()
    cli.define_directory("workdir", "runs/x", "Where.", flag_values=values)
    with pytest.raises(flags.IllegalFlagValueError, match=f"^flag --workdir={given}: names no directory$"):
        values(["program", f"--workdir={given}"])


def test_a_tilde_is_the_home_directory(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", "/home/someone")
    values: Any = flags.FlagValues()
    for name, default in (("workdir", None), ("data_dir", "~/data"), ("more", "data")):
        cli.define_directory(name, default, "Where.", flag_values=values)
    values(["program", "--workdir=~/runs/~x"])
    assert (values.workdir, values.data_dir, values.more) == ("/home/someone/runs/~x", "/home/someone/data", "data")


@pytest.mark.parametrize(
    "path", sorted((Path(cli.__file__).parents[1] / "experiments").glob("*.py")), ids=lambda p: p.stem
)
def test_every_command_asks_for_its_directories_in_the_same_way(path: Path):
    """But for explore, whose --workdir is a list."""
    text = path.read_text()
    others = re.findall(r'flags\.DEFINE_(\w+)\(\s*"(?:workdir|data_dir)"', text)
    assert others == (["list"] if path.stem == "explore" else [])


def raise_bug():
    raise RuntimeError("a bug")


def test_a_mistake_of_ours_is_not_hidden():
    with pytest.raises(ZeroDivisionError):
        cli.report_errors(lambda: 1 / 0)
    with pytest.raises(RuntimeError, match="a bug"):
        cli.report_errors(raise_bug)


def test_a_stopped_run_leaves_with_the_status_of_its_signal(capsys):
    def stops():
        raise cli.Preempted("saved", 143)

    with pytest.raises(SystemExit) as stop:
        cli.report_errors(stops)
    assert stop.value.code == 143
    assert capsys.readouterr().err == "saved\n"


def test_a_signal_waits_to_be_asked_about_and_a_second_ctrl_c_interrupts():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), cli.GracefulShutdown() as signals:  # noqa: PT012
        os.kill(os.getpid(), signal.SIGINT)
        assert signals.caught == signal.SIGINT
        os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_closed_terminal_is_waited_for_alike_unless_it_is_ignored():
    before = signal.getsignal(signal.SIGHUP)
    with cli.GracefulShutdown() as signals:
        signal.raise_signal(signal.SIGHUP)
        assert signals.caught == signal.SIGHUP
    try:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # nohup
        with cli.GracefulShutdown() as signals:
            signal.raise_signal(signal.SIGHUP)
            assert signals.caught is None
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_ctrl_c_interrupts_inside_a_command_and_leaves_at_once_around_it():
    before = signal.signal(signal.SIGINT, startup.exit_interrupted)
    try:
        inside = cli.report_errors(lambda: signal.getsignal(signal.SIGINT))
        assert inside is signal.default_int_handler
        assert signal.getsignal(signal.SIGINT) is startup.exit_interrupted
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_command_may_have_no_flags_at_all():
    with flagsaver.as_parsed():
        assert cli.parse_flags(["program"]) == ["program"]
