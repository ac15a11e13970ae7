"""What all commands share: flags, errors in one line, and signals that wait for a good moment."""

import itertools
import os
import re
import runpy
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from absl import app, flags, logging

from training import startup
from training.console import print_status

SIGNAL_NAMES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM", signal.SIGHUP: "SIGHUP"}
_MAX_RANGE = 10_000  # the most numbers that a range such as 0..9 may stand for


class Preempted(Exception):
    """A run was stopped by a signal, after it was saved. `code` is the exit status: 128 + the signal."""

    def __init__(self, message: str, code: int):
        super().__init__(message)
        self.code = code


class GracefulShutdown:
    """A context in which Ctrl-C, SIGTERM and SIGHUP only set `caught`, for the caller to act on.

    A second Ctrl-C raises KeyboardInterrupt. SIGHUP stays ignored if it was (nohup). In a thread, where Python allows
    no signal handlers, nothing is caught: whoever started the thread has other ways to stop it.
    """

    caught: signal.Signals | None = None

    def __enter__(self) -> "GracefulShutdown":
        numbers = [n for n in SIGNAL_NAMES if n != signal.SIGHUP or signal.getsignal(n) != signal.SIG_IGN]
        if threading.current_thread() is not threading.main_thread():
            numbers = []
        self.previous = {number: signal.signal(number, self._handle_signal) for number in numbers}
        self.terminals = [stream for stream in range(3) if os.isatty(stream)]
        return self

    def __exit__(self, *_: Any) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)

    def _handle_signal(self, number: int, _: Any) -> None:
        if self.caught is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.caught = signal.Signals(number)
        if number == signal.SIGHUP:
            for stream in self.terminals:
                if not os.isatty(stream):  # it was closed, and writing to it would fail
                    os.dup2(os.open(os.devnull, os.O_RDWR), stream)


def run_command(main: Callable[[], None]) -> None:
    """Parse the flags and call `main`. Errors that a user can mend are printed in one line, with exit status 1."""
    flags.DEFINE_bool("traceback", False, "Show where in the program an error came from.")
    for flag in flags.FLAGS.get_flags_for_module(__name__):  # --help lists those of the command and no others
        flags.FLAGS.register_key_flag_for_module(sys.argv[0], flag)
    logging.set_verbosity(logging.FATAL)  # Orbax logs every step of a save, and the errors that it raises as well
    sys.unraisablehook = _ignore_late_orbax_errors
    # Python prints this at any time after a disk was full while Orbax was writing.
    warnings.filterwarnings("ignore", message="coroutine 'async_serialize.* was never awaited")
    app.run(lambda _: report_errors(main), flags_parser=lambda argv: report_errors(lambda: parse_flags(argv)))


def _ignore_late_orbax_errors(unraisable: Any) -> None:
    """An unraisablehook that drops what TensorStore reports to an event loop that Orbax has closed after an error."""
    if str(unraisable.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(unraisable)


class DirectoryParser(flags.ArgumentParser):
    """Parses a directory. It can't be empty, and a leading "~" is the home directory: shells leave it after "="."""

    syntactic_help = "a directory"

    def parse(self, argument: str) -> str:
        """The directory, with "~" expanded. Raises ValueError if it is empty."""
        if not argument.strip():
            raise ValueError("names no directory")
        return os.path.expanduser(argument)


def define_directory(
    name: str, default: str | None, text: str, *, flag_values: flags.FlagValues = flags.FLAGS, required: bool = False
) -> None:
    """Define a flag that names a directory."""
    flags.DEFINE(DirectoryParser(), name, default, text, flag_values=flag_values, required=required)


def parse_flags(argv: Sequence[str]) -> list[str]:
    """Parse flags as absl does. Raises ValueError, in one line, for wrong flags and for words that are no flags."""
    _check_config_file_exists(argv)
    try:
        rest = flags.FLAGS(_normalize_config_flags(argv))
    except (flags.Error, AttributeError, KeyError, TypeError) as error:
        raise ValueError(
            _explain_unknown_field(argv) or _explain_unknown_flag(error, argv) or format_error(error)
        ) from error
    if len(rest) > 1:
        raise ValueError(f"{rest[1]!r} is no flag; flags look like --name=value, and --help lists them")
    return rest


def _check_config_file_exists(argv: Sequence[str]) -> None:
    for word, next_word in itertools.pairwise([*argv[1:], ""]):
        name, equals, value = word.lstrip("-").partition("=")
        value = value if equals else next_word
        if name == "config" and not (path := Path(value.split(":")[0] or "configs")).is_file():
            folder = path if path.is_dir() else path.parent
            known = ", ".join(sorted(str(file) for file in folder.glob("[a-z]*.py"))) or "none there"
            raise ValueError(f"--config={value}: no such file; there are {known}")


def _normalize_config_flags(argv: Sequence[str]) -> list[str]:
    """Rewrite values of --config.FIELD for ml_collections: 0..3,7 as 0,1,2,3,7, and the empty value of a tuple as ().

    Raises ValueError for a range that goes down or is too long.
    """
    words = list(argv)
    for index, word in enumerate(words):
        name, given, value = word.partition("=")
        if not name.lstrip("-").startswith("config.") or (not given and index + 1 == len(words)):
            continue
        value = value if given else words[index + 1]
        if re.fullmatch(r"\d+(\.\.\d+)?(,\d+(\.\.\d+)?)*,?", value) and ".." in value:
            value = "".join(f"{n}," for part in value.strip(",").split(",") for n in _expand_range(part, name))
        elif not value and isinstance(_config_field(_read_config_file(words), name.lstrip("-")), tuple):
            value = "()"
        words[index if given else index + 1] = f"{name}={value}" if given else value
    return words


def _expand_range(part: str, name: str) -> Sequence[int]:
    """The numbers of "5" or "3..5", with both ends."""
    first, *rest = map(int, part.split(".."))
    last = rest[0] if rest else first
    if not 0 <= last - first < _MAX_RANGE:
        raise ValueError(f"{name}={part}: a range goes up, as 0..9, and has at most {_MAX_RANGE} numbers")
    return range(first, last + 1)


def _read_config_file(argv: Sequence[str]) -> Any:
    """Load the file that --config names, before flags change it. None if there is none or it raises an error."""
    files = [
        word.partition("=")[2] or after
        for word, after in itertools.pairwise([*argv[1:], ""])
        if word.lstrip("-").partition("=")[0] == "config"
    ]
    file, *mixer = files[-1].split(":") if files else [""]
    try:
        return runpy.run_path(file)["get_config"](*mixer)
    except Exception:  # absl reports it as well
        return None


def _config_field(config: Any, name: str) -> Any:
    """The value of `config.GROUP.FIELD`, or None if there is no such field."""
    for part in name.split(".")[1:]:
        config = config[part] if part in getattr(config, "keys", list)() else None
    return config


def _explain_unknown_flag(error: Exception, argv: Sequence[str]) -> str | None:
    """The message for an unknown flag that is a field of the config. None for any other error."""
    if not isinstance(error, flags.UnrecognizedFlagError) or "config" not in flags.FLAGS:
        return None
    name = error.flagname
    if name == "mixer":
        return "--mixer: the mixer stands behind the colon, as in --config=configs/recall.py:lstm"
    config = _read_config_file(argv) or {}
    groups = [group for group in config if name in getattr(config[group], "keys", list)()]
    return f"--{name}: no such flag; did you mean --config.{groups[0]}.{name}?" if groups else None


def _explain_unknown_field(argv: Sequence[str]) -> str | None:
    """The message for the first --config.FIELD that the config does not have. None if it has all of them."""
    from configs import suggest_field  # with models, which not every command imports before its flags are read

    names = [name for name in (word.lstrip("-").partition("=")[0] for word in argv[1:]) if name.startswith("config.")]
    if names and not any(word.lstrip("-").partition("=")[0] == "config" for word in argv[1:]):
        return f"--{names[0]}: give --config=FILE too; --help shows how"
    if (config := _read_config_file(argv)) is None:  # the error is in the file, not in a field
        return None
    for name in names:
        tree, path = config, "config"
        for part in name.split(".")[1:]:
            known = list(getattr(tree, "keys", list)())
            if part not in known:
                hint = suggest_field(f"{path}.{part}".removeprefix("config."), known)
                return f"--{name}: {path} has no field {part}; {hint}it has {', '.join(known) or 'none'}"
            tree, path = tree[part], f"{path}.{part}"
    return None


def report_errors(function: Callable[[], Any]) -> Any:
    """Call `function` and return its value. Errors that a user can mend are printed in one line and end the program."""
    is_waiting = signal.getsignal(signal.SIGINT) is startup.exit_interrupted
    if is_waiting:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return function()
    except Preempted as preempted:
        print_status(str(preempted))
        sys.exit(preempted.code)
    except KeyboardInterrupt:
        print_status("interrupted")
        sys.exit(128 + signal.SIGINT)
    except (ValueError, OSError) as error:
        if "--traceback" in sys.argv:
            raise
        print(f"error: {format_error(error)}", file=sys.stderr)
        sys.exit(1)
    except (RuntimeError, AssertionError) as error:
        if "--traceback" in sys.argv:
            raise
        if line := _explain_missing_device(error):
            print_status(f"error: {line}")
            sys.exit(1)
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        print(
            f"error: out of memory: {format_error(error)}; try fewer members, a smaller batch or width",
            file=sys.stderr,
        )
        sys.exit(1)
    finally:
        if is_waiting:
            signal.signal(signal.SIGINT, startup.exit_interrupted)


def _explain_missing_device(error: BaseException) -> str | None:
    """The message if JAX finds none of the devices that JAX_PLATFORMS names. None for any other error.

    JAX raises many kinds of errors for it, all in one file.
    """
    origin = traceback.extract_tb(error.__traceback__)[-1]
    if Path(origin.filename).name != "xla_bridge.py":
        return None
    import jax

    if not (requested := getattr(jax.config, "jax_platforms", None)):
        return None
    jax.config.update("jax_platforms", None)
    platforms = ", ".join(sorted({device.platform for device in jax.devices()}))
    return f"JAX_PLATFORMS={requested}: JAX finds no such device here, or has no plugin for it; it finds {platforms}"


def format_error(error: BaseException) -> str:
    """The message of an error in one line: with the file of an OSError, and the last message of a nested traceback."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if isinstance(error, flags.IllegalFlagValueError) and "Non-boolean" in str(error):
        return str(error).split(": (")[0] + ": must be True or False"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    nested = [line for line in lines if re.match(r"\w+Error: ", line)]
    return nested[-1].split(": ", 1)[1] if nested else " ".join(lines)[:600] or type(error).__name__
