"""Muon takes matrices of products, each by itself, and nothing else."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import models
from tests import assert_close, tiny_config
from training import builder, muon, trainer

FEEDFORWARD = {"feedforward_0/up/kernel": 1, "feedforward_0/down/kernel": 1}
ENDS = {"input/kernel": 1, "output/kernel": 1}
RWKV7_MATRICES = [f"{name}/kernel" for name in ("receptance", "key", "value", "output")]
RWKV7_MATRICES += [f"{name}_{part}/kernel" for name in ("decay", "rate", "gate") for part in ("down", "up")]
TAKEN: dict[str, dict[str, int]] = {
    "dense": ENDS,
    "rnn": {**ENDS, "recurrent": 1},
    "irnn": {**ENDS, "recurrent": 1},
    "lstm": {"input/kernel": 4, "recurrent": 4, "output/kernel": 1},
    "gru": {"input/kernel": 3, "recurrent": 3, "output/kernel": 1},
    "paragru": {"input/kernel": 3, "output/kernel": 1},
    "paralstm": {"input/kernel": 3, "output/kernel": 1},
    "slstm": {"input/kernel": 4, "recurrent": 4, "output/kernel": 1},
    "mlstm": {"input/kernel": 3, "gates/kernel": 2, "gate/kernel": 1, "output/kernel": 1},
    "mingru": {"input/kernel": 2, "output/kernel": 1},
    "minlstm": {"input/kernel": 3, "output/kernel": 1},
    "lru": {"input/kernel": 2, "output/kernel": 1},
    "rglru": {**ENDS, "gate/kernel": 1, "gates/kernel": 2},
    "s4d": {"input/kernel": 1, "output/kernel": 2},
    "s6": {"input/kernel": 2, "select/kernel": 1, "step/kernel": 1, "output/kernel": 1},
    "linear": {"input/kernel": 3, "output/kernel": 1},
    "gla": {"input/kernel": 3, "gate/kernel": 1, "output/kernel": 1},
    "delta": {"input/kernel": 3, "strength/kernel": 1, "output/kernel": 1},
    "gated_delta": {"input/kernel": 3, "gate/kernel": 1, "strength/kernel": 1, "output/kernel": 1},
    "mamba2": {"input/kernel": 2, "select/kernel": 2, "step/kernel": 1, "output/kernel": 1},
    "hgrn2": {"input/kernel": 3, "output/kernel": 1},
    "rwkv7": dict.fromkeys(RWKV7_MATRICES, 1),
    "gated_delta_product": {
        "input/kernel": 5,
        "strength/kernel": 2,
        "forget_gate/kernel": 1,
        "output_gate/kernel": 1,
        "output/kernel": 1,
    },
    "loglinear": {
        "input/kernel": 3,
        **dict.fromkeys((f"{name}/kernel" for name in ("step", "levels", "strength", "output_gate", "output")), 1),
    },
    "kda": {
        "input/kernel": 3,
        **dict.fromkeys((f"{name}_{part}/kernel" for name in ("decay", "gate") for part in ("down", "up")), 1),
        "strength/kernel": 1,
        "output/kernel": 1,
    },
    "tcn": {"beside_0/kernel": 1, "output/kernel": 1},
    "attention": {"query_kernel": 1, "key_kernel": 1, "value_kernel": 1, "output/kernel": 1},
}


def taken_leaves(mixer: str, fields: dict[str, Any] | None = None) -> dict[str, int]:
    """How many matrices each parameter of a small network holds that Muon takes, by its path."""
    run = builder.build_run(tiny_config(mixer, fields=fields))
    count = models.product_matrix_counter(run.config["model"])
    params = jax.eval_shape(partial(trainer.init_params, run), jnp.uint32(0))
    paths = [[key.key for key in path] for path, _ in jax.tree.leaves_with_path(params)]
    return {"/".join(path): found for path in paths if (found := count(path)) is not None}


@pytest.mark.parametrize("mixer", models.MIXERS)
def test_the_matrices_of_a_mixer_are_taken_and_nothing_else(mixer: str):
    if mixer not in TAKEN:  # whoever adds one need not say it, and says here what it said
        with pytest.raises(ValueError, match="does not say which of its parameters are matrices"):
            taken_leaves(mixer)
        return
    assert taken_leaves(mixer) == {f"mixer_0/{name}": count for name, count in TAKEN[mixer].items()} | FEEDFORWARD


def test_what_belongs_to_positions_is_not_taken_but_their_projection_is():
    assert "positions" not in taken_leaves("attention", {"model.positions": "learned"})
    assert "mixer_0/distance_bias" not in taken_leaves("attention", {"model.positions": "t5"})
    by_distance = set(taken_leaves("attention", {"model.positions": "transformer_xl"}))
    assert "mixer_0/distance_kernel" in by_distance
    assert not {"mixer_0/distance_u", "mixer_0/distance_v"} & by_distance


def test_a_matrix_for_each_head_is_a_stack():
    assert taken_leaves("attention", {"model.attention.similarity": "general"})["mixer_0/between"] == 0
    gates = taken_leaves("lstm", {"model.lstm.disabled_gates": "i"})
    assert (gates["mixer_0/input/kernel"], gates["mixer_0/recurrent"]) == (3, 3)


def test_both_directions_and_both_halves_of_an_encoder_decoder_are_taken():
    fields = {"model.encoder_decoder": "general", "task": {"name": "translation"}}
    taken = taken_leaves("lstm", fields)
    assert taken["encoder/mixer_0/backward/recurrent"] == taken["decoder/mixer_0/recurrent"] == 4
    assert {f"bridges_0/{name}/kernel" for name in ("query", "key", "value", "output")} <= taken.keys()
    assert taken["bridges_0/between"] == 0
    assert not any("embed" in path or "head" in path for path in taken)
    assert taken_leaves("lstm", {**fields, "model.encoder_decoder": "vector"})["summary/kernel"] == 1


def test_blocks_of_different_mixers_are_told_apart():
    taken = taken_leaves("lstm,attention", {"model.depth": 2})
    assert taken["mixer_0/recurrent"] == 4
    assert taken["mixer_1/query_kernel"] == 1
    assert "mixer_1/recurrent" not in taken


@pytest.mark.parametrize(("shape", "count"), [((4, 12), 3), ((4, 12), 1), ((3, 4, 5), 0), ((4, 3, 5), 1), ((7,), None)])
def test_matrices_are_split_and_joined_again(shape: tuple[int, ...], count: int | None):
    leaf = jnp.arange(float(np.prod(shape))).reshape(shape)
    split = muon.split_matrices(leaf, count)
    np.testing.assert_array_equal(muon.join_matrices(split, -1 if count is None else count, leaf), leaf)
    if count == 3:
        np.testing.assert_array_equal(split[:, 1], leaf[:, 4:8])  # the second gate
    if count == 0:
        np.testing.assert_array_equal(split[:, 1], leaf[1])  # the second head


def test_each_gate_gets_a_step_of_its_own_that_is_nearly_orthogonal():
    """All singular values of a step are near 1 (Jordan et al.: between 0.7 and 1.2), gate by gate."""
    run = builder.build_run(tiny_config("lstm", fields={"model.hidden_size": 8, "optimizer.name": "muon"}))
    assert run.config["optimizer"]["weight_decay"] == 0.01
    params = trainer.init_params(run, jnp.uint32(0))
    gradient = jax.tree.map(lambda p: jax.random.normal(jax.random.key(p.size), p.shape), params)
    step = muon.muon_or_adam(1.0, models.product_matrix_counter(run.config["model"]))
    updates, _ = step.update(gradient, step.init(params), params)
    for name in ("recurrent", "input"):
        update = updates["mixer_0"][name] if name == "recurrent" else updates["mixer_0"][name]["kernel"]
        for gate in jnp.split(update, 4, axis=1):
            sizes = jnp.linalg.svd(gate, compute_uv=False)
            assert 0.6 < sizes.min() <= sizes.max() < 1.3
    # The first step of Adam has one size, whatever the gradient was.
    for leaf in (updates["embed"]["embedding"], updates["head"]["kernel"], updates["mixer_0"]["input"]["bias"]):
        assert_close(jnp.abs(leaf), jnp.ones_like(leaf), within=1e-3)
