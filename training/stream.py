"""Feed the training steps with rows that stay on disk.

Which rows a step trains on follows from its seed and number alone, as for data in memory: the host draws them with the
same keys, and Grain reads those of the next calls while the device computes. The batches are those that would be drawn
in memory, and the number of steps done is all that has to be known to go on.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from tasks.real.rows import row_numbers
from training.builder import Run
from training.trainer import batch_keys

_CALLS_AHEAD = 2  # calls of the training steps whose rows are read in advance


class RowFeed:
    """Iterator over the rows of one call of the training steps after another, as arrays [members, steps, batch, …]."""

    def __init__(self, run: Run, seeds: Sequence[int], sharding: jax.NamedSharding, first_step: int):
        """Feed members of these `seeds` from `first_step` on; the arrays get the `sharding`."""
        import grain  # not above: only runs on rows from disk need it

        calls = _CallRows(run, seeds, sharding)
        options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=_CALLS_AHEAD)
        iterator: Any = iter(grain.MapDataset.source(calls).to_iter_dataset(options))
        iterator.set_state({"next_index": first_step // calls.steps_per_call})
        self.calls, self.sharding, self.iterator = calls, sharding, iterator

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        rows = next(self.iterator)
        return jax.tree.map(self._place_on_devices, rows)

    def _place_on_devices(self, local: np.ndarray) -> Array:
        shape = (*self.calls.shape, *local.shape[3:])
        return jax.make_array_from_process_local_data(self.sharding, local, shape)


class _CallRows:
    """The rows of every call, by number, for a Grain data set: those that this process's devices need."""

    def __init__(self, run: Run, seeds: Sequence[int], sharding: jax.NamedSharding):
        if run.rows is None:
            raise ValueError("the training rows of this run are in memory: there is nothing to feed")
        training = run.config["training"]
        self.task, self.rows = run.task, run.rows
        self.steps_per_call = training["steps_per_call"]
        self.calls = training["steps"] // self.steps_per_call
        self.shape = (len(seeds), self.steps_per_call, training["batch_size"])
        members, _, self.batch = _local_slices(sharding, self.shape)
        # Members with one seed and several learning rates train on the same rows, which are read once.
        self.seeds, self.members = np.unique(np.asarray(seeds, np.uint32)[members], return_inverse=True)
        self.cpu = jax.local_devices(backend="cpu")[0]
        self.draw = jax.jit(lambda seeds, steps: draw_batches(run, seeds, steps))

    def __len__(self) -> int:
        return self.calls

    def __getitem__(self, index: int) -> Any:
        first = index * self.steps_per_call
        steps = np.arange(first, first + self.steps_per_call, dtype=np.int32)
        with jax.default_device(self.cpu):
            drawn = np.asarray(self.draw(self.seeds, steps))
        numbers = row_numbers(drawn, self.task.train_size)[:, :, self.batch]
        rows = self.rows.gather(numbers.ravel(), self.task.max_length)

        def arrange(part: np.ndarray) -> np.ndarray:
            return part.reshape(*numbers.shape, *part.shape[1:])[self.members]

        return jax.tree.map(arrange, rows)


def draw_batches(run: Run, seeds: Int[Array, "S"], steps: Int[Array, "K"]) -> Int[Array, "S K B *P"]:
    """Draw the rows of the training batches of these seeds and steps, as the task's `sample` would."""

    def draw_batch(seed: Array, step: Array) -> Array:
        length, key, _ = batch_keys(run, seed, step)
        return run.task.draw(key, run.config["training"]["batch_size"], length, run.task.train_size)

    return jax.vmap(lambda seed: jax.vmap(lambda step: draw_batch(seed, step))(jnp.asarray(steps)))(jnp.asarray(seeds))


def _local_slices(sharding: jax.NamedSharding, shape: tuple[int, ...]) -> tuple[slice, ...]:
    """The part of an array of this shape that lies on this process's devices: one slice per axis."""
    indices: list[Any] = list(sharding.addressable_devices_indices_map(shape).values())
    bounds = [[index[axis].indices(size)[:2] for index in indices] for axis, size in enumerate(shape)]
    return tuple(slice(min(low for low, _ in axis), max(high for _, high in axis)) for axis in bounds)
