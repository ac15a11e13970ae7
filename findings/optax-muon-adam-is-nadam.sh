#!/bin/sh
# optax 0.2.8: Muon's nesterov=True, its default, also turns the AdamW of all other parameters into NAdamW.
#
# Expected: "the non-2D parameters are instead passed through an AdamW optimizer", as the docstring says and Muon's
# authors do (Jordan et al. 2024); nesterov is Muon's momentum. Seen: a bias moves as with optax.nadamw, and its first
# step is 1.47 times the learning rate. The guard here: training/muon.py gives those parameters to optax.adam itself.
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

params = {"bias": np.ones(3, np.float32)}
gradient = {"bias": np.array([0.5, -2, 3], np.float32)}


def first_step(optimizer):
    updates, _ = optimizer.update(gradient, optimizer.init(params), params)
    return np.asarray(updates["bias"])


muon = first_step(optax.contrib.muon(0.1))
print("optax", optax.__version__, "jax", jax.__version__)
print("muon ", muon)
print("adamw", first_step(optax.adamw(0.1, weight_decay=0)))
print("nadamw", nadam := first_step(optax.nadamw(0.1, weight_decay=0)))
sys.exit(0 if np.allclose(muon, nadam) else "the surprise is gone: muon's other parameters get AdamW")
PYTHON
