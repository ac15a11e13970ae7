"""Networks trace where JAX raises on implicit rank promotion; tests.models.contract has the same for single mixers."""

from typing import Any

import jax
import jax.numpy as jnp
import pytest

import models
from models import associative_memory
from models.ops.normalizers import NORMALIZERS
from models.ops.position_encodings import POSITION_ENCODINGS
from models.ops.similarity import SIMILARITIES
from tests.models.test_models import model

STEPS = 40
TOKENS = {"vocabulary": 9, "channels": 0, "outputs": 9, "per": "token"}


@pytest.fixture(autouse=True)
def strict():
    with jax.numpy_rank_promotion("raise"):
        yield


def traced(network: Any, inputs: Any, **more: Any) -> None:
    """Parameters, outputs, a step that goes on from them where it streams, and gradients."""
    params = jax.eval_shape(network.init, jax.random.key(0), inputs, **more)

    def total(params: Any, inputs: Any) -> Any:
        y, state = network.apply(params, inputs, rng=jax.random.key(1), **more)
        return y.astype(jnp.float32).sum(), state

    floats = (0, 1) if jnp.issubdtype(inputs.dtype, jnp.floating) else 0
    jax.eval_shape(jax.grad(total, floats, has_aux=True), params, inputs)


@pytest.mark.parametrize(
    "fields",
    [
        {"dropout": 0.1, "norm": "post"},
        {"tie_embeddings": True, "residual": False},
        {"encoder_decoder": "vector"},
        *({"encoder_decoder": name} for name in SIMILARITIES),
        *({"positions": name} for name in POSITION_ENCODINGS),
        *({"attention": {"similarity": name}} for name in SIMILARITIES),
        *({"attention": {"normalizer": name}} for name in NORMALIZERS),
        *(
            {"attention": {"implementation": name, "window": window}}
            for name in ("plain", "blocks")
            for window in (0, 3)
        ),
        {"attention": {"position_injection": "qk"}, "positions": "learned"},
        {"dtype": "bfloat16", "positions": "transformer_xl"},
        *(
            {"attention": {"differential": True, "output_gate": True, "heads": 2}, "positions": name}
            for name in ("t5", "hard_alibi", "transformer_xl")
        ),
    ],
    ids=str,
)
def test_networks_over_tokens(fields: dict[str, Any]):
    network = models.build_model(
        models.resolve_model(model("attention", width=16, hidden_size=16, **fields), STEPS), **TOKENS, separator=1
    )
    traced(network, jnp.ones((2, STEPS), jnp.int32))


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("pool", ["last", "mean"])
def test_networks_over_sequences(pool: str, causal: bool):
    made = models.resolve_model(model("gru", width=16, hidden_size=16, pool=pool, causal=causal), STEPS)
    traced(models.build_model(made, vocabulary=0, channels=3, outputs=2, per="sequence"), jnp.zeros((2, STEPS, 3)))


@pytest.mark.parametrize("rule", associative_memory.UPDATE_RULES)
@pytest.mark.parametrize("name", associative_memory.ASSOCIATIVE_MEMORIES)
def test_memories(name: str, rule: str):
    traced(
        associative_memory.AssociativeMemory(4, 8, update_rule=rule, **associative_memory.ASSOCIATIVE_MEMORIES[name]),
        jnp.ones((2, 9), jnp.int32),
    )
