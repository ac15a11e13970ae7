"""Lines on standard error, for a person who may have stopped reading them."""

import os
import sys


def print_status(line: str) -> None:
    """Print a line to standard error. If it can't be written any more, send this and all later lines nowhere."""
    try:
        print(line, file=sys.stderr, flush=True)
    except OSError:
        # Without this, Python would try to write the line again at exit, and fail.
        os.dup2(os.open(os.devnull, os.O_RDWR), 2)
