"""What a command does before it imports what takes seconds."""

import os
import signal
from typing import Any


def catch_interrupts() -> None:
    """From here until `command.report_errors`, Ctrl-C ends the program with one line, not with the traceback of an
    import."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not where it is ignored, as in the background
        signal.signal(signal.SIGINT, exit_interrupted)


def exit_interrupted(*_: Any) -> None:
    """End this process at once, with the exit status of an interrupted one."""
    os.write(2, b"interrupted\n")
    os._exit(128 + signal.SIGINT)
