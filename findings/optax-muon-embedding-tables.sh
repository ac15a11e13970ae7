#!/bin/sh
# optax 0.2.8: Muon orthogonalizes an embedding table, and gives a fused attention kernel to Adam.
#
# Expected: hidden weight matrices are orthogonalized and everything else goes to Adam, as in Muon's own description
# (Jordan et al. 2024: embeddings, the head, biases and gains are for AdamW). Seen: by default the number of axes
# decides. An embedding [100, 8] is orthogonalized; a kernel [heads, width, size] is not; nor, once a leading axis is
# stacked in front of everything, is any matrix, while each set of stacked biases [6, 8] is.
# The guard here: each mixer says which of its parameters are matrices (product_matrices), and training/muon.py gives
# optax those alone.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check optax==0.2.8 jax==0.10.2 jaxlib==0.10.2
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import jax
import numpy as np
import optax

SHAPES = {
    "hidden [8, 8]": (8, 8),
    "embedding [100, 8]": (100, 8),
    "fused heads [4, 8, 8]": (4, 8, 8),
    "6 stacked biases [6, 8]": (6, 8),
    "6 stacked hidden [6, 8, 8]": (6, 8, 8),
}
params = {name: np.zeros(shape, np.float32) for name, shape in SHAPES.items()}
gradients = {name: np.random.default_rng(0).normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}
muon = optax.contrib.muon(1.0)
updates, _ = muon.update(gradients, muon.init(params), params)
print("optax", optax.__version__, "jax", jax.__version__)
adam = {}
for name in SHAPES:
    sizes = np.abs(np.asarray(updates[name]))
    adam[name] = bool(np.ptp(sizes) < 1e-3)  # Adam's first update has one size, whatever the gradient was
    print(f"{name}: {'Adam' if adam[name] else 'orthogonalized'}")
surprise = [False, False, True, False, True]
sys.exit(0 if list(adam.values()) == surprise else "the surprise is gone: the default is another one")
PYTHON
