#!/bin/sh
# safetensors 0.8.0: safetensors.numpy writes a transposed or strided array as its memory lies, without a word.
#
# Expected: the values that went in come back, as with 0.7.0, or an error, as safetensors.torch has for such tensors. Seen:
# same shape and dtype, other values: the bytes are taken from the array's first element on, as if it were in C order
# (https://github.com/safetensors/safetensors/issues/825). Whoever writes `kernel.T` for a program of the other convention
# loses the model, and learns of it by its outputs.
# The guard here: training/safetensors_files.py puts every array in C order first, and a test writes transposed ones.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
for version in 0.7.0 0.8.0; do
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check "safetensors==$version" numpy==2.3.5
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import numpy as np
import safetensors
from safetensors.numpy import load, save

whole = np.arange(6, dtype=np.float32).reshape(2, 3)
same = {}
for name, array in {"plain": whole, "transposed": whole.T, "every other column": whole[:, ::2]}.items():
    back = load(save({"a": array}))["a"]
    same[name] = bool(np.array_equal(back, array))
    print("safetensors", safetensors.__version__, f"{name}: {array.tolist()} comes back as {back.tolist()}")
holds = list(same.values()) == ([True, False, False] if safetensors.__version__ == "0.8.0" else [True] * 3)
sys.exit(0 if holds else "the surprise is gone")
PYTHON
done
