"""What every command of this project shares: flags, errors in one line, and signals that wait for a good moment."""

import difflib
import itertools
import os
import re
import runpy
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from absl import app, flags, logging

import startup

INTERRUPTED = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM", signal.SIGHUP: "SIGHUP"}


class Stopped(Exception):
    """A run ended early because it was asked to; `code` is the exit status that says so (128 + the signal)."""

    def __init__(self, message: str, code: int):
        super().__init__(message)
        self.code = code


class Signals:
    """Inside `with Signals() as signals`, Ctrl-C, SIGTERM and SIGHUP only set `signals.caught`; a second Ctrl-C
    interrupts. SIGHUP stays ignored where it was (nohup).
    """

    caught: signal.Signals | None = None

    def __enter__(self) -> "Signals":
        numbers = [n for n in INTERRUPTED if n != signal.SIGHUP or signal.getsignal(n) != signal.SIG_IGN]
        self.before = {number: signal.signal(number, self.catch) for number in numbers}
        self.terminals = [stream for stream in range(3) if os.isatty(stream)]
        return self

    def __exit__(self, *_: Any) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def catch(self, number: int, _: Any) -> None:
        if self.caught is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.caught = signal.Signals(number)
        if number == signal.SIGHUP:
            for stream in self.terminals:
                if not os.isatty(stream):  # it is closed, and any word to it would be an error
                    os.dup2(os.open(os.devnull, os.O_RDWR), stream)


def run(main: Callable[[], None]) -> None:
    """Parse the flags and call `main`; what the user can mend is told in one line, with exit status 1."""
    flags.DEFINE_bool("traceback", False, "Show where in the program an error came from.")
    logging.set_verbosity(logging.FATAL)  # Orbax reports every step of a save, and errors that it raises too
    sys.unraisablehook = unless_late
    # What Orbax had begun to write when the disk was full, told in Python's words at a moment of its own choosing.
    warnings.filterwarnings("ignore", message="coroutine 'async_serialize.* was never awaited")
    app.run(lambda _: told(main), flags_parser=lambda argv: told(lambda: parse(argv)))


def unless_late(unraisable: Any) -> None:
    """Python's own hook, but for what TensorStore tells an event loop that Orbax closed on its first error."""
    if str(unraisable.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(unraisable)


class Directory(flags.ArgumentParser):
    """Of a flag that names a directory: not "", which would be the one where the program runs; and a "~" in front is
    the home directory, which shells see to only where it begins a word."""

    syntactic_help = "a directory"

    def parse(self, argument: str) -> str:
        if not argument.strip():
            raise ValueError("names no directory")
        return os.path.expanduser(argument)


def define_directory(
    name: str, default: str | None, text: str, *, flag_values: flags.FlagValues = flags.FLAGS, required: bool = False
) -> None:
    flags.DEFINE(Directory(), name, default, text, flag_values=flag_values, required=required)


def parse(argv: Sequence[str]) -> list[str]:
    """absl's parsing, whose errors come as ValueErrors of one line, and where a word that is no flag is one too."""
    for word, after in itertools.pairwise([*argv[1:], ""]):
        name, given, value = word.lstrip("-").partition("=")
        value = value if given else after
        if name == "config" and not (path := Path(value.split(":")[0] or "configs")).is_file():
            folder = path if path.is_dir() else path.parent
            known = ", ".join(sorted(str(file) for file in folder.glob("[a-z]*.py"))) or "none there"
            raise ValueError(f"--config={value}: no such file; there are {known}")
    try:
        rest = flags.FLAGS(list(argv))
    except (flags.Error, AttributeError, KeyError, TypeError) as error:
        raise ValueError(unknown_field(argv) or one_line(error)) from error
    if len(rest) > 1:
        raise ValueError(f"{rest[1]!r} is no flag; flags look like --name=value, and --help lists them")
    return rest


def unknown_field(argv: Sequence[str]) -> str | None:
    """What to say of the first --config.FIELD that the config does not have; None where all exist."""
    words = [word.lstrip("-").partition("=") for word in argv[1:]]
    files = [value for name, _, value in words if name == "config"]
    names = [name for name, _, _ in words if name.startswith("config.")]
    if not files:
        return f"--{names[0]}: give --config=FILE too; --help shows how" if names else None
    file, *mixer = files[-1].split(":")
    try:
        config = runpy.run_path(file)["get_config"](*mixer)
    except Exception:  # then it is the file that absl complained of, not a field
        return None
    for name in names:
        tree, path = config, "config"
        for part in name.split(".")[1:]:
            known = list(getattr(tree, "keys", list)())
            if part not in known:
                near = difflib.get_close_matches(part, known, n=1)
                hint = f"did you mean {near[0]}? " if near else ""
                return f"--{name}: {path} has no field {part}; {hint}it has {', '.join(known) or 'none'}"
            tree, path = tree[part], f"{path}.{part}"
    return None


def told(what: Callable[[], Any]) -> Any:
    """`what()`, with the errors that a user can mend as one line on standard error."""
    waiting = signal.getsignal(signal.SIGINT) is startup.leave
    if waiting:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return what()
    except Stopped as stopped:
        say(str(stopped))
        sys.exit(stopped.code)
    except KeyboardInterrupt:
        say("interrupted")
        sys.exit(128 + signal.SIGINT)
    except (ValueError, OSError) as error:
        if "--traceback" in sys.argv:
            raise
        print(f"error: {one_line(error)}", file=sys.stderr)
        sys.exit(1)
    except RuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error) or "--traceback" in sys.argv:
            raise
        print(f"error: out of memory: {one_line(error)}; try fewer replicas, a smaller batch or width", file=sys.stderr)
        sys.exit(1)
    finally:
        if waiting:
            signal.signal(signal.SIGINT, startup.leave)


def say(line: str) -> None:
    """A line on standard error, which no one may read any more."""
    try:
        print(line, file=sys.stderr, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_RDWR), 2)  # or Python tries again when it ends


def one_line(error: BaseException) -> str:
    """The message of `error` in one line: of an OSError with its file, of a nested traceback the last message."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if isinstance(error, flags.IllegalFlagValueError) and "Non-boolean" in str(error):
        return str(error).split(": (")[0] + ": must be True or False"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    nested = [line for line in lines if re.match(r"\w+Error: ", line)]
    return nested[-1].split(": ", 1)[1] if nested else " ".join(lines)[:600] or type(error).__name__
