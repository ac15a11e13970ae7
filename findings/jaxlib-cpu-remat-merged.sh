#!/bin/sh
# Expected: jax.checkpoint lowers the temporary memory of a gradient, as it does on accelerators.
# Seen: on CPUs it does next to nothing. XLA's compiler for CPUs removes the barriers that keep what is computed twice
#   apart ("cse_barrier_expander"), and then merges equal computations once more. With that pass off, the same program
#   needs a fifth of the memory.
# Guard: none is needed for the numbers. What model.remat saves is measured with the pass off
#   (experiments/benchmarks/sharded.py).
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q jax==0.10.2 jaxlib==0.10.2
cat > "$folder/remat.py" <<'PY'
import jax
import jax.numpy as jnp


def block(params, x):
    inner, outer = params
    hidden = jnp.sin(jnp.tanh(1.1 * jnp.tanh(x @ inner)))
    return x + hidden @ outer


def loss(layers, x):
    for params in layers:
        x = jax.checkpoint(block)(params, x)
    return (x**2).mean()


layers = [(jnp.ones((64, 256)), jnp.ones((256, 64)))] * 8
compiled = jax.jit(jax.grad(loss)).lower(layers, jnp.ones((4096, 64))).compile()
print(compiled.memory_analysis().temp_size_in_bytes >> 20)
PY
plain=$(JAX_PLATFORMS=cpu "$folder/venv/bin/python" "$folder/remat.py")
kept=$(JAX_PLATFORMS=cpu XLA_FLAGS=--xla_disable_hlo_passes=cse_barrier_expander "$folder/venv/bin/python" "$folder/remat.py")
echo "temporary memory of the gradient: $plain MiB; with the barriers kept: $kept MiB"
[ "$plain" -gt $((2 * kept)) ]
