"""Members, batches and parameters spread over devices: the mesh's axes, and what lies where.

The mesh of a run has the axes "member", "batch" and, if parameters are spread, "params". Members are independent of
each other. A batch is split over "batch" and "params" together. Each array of parameters and of the optimizer's state
is split over "params" along one of its axes (`param_axis` in models.ops.spreading), and is whole only while a step
computes with it, as in ZeRO's third stage (Rajbhandari et al. 2020, arXiv 1910.02054) and in FSDP (Zhao et al. 2023,
arXiv 2304.11277).
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax

from models.ops.spreading import automatic_axes, gather_params, param_spec
from models.skeleton import is_block_param
from training import runtime

_BATCH_AXES = ("batch", "params")


class MeshShape(NamedTuple):
    """How many devices each axis of the mesh has."""

    ensemble: int
    batch: int
    params: int

    @property
    def devices(self) -> int:
        return math.prod(self)

    def __str__(self) -> str:
        return " × ".join(map(str, self))


# ---- the mesh that a config describes -------------------------------------------------------------------------------


def mesh_fields(config: Mapping[str, Any]) -> MeshShape:
    """The fields `mesh` of a config, 0 where it leaves them open; a config of older code has none."""
    return MeshShape(**{"ensemble": 0, "batch": 0, "params": 0, **config.get("mesh", {})})


def fit_mesh(config: Mapping[str, Any], members: int, devices: int | None = None) -> MeshShape:
    """The mesh of a run of so many members on `devices` devices: those of JAX, if it is None.

    Where the config leaves an axis open, members are spread evenly over as many devices as divide them; of the devices
    that are left over, as many share a batch as divide it, unless they are one processor's; and parameters are not
    spread. Raises ValueError, in one line, if the mesh fits neither the devices nor the run.
    """
    fields, batch_size = mesh_fields(config), sequences_at_once(config)
    available = len(jax.devices()) if devices is None else devices
    params = max(1, fields.params)
    left = max(1, available // (params * max(1, fields.batch)))
    ensemble = fields.ensemble or largest_divisor(members, left)
    batch = fields.batch or 1
    if not fields.batch and batch_size % params == 0 and (devices is not None or runtime.has_spare_devices()):
        batch = largest_divisor(batch_size // params, max(1, available // (ensemble * params)))
    mesh = MeshShape(ensemble, batch, params)
    if members % ensemble:
        raise ValueError(f"mesh.ensemble={ensemble}: must divide the {members} members, seeds times learning rates")
    if batch_size % (batch * params):
        raise ValueError(
            f"mesh.batch={batch} and mesh.params={params}: {batch * params} devices can't share {batch_size} sequences "
            f"evenly; give a mesh whose product divides them"
        )
    check_device_count(mesh, available)
    return mesh


def check_device_count(mesh: MeshShape, available: int) -> None:
    """Raise ValueError, in one line, if there are too few devices for `mesh`."""
    if mesh.devices > available:
        hint = f"; XLA_FLAGS=--{runtime.HOST_DEVICES_FLAG}={mesh.devices} splits a CPU into as many"
        raise ValueError(
            f"mesh.ensemble, .batch and .params: {mesh} are {mesh.devices} devices, and this run has {available}"
            f"{hint if jax.default_backend() == 'cpu' else ''}"
        )


def sequences_at_once(config: Mapping[str, Any]) -> int:
    """The sequences that go through the model at once in a training step: a batch, or a part of it."""
    training = config["training"]
    return training["batch_size"] // training.get("accumulate_steps", 1)


def largest_divisor(number: int, limit: int) -> int:
    """The largest divisor of `number` that is not above `limit`."""
    return max(n for n in range(1, limit + 1) if number % n == 0)


# ---- where arrays lie -----------------------------------------------------------------------------------------------


def member_sharding(mesh: jax.sharding.Mesh) -> jax.NamedSharding:
    """The sharding of arrays with a leading axis [members]."""
    return jax.NamedSharding(mesh, jax.P("member"))


def replicated_sharding(mesh: jax.sharding.Mesh) -> jax.NamedSharding:
    """The sharding of arrays that every device has whole."""
    return jax.NamedSharding(mesh, jax.P())


def state_shardings(mesh: jax.sharding.Mesh, states: Any) -> Any:
    """The shardings of the train states of all members, arrays or their shapes [members, …]: one, or one per leaf.

    What is carried from window to window lies where the rows of the batch do.
    """
    devices = dict(mesh.shape).get("params", 1)
    if devices == 1 and (not _batch_axes(mesh) or states.stream is None):
        return member_sharding(mesh)
    shardings = jax.tree.map(
        lambda leaf: jax.NamedSharding(mesh, jax.P("member", *param_spec(leaf.shape[1:], devices))), states
    )
    of_rows = jax.NamedSharding(mesh, jax.P("member", _batch_axes(mesh)))
    return shardings._replace(stream=jax.tree.map(lambda leaf: of_rows, states.stream))


def row_spec(mesh: jax.sharding.Mesh) -> jax.P:
    """How rows [members, steps, batch, …] are split that are fed to the training steps."""
    axes = _batch_axes(mesh)
    return jax.P("member", None, axes) if axes else jax.P("member")


def _batch_axes(mesh: jax.sharding.Mesh) -> tuple[str, ...]:
    """The axes of the mesh whose devices share a batch."""
    return tuple(name for name in _BATCH_AXES if dict(mesh.shape).get(name, 1) > 1)


# ---- inside of a program --------------------------------------------------------------------------------------------


def batch_axis_size() -> int:
    """How many devices share a batch in the function being traced."""
    return math.prod(size for name, size in automatic_axes().items() if name in _BATCH_AXES)


def gather_outside_blocks(config: Mapping[str, Any], params: Any) -> Any:
    """The parameters of one member as its model takes them: whole, but for those of blocks that `model.remat` has.

    Such a block makes its own whole, once for each time that it is computed.
    """
    remat = config["model"].get("remat")
    return gather_params(params, lambda path: not (remat and is_block_param(path)))


def shard_batch(batch: Any) -> Any:
    """The same batch, its sequences split evenly over the devices that share it."""
    axes = tuple(name for name in automatic_axes() if name in _BATCH_AXES)
    if not axes:
        return batch
    return jax.tree.map(lambda leaf: jax.lax.with_sharding_constraint(leaf, jax.P(axes)), batch)
