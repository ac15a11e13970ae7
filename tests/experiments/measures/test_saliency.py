from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import models
from configs import recall
from experiments.measures import saliency
from tasks.real.classification import Classification
from tests.experiments.measures import params, run, value_of
from training import builder, trainer


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


def test_the_site_that_decides_is_found():
    """A short training makes place 2 decide, and so it is the place whose change changes most."""
    of = splice("attention")
    batch = of.task.sample(jax.random.key(0), 24, 4, 4)

    @jax.jit
    def step(p: Any, _: Any) -> Any:
        gradient = jax.grad(lambda p: of.task.loss(trainer.apply_model(of, p, batch), batch))(p)
        return jax.tree.map(lambda a, g: a - 0.3 * g, p, gradient), None

    own, _ = jax.lax.scan(step, params(of), length=400)
    assert of.task.score(trainer.apply_model(of, own, batch), batch) == 1
    assert value_of("site", of, own) > 0.9
    assert 0 <= value_of("site weight", of, own) <= 1


def test_the_gradient_of_a_site_is_that_of_a_token_of_its_own():
    """The same with an embedding for every token of every sequence, whose gradient is that of the place."""
    of = splice("attention")
    batch, known = saliency.sequences_with_sites(of)
    own = params(of)
    table = own["embed"]["embedding"][batch.inputs].reshape(-1, 8)
    network, places = of.model.clone(vocabulary=len(table)), jnp.arange(len(table)).reshape(batch.inputs.shape)

    def likely(table: Any) -> Any:
        y, _ = network.apply({"params": {**own, "embed": {"embedding": table}}}, places)
        return -of.task.loss(y, batch) * len(batch.targets)

    norms = jnp.linalg.norm(jax.grad(likely)(table), axis=-1).reshape(places.shape)
    assert value_of("site gradient", of) == pytest.approx(float(saliency.share_on_site(norms, known)))


def test_sites_are_asked_of_the_classes_that_have_some():
    batch, known = saliency.sequences_with_sites(splice("attention"))
    assert (np.asarray(batch.targets) == 1).all()
    np.testing.assert_array_equal(known, np.tile([False, False, True, False], (len(known), 1)))
    with pytest.raises(ValueError, match=r"^a measure of sites needs a task that has some, as that of the data set"):
        value_of("site", splice("attention", per_place=False))
