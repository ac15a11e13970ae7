"""What a run is estimated to need: of the shapes, and near what XLA allocates."""

import jax
import jax.numpy as jnp
import pytest

from models import cost
from tests import tiny_config
from training import builder, dry_run, ensemble, estimates, trainer

WIDE = {"model.width": 64, "training.batch_size": 8, "task.max_length": 16}


@pytest.mark.parametrize("mixer", ["attention", "lstm", "gla"])
def test_activations_of_blocks_computed_again_are_about_what_xla_allocates(mixer: str):
    """XLA's CPU compiler would undo the recomputation if it dropped its barriers, as it does unless told otherwise."""
    fields = {**WIDE, "model.depth": 3, "task.max_length": 64, "training.batch_size": 16, "model.remat": True}
    run = builder.build_run(tiny_config(mixer, fields))
    params = jax.eval_shape(lambda: trainer.init_params(run, jnp.uint32(0)))
    batch = jax.eval_shape(lambda task: trainer.sample_longest(task, 16), run.task)
    gradient = jax.jit(jax.grad(lambda p, b: run.task.loss(trainer.apply_model(run, p, b), b)))
    options = {"xla_disable_hlo_passes": "cse_barrier_expander", "xla_backend_optimization_level": 0}
    memory = gradient.lower(params, batch).compile(compiler_options=options).memory_analysis()
    assert memory is not None
    needed = memory.temp_size_in_bytes
    assert 0.8 <= estimates.count_activation_bytes(run, params, 16) / needed <= 1.7


def test_less_is_kept_for_the_gradient_where_blocks_are_computed_again():
    deep = {**WIDE, "model.depth": 6, "task.max_length": 32}
    runs = [builder.build_run(tiny_config("attention", {**deep, "model.remat": remat})) for remat in (False, True)]
    kept, again = (estimates.estimate_run(run, ensemble.plan_ensemble(run.config)) for run in runs)
    assert again.activation_bytes < kept.activation_bytes / 2
    assert again._replace(activation_bytes=0) == kept._replace(activation_bytes=0)
    mesh = {"mesh": {"params": 8}}
    kept, again = (estimates.estimate_run(run, estimates.plan_for_estimate({**run.config, **mesh})) for run in runs)
    assert 0 < again.gathered_bytes < kept.gathered_bytes / 3  # a block of six at a time, and the embedding


def test_estimates_are_of_the_shapes():
    run = builder.build_run(tiny_config("attention", {**WIDE, "ensemble.seeds": (0, 1)}))
    whole = estimates.estimate_run(run, estimates.plan_for_estimate(run.config))
    states = ensemble.abstract_states(run, ensemble.plan_ensemble(run.config))
    assert whole.state_bytes == sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(states))
    assert whole.parameters == cost.count_params(states.params) // 2
    assert whole.step_flops == 2 * trainer.run_costs(run)["step_flops"]
    assert whole.tokens_per_second(1e12) == pytest.approx(0.4e12 / whole.step_flops * 2 * 8 * 16)
    spread = estimates.estimate_run(run, estimates.plan_for_estimate({**run.config, "mesh": {"params": 8}}))
    assert spread.mesh == (1, 1, 8)
    assert spread.state_bytes <= 1.2 * whole.state_bytes / 8
    # A little of what is kept is of no sequence, as the distances of tokens.
    assert whole.activation_bytes / 8 <= spread.activation_bytes <= whole.activation_bytes / 4


def test_a_dry_run_says_what_a_mesh_of_other_devices_needs():
    run = builder.build_run(tiny_config("attention", {**WIDE, "mesh.params": 8}))
    lines = dict(line.split(maxsplit=1) for line in dry_run.describe_run(run, peak_flops=1e12).splitlines())
    assert lines["mesh"].startswith("1 × 1 × 8 devices")
    assert "gathered parameters" in lines["a"]
    assert lines["speed"].endswith("tokens per second at 40% of 1e+12 FLOP/s per device")
