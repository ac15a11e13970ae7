"""What a command does before its slow imports. This module imports nothing heavy itself."""

import os
import signal
from typing import Any


def catch_interrupts() -> None:
    """Until `cli.report_errors` takes over, let Ctrl-C end the program with one line and no traceback of an import."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # it may be ignored, as in the background
        signal.signal(signal.SIGINT, exit_interrupted)


def exit_interrupted(*_: Any) -> None:
    """Exit at once, with the status of an interrupted process."""
    os.write(2, b"interrupted\n")
    os._exit(128 + signal.SIGINT)
