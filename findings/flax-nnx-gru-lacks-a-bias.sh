#!/bin/sh
# flax 0.12.8: nnx.GRUCell has no bias b_hn, which its documentation, linen.GRUCell and PyTorch's GRU have.
#
# Expected: n = tanh(W_in x + b_in + r * (W_hn h + b_hn)), as the class's docstring says. Seen: b_hn is not there, so the
# cell is another function than flax.linen's of the same name, and weights of the one can't be copied to the other.
# The guard here: the benchmark lets the losses of nnx's GRU differ by what that bias learns
# (experiments/benchmarks/), and models/mixers/recurrent.py has the formulas of flax.linen.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check flax==0.12.8 jax==0.10.2 jaxlib==0.10.2
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import nnx

x, h = jnp.zeros((1, 5)), jnp.zeros((1, 3))
of_nnx = nnx.state(nnx.GRUCell(5, 3, rngs=nnx.Rngs(0)), nnx.Param)
sizes = {
    "linen": sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(nn.GRUCell(3).init, jax.random.key(0), h, x))),
    "nnx": sum(leaf.size for leaf in jax.tree.leaves(of_nnx)),
}
documented = "b_{hn}" in (nnx.GRUCell.__doc__ or "")
print("flax", flax.__version__, "parameters with 5 inputs and 3 units:", sizes)
print("nnx's documentation has b_hn:", documented)
sys.exit(0 if documented and sizes["linen"] - sizes["nnx"] == 3 else "the surprise is gone")
PYTHON
