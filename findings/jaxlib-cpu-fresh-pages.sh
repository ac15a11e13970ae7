#!/bin/sh
# jaxlib 0.10.2 on Linux: a compiled CPU program gets the memory of a large result from the system anew at every call.
#
# Expected: what the last call freed is used again. Seen: exp of 32 MiB takes 8,192 page faults a call, one for each page
# of its result (16 where the system uses pages of 2 MiB), since glibc maps and unmaps what is so large; told by mallopt
# to keep it, the same calls take none.
# The guard here: training/runtime.py tells glibc so. RECUR_OR_ATTEND_MALLOC=plain leaves the memory as it is.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check jax==0.10.2 jaxlib==0.10.2
cat > "$folder/faults.py" <<'PYTHON'
import ctypes
import resource
import sys

keep = sys.argv[1] == "keep"
if keep:
    for option, value in ((-4, 0), (-1, -1), (-2, 64 * 2**20)):  # M_MMAP_MAX, M_TRIM_THRESHOLD, M_TOP_PAD
        ctypes.CDLL(None).mallopt(option, value)

import jax
import jax.numpy as jnp

jax.config.update("jax_cpu_enable_async_dispatch", not keep)  # else another thread, with memory of its own, computes
exp, x = jax.jit(jnp.exp), jnp.zeros(2**23)
for _ in range(40):
    jax.block_until_ready(exp(x))
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    jax.block_until_ready(exp(x))
faults = (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 20
print("jaxlib", jax.lib.__version__, f"mallopt {sys.argv[1]}: {faults:,.0f} page faults a call")
sys.exit(0 if (faults < 8 if keep else faults >= 16) else "the surprise is gone")
PYTHON
"$folder/venv/bin/python" "$folder/faults.py" plain
"$folder/venv/bin/python" "$folder/faults.py" keep
