from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tasks
from configs import curve, word_problem
from experiments.measures.common import SAMPLE_KEY, sample_test_batch
from tests.experiments.measures import params, run, value_of
from training import builder


def test_reach_is_the_norm_of_the_jacobian():
    """Against the Jacobian itself, by jacrev; eight random directions are within a third of it."""
    of = run("gru")
    own, batch = params(of), sample_test_batch(of)
    table = own["embed"]["embedding"]
    network = of.model.clone(vocabulary=0, channels=8)
    plain = {**own, "embed": {"kernel": jnp.eye(8), "bias": jnp.zeros(8)}}
    last = lambda x: network.apply({"params": plain}, x[None])[0][0, -1]  # noqa: E731
    jacobians = jax.lax.map(jax.jacrev(last), table[batch.inputs])
    exact = np.sqrt(np.square(np.asarray(jacobians)).sum(axis=(0, 1, 3)))[::-1]
    share = value_of("reach", of)
    assert list(share) == [0, 1, 2, 4, 8]
    assert list(share.values()) == pytest.approx([exact[d] / exact.sum() for d in share], rel=0.35)


def test_reach_ends_where_a_window_does():
    of = run("attention", model__attention__window=3, model__depth=1)
    share = value_of("reach", of)
    assert share[1] > 0
    assert share[4] == share[8] == 0


def test_without_positions_attention_that_looks_both_ways_sees_no_order():
    assert value_of("permuted", run("attention", model__causal=False, model__positions="none")) < 1e-5
    assert value_of("permuted", run("attention", model__causal=False, model__positions="learned")) > 1e-3
    assert value_of("permuted", run("gru")) > 1e-2


def test_longer_scores_lengths_up_to_twice_and_nan_where_a_model_refuses():
    lengths = value_of("longer", run("gru"))
    assert list(lengths) == [16, 20, 24, 32]
    assert all(0 <= score <= 1 for score in lengths.values())
    assert np.isnan(list(value_of("longer", run("dense")).values())).all()
    assert np.isfinite(list(value_of("longer", run("dense", model__max_length=32)).values())).all()


@pytest.mark.parametrize("depth", [1, 4])
def test_with_straight_lines_for_activations_a_network_is_affine(depth: int):
    """At every depth; and with tanh at none."""

    def of(activation: str) -> builder.Run:
        config: Any = curve.get_config()
        config.model.update(activation=activation, depth=depth, width=8)
        return builder.build_run(config)

    assert value_of("affine", of("identity")) < 1e-4
    assert value_of("affine", of("tanh")) > 1e-3


def test_whole_rows_are_those_without_a_wrong_target():
    """On the test set and on each longer one, counted by hand; a network of one answer is right where all targets are
    that one."""
    config: Any = word_problem.get_config("gru")
    config.task.update(group="z2", max_items=2, eval_lengths=(1, 4))
    config.model.width = 8
    of = builder.build_run(config)
    own = params(of)
    own = {**own, "head": {"kernel": 0 * own["head"]["kernel"], "bias": jnp.array([1.0, 0.0])}}
    shares = value_of("whole rows", of, own)
    assert list(shares) == [1, 2, 4]
    for items, share in shares.items():
        batch = of.task.sample(tasks.random_key(np.uint32(SAMPLE_KEY)), 256, max(3, items + 1), items + 1)
        assert share == pytest.approx((np.asarray(batch.targets).sum(axis=1) == 0).mean())
        assert share == pytest.approx(1 / 2**items, abs=0.1)


def test_bits_are_those_of_the_targets_less_the_cross_entropy():
    """A network that always gives the same logits for the values knows nothing; one that is certain knows all."""
    of = run("gru")
    own = params(of)
    head = {"kernel": 0 * own["head"]["kernel"], "bias": jnp.where(jnp.arange(16) < 8, -1e9, 0.0)}
    assert value_of("bits", of, {**own, "head": head}) == pytest.approx(0, abs=1e-4)
    # Knowing that a value is among 4 of 8 is a bit for each of the two targets that are among them.
    few = {**head, "bias": jnp.where(jnp.arange(16) < 8, -1e9, jnp.where(jnp.arange(16) < 12, 0.0, -1.0))}
    weights = np.exp(np.where(np.arange(8) < 4, 0, -1.0))
    batch = sample_test_batch(of, sequences=256)
    chosen = np.asarray(batch.targets)[np.asarray(batch.weights) > 0] - 8
    expected = np.mean(np.log2(weights[chosen] / weights.sum()) + 3) * len(chosen) / 256
    assert value_of("bits", of, {**own, "head": few}) == pytest.approx(max(0, expected), abs=1e-3)
