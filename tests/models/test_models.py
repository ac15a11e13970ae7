from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import pytest

import models
from configs import base
from models.cost import parameters


def model(mixer: str, **fields: Any) -> dict[str, Any]:
    made = base(mixer).model.to_dict()
    made["attention"] |= fields.pop("attention", {})
    assert set(fields) <= set(made)
    return made | fields


@cache
def size(mixer: str, width: int, window: int) -> int:
    """Parameters of the whole network."""
    network = models.build(
        models.resolve(model(mixer, width=width), window), vocabulary=64, channels=0, outputs=64, per="token"
    )
    return parameters(jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 1), jnp.int32)))


@pytest.mark.parametrize("window", [32, 64])
@pytest.mark.parametrize("width", [32, 64, 128])
@pytest.mark.parametrize("mixer", models.MIXERS)
def test_parameters_are_matched_within_5_percent(mixer: str, width: int, window: int):
    assert size(mixer, width, window) / size("attention", width, window) == pytest.approx(1, abs=0.05)
