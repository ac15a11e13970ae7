"""The short convolution and the output gate, which every mixer with matrix or diagonal states has under one name."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import models
from tests.models.contract import STEPS, apply_in_calls, assert_same, initial_params, make, noisy_params, positions_of
from tests.models.test_mixers import MIXED, WIDTH, X

MATRIX = ["linear", "gla", "delta", "gated_delta", "mlstm"]
MATRIX += ["mamba2", "hgrn2", "rwkv7", "gated_delta_product", "loglinear", "kda"]
DIAGONAL = ["mingru", "minlstm", "lru", "rglru", "s4d", "s6", "paragru", "paralstm"]
GATES = {"mlstm": "gate", "rglru": "gate", "kda": "gate_up", "rwkv7": "gate_up"}  # the others': output_gate
TAPS = {"rwkv7": ("blend", 2)}  # the others': kernel, and any number


def make_with(name: str, kernel: int, output_gate: bool) -> Any:
    heads = {"heads": 2} if "heads" in models.mixer_options(name) else {}
    return make(name, hidden_size=WIDTH, kernel=kernel, output_gate=output_gate, **heads)


@pytest.mark.parametrize("name", [*MATRIX, *DIAGONAL])
def test_both_can_be_there_or_not(name: str):
    """And with the other setting than the mixer's own, two calls over packed rows give what one call gives."""
    own = models.mixer_options(name)
    taps_name, taps = TAPS.get(name, ("kernel", 3))
    flipped = make_with(name, 0 if own["kernel"] else taps, not own["output_gate"])
    params: Any = initial_params(flipped)["params"]
    assert (taps_name in params) == (not own["kernel"])
    gate = GATES.get(name, "output_gate")
    in_input = {"mamba2": 2 * WIDTH, "s6": 2 * WIDTH}.get(name)  # their gates are half of the first product
    found = params["input"]["kernel"].shape[1] == in_input if in_input else gate in params
    assert found == (not own["output_gate"])

    arrays = [jnp.asarray(a) for a in (X, positions_of(MIXED), MIXED)]
    run = jax.jit(partial(apply_in_calls, flipped), static_argnums=4)
    (whole, state), (parts, streamed) = (run(noisy_params(flipped), *arrays, calls) for calls in ((STEPS,), (5, 7)))
    real = jnp.asarray(MIXED)[..., None] != 0
    assert_same(jnp.where(real, parts, 0), jnp.where(real, whole, 0), "two calls differ from one", 3e-5)
    assert_same(streamed, state, "two calls end in another state than one", 3e-5)


@pytest.mark.parametrize("name", ["mamba2", "lru"])
def test_a_convolution_that_only_sees_the_present_changes_nothing(name: str):
    without, with_taps = (make_with(name, kernel, True) for kernel in (0, 2))
    params: Any = noisy_params(without)["params"]
    taps: Any = initial_params(with_taps)["params"]
    present = {"kernel": jnp.zeros_like(taps["kernel"]).at[0].set(1)}
    if "kernel_bias" in taps:
        present["kernel_bias"] = jnp.zeros_like(taps["kernel_bias"])
    arrays = [jnp.asarray(a) for a in (X, positions_of(MIXED), MIXED)]
    run = jax.jit(apply_in_calls, static_argnums=(0, 5))
    y, _ = run(with_taps, {"params": {**params, **present}}, *arrays, (STEPS,))
    expected, _ = run(without, {"params": params}, *arrays, (STEPS,))
    np.testing.assert_allclose(y[MIXED != 0], expected[MIXED != 0], atol=1e-5)
