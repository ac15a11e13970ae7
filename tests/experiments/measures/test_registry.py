from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import models
from configs import curve, recall, translation
from experiments.measures import registry
from models.ops.normalizers import NORMALIZERS
from tasks.real.classification import Classification
from tasks.real.parallel_text import ParallelText
from training import builder, trainer


@cache
def run(mixer: str, **fields: Any) -> builder.Run:
    config: Any = recall.get_config(mixer)
    config.task.update(pairs=2, max_length=16, symbols=16)
    config.model.width = 8
    config.update_from_flattened_dict({name.replace("__", "."): value for name, value in fields.items()})
    return builder.build_run(config)


def params(of: builder.Run, seed: int = 0) -> Any:
    return trainer.init_params(of, jnp.uint32(seed))


def found(name: str, of: builder.Run, own: Any = None) -> Any:
    return registry.MEASURES[name](of)(params(of) if own is None else own, 0)


def test_reach_is_the_norm_of_the_jacobian():
    """Against the Jacobian itself, by jacrev; eight random directions are within a third of it."""
    of = run("gru")
    own, batch = params(of), registry.sample_test_batch(of)
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

    def of(activation: str) -> builder.Run:
        config: Any = curve.get_config()
        config.model.update(activation=activation, depth=depth)
        return builder.build_run(config)

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
    batch = registry.sample_test_batch(of, sequences=256)
    chosen = np.asarray(batch.targets)[np.asarray(batch.weights) > 0] - 8
    expected = np.mean(np.log2(weights[chosen] / weights.sum()) + 3) * len(chosen) / 256
    assert found("bits", of, {**own, "head": few}) == pytest.approx(max(0, expected), abs=1e-3)


@pytest.mark.parametrize("normalizer", NORMALIZERS)
def test_what_is_normalised_together_moves_together(normalizer: str):
    of = run("attention", model__attention__normaliser=normalizer, model__positions="none")
    if normalizer == "softmax":
        assert found("coupled", of) == pytest.approx(1, abs=1e-4)
    elif normalizer == "linear":  # where all scores are below 0 nothing sums to one
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
    config.task.max_items, config.model.width = 6, 8
    of = builder.build_run(config)
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

    monkeypatch.setattr(registry, "attention_weights", perfect)
    monkeypatch.setattr(registry.jax, "jit", lambda function: function)
    assert found("aligned", of) > 0.95


def test_what_attention_looks_at_needs_attention():
    with pytest.raises(ValueError, match="needs attention in the model"):
        found("diverse", run("gru"))


def test_costs(monkeypatch: pytest.MonkeyPatch):
    """A recurrence's chain grows with length and attention's does not; a cache grows and a state does not."""
    monkeypatch.setattr(registry, "LENGTHS", (8, 16, 32))
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
    taken = registry.evaluate_measures(of, ["permuted", "reach"], [(params(of, seed), seed) for seed in (0, 1)])
    assert [set(one) for one in taken] == [{"permuted", *(f"reach@{d}" for d in (0, 1, 2, 4, 8))}] * 2
    assert taken[0] != taken[1]


# ---- real data: people's alignments, biology's sites ----------------------------------------------------------------


@cache
def verses(mixer: str = "gru", bridge: str = "additive") -> builder.Run:
    """An encoder–decoder on pairs whose every word is linked to the word at the same place."""
    rows = np.array([[5, 6, 7, 8], [8, 7, 0, 0], [6, 5, 8, 0], [7, 0, 0, 0]])
    pairs = {split: rows for split in ("train", "validation", "test")}  # noqa: C420
    links = (rows[:, :, None] > 0) * np.eye(4, dtype=bool)
    task = ParallelText(pairs, pairs, ("", "|", ".", *"abcdefg"), {split: links for split in pairs})  # noqa: C420
    config: Any = translation.get_config(mixer)
    config.model.update(width=8, bridge=bridge)
    model = models.resolve_model(config.model.to_dict(), task.max_length)
    sizes: dict[str, Any] = {"vocabulary": 10, "channels": 0, "outputs": 10, "per": "token", "separator": 1}
    return builder.Run(
        {**config.to_dict(), "model": model}, task, models.build_model(model, **sizes), run("gru").optimizer
    )


def test_alignment_error_counts_links(monkeypatch: pytest.MonkeyPatch):
    """With weights on the right word it is 0; on the first word, one in four, two, three and one is right."""
    of = verses()

    def looking(where: Any) -> Any:
        batch, *_ = registry.linked_pairs(of)
        weights = jax.nn.one_hot(jnp.broadcast_to(where, (4, 5)), of.task.max_length // 2)[:, None]
        assert batch.inputs.shape == (4, of.task.max_length)
        return lambda *_: [weights]

    monkeypatch.setattr(registry, "attention_weights", looking(jnp.arange(5)))
    assert found("alignment error", of) == 0
    monkeypatch.setattr(registry, "attention_weights", looking(jnp.zeros(5, jnp.int32)))
    assert found("alignment error", of) == pytest.approx(1 - 2 * 4 / (10 + 10))
    assert found("alignment gain", of) == pytest.approx(-0.6)


def test_the_diagonal_finds_what_is_on_it():
    assert found("diagonal error", verses()) == 0


def test_alignment_of_a_model_as_it_is():
    for of in (verses(), verses("attention", "scaled")):
        assert 0 <= found("alignment error", of) <= 1


def test_alignment_needs_links():
    with pytest.raises(ValueError, match=r"^a measure of alignment needs a task with links, as that of the data set"):
        found("alignment error", run("gru"))


@cache
def splice(mixer: str, per_place: bool = True) -> builder.Run:
    """A classifier of three tokens of four, whose class 1 is made at place 2."""
    rows = np.random.default_rng(0).integers(1, 5, (24, 4))
    inputs = {split: rows for split in ("train", "validation", "test")}  # noqa: C420
    labels = {split: (rows[:, 2] > 2).astype(np.int32) for split in inputs}
    task = Classification(inputs, labels, ("", *"ACGT"), ("N", "site"), "most", ((), (2,)) if per_place else ())
    config: Any = recall.get_config(mixer)
    config.model.update(width=8, depth=1, causal=False, pool="mean", positions="learned")
    model = models.resolve_model(config.model.to_dict(), 4)
    sizes: dict[str, Any] = {"vocabulary": 5, "channels": 0, "outputs": 2, "per": "sequence"}
    return builder.Run(
        {**config.to_dict(), "model": model}, task, models.build_model(model, **sizes), run("gru").optimizer
    )


@pytest.mark.parametrize("mixer", ["gru", "attention"])
def test_the_site_that_decides_is_found(mixer: str):
    """A short training makes place 2 decide, and so it is the place whose change changes most."""
    of = splice(mixer)
    batch = of.task.sample(jax.random.key(0), 24, 4, 4)

    @jax.jit
    def step(p: Any, _: Any) -> Any:
        gradient = jax.grad(lambda p: of.task.loss(trainer.apply_model(of, p, batch), batch))(p)
        return jax.tree.map(lambda a, g: a - 0.3 * g, p, gradient), None

    own, _ = jax.lax.scan(step, params(of), length=400)
    assert of.task.score(trainer.apply_model(of, own, batch), batch) == 1
    assert found("site", of, own) > 0.9
    if mixer == "attention":
        assert 0 <= found("site weight", of, own) <= 1


def test_the_gradient_of_a_site_is_that_of_a_token_of_its_own():
    """The same with an embedding for every token of every sequence, whose gradient is that of the place."""
    of = splice("gru")
    batch, known = registry.sequences_with_sites(of)
    own = params(of)
    table = own["embed"]["embedding"][batch.inputs].reshape(-1, 8)
    network, places = of.model.clone(vocabulary=len(table)), jnp.arange(len(table)).reshape(batch.inputs.shape)

    def likely(table: Any) -> Any:
        y, _ = network.apply({"params": {**own, "embed": {"embedding": table}}}, places)
        return -of.task.loss(y, batch) * len(batch.targets)

    norms = jnp.linalg.norm(jax.grad(likely)(table), axis=-1).reshape(places.shape)
    assert found("site gradient", of) == pytest.approx(float(registry.share_on_site(norms, known)))


def test_sites_are_asked_of_the_classes_that_have_some():
    batch, known = registry.sequences_with_sites(splice("gru"))
    assert (np.asarray(batch.targets) == 1).all()
    np.testing.assert_array_equal(known, np.tile([False, False, True, False], (len(known), 1)))
    with pytest.raises(ValueError, match=r"^a measure of sites needs a task that has some, as that of the data set"):
        found("site", splice("gru", per_place=False))
