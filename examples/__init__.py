"""Short scripts that show one thing each: `.venv/bin/python -m examples.quickstart`. The tests run all of them."""
