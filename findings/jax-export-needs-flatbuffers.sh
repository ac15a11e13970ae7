#!/bin/sh
# jax 0.10.2: jax.export can neither write nor read a program in an environment that has jax and all that it requires.
#
# Expected: what `pip install jax` installs is enough for a public module of jax, or an extra of jax names what is missing.
# Seen: `Exported.serialize` and `deserialize` raise "Please install 'flatbuffers'", which is among neither the
# requirements nor the extras, so that a machine that is to run an exported program fails at its first call.
# The guard here: the extra `export` requires it, and training/exported_programs.py says so before anything is written.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check jax==0.10.2 jaxlib==0.10.2
"$folder/venv/bin/python" - <<'PYTHON'
import sys
from importlib.metadata import requires

import jax
import jax.numpy as jnp
from jax import export

exported = export.export(jax.jit(jnp.sin))(jax.ShapeDtypeStruct((3,), jnp.float32))
try:
    exported.serialize()
    seen = "serialized"
except ImportError as error:
    seen = f"ImportError: {error}"
named = [line for line in requires("jax") or [] if "flatbuffers" in line]
print("jax", jax.__version__, "serialize:", seen, "; requirements and extras that name flatbuffers:", named)
sys.exit(0 if seen.startswith("ImportError") and not named else "the surprise is gone")
PYTHON
