from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import train
from configs import curve, recall, translation
from experiments import measures
from models.normalisers import NORMALISERS


@cache
def run(mixer: str, **fields: Any) -> train.Run:
    config: Any = recall.get_config(mixer)
    config.task.update(pairs=2, max_length=16, symbols=16)
    config.model.width = 8
    config.update_from_flattened_dict({name.replace("__", "."): value for name, value in fields.items()})
    return train.build(config)


def params(of: train.Run, seed: int = 0) -> Any:
    return train.init_params(of, jnp.uint32(seed))


def found(name: str, of: train.Run, own: Any = None) -> Any:
    return measures.MEASURES[name](of)(params(of) if own is None else own, 0)


def test_reach_is_the_norm_of_the_jacobian():
    """Against the Jacobian itself, by jacrev; eight random directions are within a third of it."""
    of = run("gru")
    own, batch = params(of), measures.drawn(of)
    table = own["embed"]["embedding"]
    network = of.model.clone(vocabulary=0, channels=8)
    plain = {**own, "embed": {"kernel": jnp.eye(8), "bias": jnp.zeros(8)}}
    last = lambda x: network.apply({"params": plain}, x[None])[0][0, -1]  # noqa: E731
    jacobians = jax.lax.map(jax.jacrev(last), table[batch.inputs])
    exact = np.sqrt(np.square(np.asarray(jacobians)).sum(axis=(0, 1, 3)))[::-1]
    share = found("reach", of)
    assert list(share) == [0, 1, 2, 4, 8]
    assert list(share.values()) == pytest.approx([exact[d] / exact.sum() for d in share], rel=0.35)


def test_reach_ends_where_a_window_does():
    of = run("attention", model__attention__window=3, model__depth=1)
    share = found("reach", of)
    assert share[1] > 0
    assert share[4] == share[8] == 0


def test_without_positions_attention_that_looks_both_ways_sees_no_order():
    assert found("permuted", run("attention", model__causal=False, model__positions="none")) < 1e-5
    assert found("permuted", run("attention", model__causal=False, model__positions="learned")) > 1e-3
    assert found("permuted", run("gru")) > 1e-2


def test_longer_scores_lengths_up_to_twice_and_nan_where_a_model_refuses():
    lengths = found("longer", run("gru"))
    assert list(lengths) == [16, 20, 24, 32]
    assert all(0 <= score <= 1 for score in lengths.values())
    assert np.isnan(list(found("longer", run("dense")).values())).all()
    assert np.isfinite(list(found("longer", run("dense", model__max_length=32)).values())).all()


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_with_straight_lines_for_activations_a_network_is_affine(depth: int):
    """At every depth; and with tanh at none."""

    def of(activation: str) -> train.Run:
        config: Any = curve.get_config()
        config.model.update(activation=activation, depth=depth)
        return train.build(config)

    assert found("affine", of("identity")) < 1e-4
    assert found("affine", of("tanh")) > 1e-3


def test_bits_are_those_of_the_targets_less_the_cross_entropy():
    """A network that always gives the same logits for the values knows nothing; one that is certain knows all."""
    of = run("gru")
    own = params(of)
    head = {"kernel": 0 * own["head"]["kernel"], "bias": jnp.where(jnp.arange(16) < 8, -1e9, 0.0)}
    assert found("bits", of, {**own, "head": head}) == pytest.approx(0, abs=1e-4)
    # Knowing that a value is among 4 of 8 is a bit for each of the two targets that are among them.
    few = {**head, "bias": jnp.where(jnp.arange(16) < 8, -1e9, jnp.where(jnp.arange(16) < 12, 0.0, -1.0))}
    weights = np.exp(np.where(np.arange(8) < 4, 0, -1.0))
    batch = measures.drawn(of, sequences=256)
    chosen = np.asarray(batch.targets)[np.asarray(batch.weights) > 0] - 8
    expected = np.mean(np.log2(weights[chosen] / weights.sum()) + 3) * len(chosen) / 256
    assert found("bits", of, {**own, "head": few}) == pytest.approx(max(0, expected), abs=1e-3)


@pytest.mark.parametrize("normaliser", NORMALISERS)
def test_what_is_normalised_together_moves_together(normaliser: str):
    of = run("attention", model__attention__normaliser=normaliser, model__positions="none")
    if normaliser == "softmax":
        assert found("coupled", of) == pytest.approx(1, abs=1e-4)
    elif normaliser == "linear":  # where all scores are below 0 nothing sums to one
        assert found("coupled", of) > 0.5
    else:
        assert found("coupled", of) < 1e-6


def test_heads_that_are_the_same_are_not_diverse():
    of = run("attention", model__positions="none", model__attention__heads=2)
    own = params(of)
    assert 0 < found("diverse", of, own) < 1
    for block in range(2):
        for name in ("query", "key"):
            kernel = own[f"mixer_{block}"][f"{name}_kernel"]
            own[f"mixer_{block}"][f"{name}_kernel"] = jnp.concatenate([kernel[:, :4]] * 2, axis=1)
    assert found("diverse", of, own) < 1e-6
    assert found("diverse", run("attention", model__attention__heads=1)) == 0


def test_similar_tokens_with_one_matrix_for_query_and_key_get_the_higher_weights():
    """Without norm, positions and further heads, q·k of an embedding of unit length is its cosine: a rank of 1."""
    fields: Any = {
        "task__pairs": 4,
        "model__attention__heads": 1,
        "model__attention__shared": "qk",
        "model__inner": 8,
        "model__norm": "none",
    }
    of = run("attention", model__positions="none", **fields)
    own = params(of)
    table = own["embed"]["embedding"]
    own["embed"]["embedding"] = table / jnp.linalg.norm(table, axis=1, keepdims=True)
    own["mixer_0"]["query_kernel"] = jnp.eye(8)
    assert found("similar", of, own) > 0.99
    assert found("similar gain", of) == pytest.approx(0, abs=1e-6)
    assert found("similar before", of) == found("similar", of)


def test_aligned_is_the_share_of_weights_on_the_word_that_is_translated(monkeypatch: pytest.MonkeyPatch):
    """1 for weights put there by construction, about one in the number of words for others."""
    config: Any = translation.get_config("gru")
    config.task.longest, config.model.width = 6, 8
    of = train.build(config)
    by_chance = found("aligned", of)
    assert 0 <= by_chance < 0.5

    def perfect(run: Any, params: Any, batch: Any) -> list[Any]:
        inputs = np.asarray(batch.inputs)
        source, target = inputs[:, :6] - 3, inputs[:, 7:] - 3 - 20
        weights = np.zeros((len(inputs), 1, 7, 6), np.float32)
        for row, (words, said) in enumerate(zip(source, target, strict=True)):
            for i, word in enumerate(said):
                near = [j for j in (i, i ^ 1) if words[j] == word]
                weights[row, 0, i, near[0] if len(near) == 1 else near] = 1
        return [jnp.asarray(weights)]

    monkeypatch.setattr(measures, "weights", perfect)
    monkeypatch.setattr(measures.jax, "jit", lambda function: function)
    assert found("aligned", of) > 0.95


def test_what_attention_looks_at_needs_attention():
    with pytest.raises(ValueError, match="needs attention in the model"):
        found("diverse", run("gru"))


def test_costs(monkeypatch: pytest.MonkeyPatch):
    """A recurrence's chain grows with length and attention's does not; a cache grows and a state does not."""
    monkeypatch.setattr(measures, "LENGTHS", (8, 16, 32))
    chain = found("step depth", run("gru"))
    assert chain[32] - chain[16] == 2 * (chain[16] - chain[8]) > 0
    assert len(set(found("step depth", run("attention")).values())) == 1
    assert len(set(found("state", run("gru")).values())) == 1
    assert found("state", run("attention"))[512] == 4 * found("state", run("attention"))[128]
    assert all(seconds > 0 for seconds in found("step time", run("rnn")).values())
    window = found("parameters", run("dense"))
    assert window[128] / window[64] == pytest.approx(4, rel=0.05)
    assert len(set(found("parameters", run("gru")).values())) == 1


def test_take_gives_every_member_every_measure():
    of = run("gru")
    taken = measures.take(of, ["permuted", "reach"], [(params(of, seed), seed) for seed in (0, 1)])
    assert [set(one) for one in taken] == [{"permuted", *(f"reach@{d}" for d in (0, 1, 2, 4, 8))}] * 2
    assert taken[0] != taken[1]
