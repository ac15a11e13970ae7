#!/bin/sh
# optax 0.2.8: sm3 takes no schedule, though its documentation promises one.
#
# Expected: learning_rate is "either fixed or evolving along iterations with a scheduler", as its docstring says, like
# that of adam. Seen: optax.sm3(schedule) is a TypeError, since the function itself is negated. The guard here:
# training/optimizer.py gives every optimizer the number of each step, so sm3 has all schedules too.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check optax==0.2.8 jax==0.10.2 jaxlib==0.10.2
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import jax
import optax

print("optax", optax.__version__, "jax", jax.__version__)
promised = "with a scheduler" in (optax.sm3.__doc__ or "")
print("promised in the docstring:", promised)
try:
    optax.sm3(optax.constant_schedule(0.1))
except TypeError as error:
    print("TypeError:", error)
    if promised:
        sys.exit(0)
sys.exit("the surprise is gone: sm3 takes a schedule")
PYTHON
