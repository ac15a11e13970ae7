"""Studies, benchmarks and reports: what people type."""

import sys

from training import startup

if sys.argv[:1] == ["-m"]:  # `python -m experiments.NAME` imports this first, and says so by this word
    startup.catch_interrupts()
