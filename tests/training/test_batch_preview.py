"""The batch that a dry run shows is the first that is trained on, wherever its rows are."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tasks
from tests import assert_same, tiny_config
from tests.training.test_stream import make_run
from training import batch_preview, builder, trainer


@pytest.mark.parametrize("fields", [{}, {"training.min_length": 4, "ensemble.seeds": (3, 1)}])
def test_it_is_the_batch_of_the_first_step(fields: dict[str, Any], monkeypatch: pytest.MonkeyPatch):
    run = builder.build_run(tiny_config(fields=fields))
    seen = []

    def keep(run: Any, params: Any, batch: tasks.Batch, *rest: Any) -> Any:
        seen.append(batch)
        return jnp.zeros((*batch.weights.shape, run.task.outputs)) + jax.tree.leaves(params)[0].sum()

    monkeypatch.setattr(trainer, "apply_model", keep)
    state = trainer.init_train_state(run, run.config["ensemble"]["seeds"][0], 0.1)
    with jax.disable_jit():
        trainer.train_step(run, run.task, state)
    assert_same(jax.tree.map(np.asarray, seen[0]), jax.tree.map(np.asarray, batch_preview.first_batch(run)))


def test_rows_from_a_disk_are_those_of_memory():
    fields = {"training.min_length": 4, "ensemble.seeds": (3,)}
    on_disk, in_memory = (make_run(streamed, fields) for streamed in (True, False))
    assert_same(
        jax.device_get(batch_preview.first_batch(on_disk)), jax.device_get(batch_preview.first_batch(in_memory))
    )
    assert batch_preview.preview_batch(on_disk) == batch_preview.preview_batch(in_memory)


def test_long_rows_are_cut_and_the_targets_of_whole_sequences_are_shown():
    run = builder.build_run(tiny_config(fields={"task.max_length": 100}))
    assert "and 36 more steps" in batch_preview.preview_batch(run)
    from configs.adding import get_config

    config: Any = get_config("rnn")
    heading, first, second = batch_preview.preview_batch(builder.build_run(config)).split("\n\n")
    assert heading.startswith("the first batch of seed 0, 2 of ")
    for row in (first, second):
        assert row.splitlines()[-1].split()[0] in ("target", "and")
