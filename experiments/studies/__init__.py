"""One study a file, found by its name: `python -m experiments.run --list`."""
