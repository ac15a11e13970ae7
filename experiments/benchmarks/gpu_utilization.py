"""How much of a GPU the training of a Transformer of 124 million parameters uses.

  python -m experiments.benchmarks.gpu_utilization [BATCH [IMPLEMENTATION]]

The smallest GPT-2 (Radford et al. 2019): 12 blocks, width 768, 12 heads, 1024 tokens, here with 50,304 symbols;
products in bfloat16, parameters, sums and softmax in float32, AdamW. Prints one line of JSON: seconds per step, tokens
per second, FLOP/s by 6·parameters + 12·blocks·width·length/2 per token (Chowdhery et al. 2022, appendix B; halved,
since attention is causal), and that as a share of what this machine does in a product of large bfloat16 matrices.
"""

import json
import sys
import time
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

import models
from experiments.benchmarks.peak_rates import measure_peak_rates
from models import cost
from models.mixers.attention_options import ATTENTION_IMPLEMENTATIONS
from models.skeleton import Skeleton

BLOCKS, WIDTH, HEADS, LENGTH, SYMBOLS = 12, 768, 12, 1024, 50_304
WARMUP_STEPS = 3


def measure_utilization(batch: int, implementation: str, steps: int = 10, **sizes: int) -> dict[str, Any]:
    """Train on one random batch for `steps` timed steps. `sizes` replace GPT-2's: blocks, width, symbols, length."""
    network = _build_gpt2(implementation, **sizes)
    tokens = jax.random.randint(
        jax.random.key(0, impl="threefry2x32"), (batch, network.max_length + 1), 0, network.vocabulary
    )
    init = jax.jit(lambda key, x: network.init(key, x)["params"])
    params = init(jax.random.key(1, impl="threefry2x32"), tokens[:1, :8])
    optimizer = optax.adamw(3e-4, b2=0.95)

    def loss(params: Any, tokens: Any) -> Any:
        logits, _ = network.apply({"params": params}, tokens[:, :-1])
        return optax.softmax_cross_entropy_with_integer_labels(logits, tokens[:, 1:]).mean()

    @partial(jax.jit, donate_argnums=(0, 1))
    def step(params: Any, state: Any, tokens: Any) -> Any:
        value, gradient = jax.value_and_grad(loss)(params, tokens)
        updates, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, updates), state, value

    state, losses, value = optimizer.init(params), [], 0.0
    for _ in range(WARMUP_STEPS):
        params, state, value = step(params, state, tokens)
        losses.append(float(value))
    begun = time.perf_counter()
    for _ in range(steps):
        params, state, value = step(params, state, tokens)
    losses.append(float(value))
    seconds = (time.perf_counter() - begun) / steps
    count = cost.count_params(params)
    flops_per_token = 6 * count + 12 * network.depth * network.width * network.max_length / 2
    flops = flops_per_token * batch * network.max_length / seconds
    best = measure_peak_rates("bfloat16")["flops"]
    return {
        "implementation": implementation,
        "batch": batch,
        "parameters": count,
        "seconds": seconds,
        "losses": losses,
        "tokens_a_second": batch * network.max_length / seconds,
        "flops": flops,
        "best": best,
        "share": flops / best,
        "device": jax.devices()[0].device_kind,
    }


def _build_gpt2(
    implementation: str, blocks: int = BLOCKS, width: int = WIDTH, symbols: int = SYMBOLS, length: int = LENGTH
) -> Any:
    mixer = partial(
        models.MIXERS["attention"], hidden_size=width, max_length=length, heads=HEADS, implementation=implementation
    )
    return Skeleton(
        mixers=(mixer,), depth=blocks, width=width, hidden=4 * width, vocabulary=symbols, channels=0, outputs=symbols,
        per="token", max_length=length, pool="last", activation="gelu", norm="pre", residual=True, final_norm=True,
        positions="learned", tie_embeddings=True, dropout=0.0, dtype=jnp.bfloat16,
    )  # fmt: skip


if __name__ == "__main__":
    batch, implementation, *more = (*sys.argv[1:], *("32", "cudnn")[len(sys.argv) - 1 :])
    if more or not batch.isdigit() or implementation not in ATTENTION_IMPLEMENTATIONS:
        choices = "|".join(ATTENTION_IMPLEMENTATIONS)
        sys.exit(f"usage: python -m experiments.benchmarks.gpu_utilization [BATCH [{choices}]]")
    print(json.dumps(measure_utilization(int(batch), implementation)))
