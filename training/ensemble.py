"""The replica axis and the batch axis: who trains together, on which devices, and how."""

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from training import distributed, runtime
from training.builder import Run
from training.trainer import TrainState, init_train_state, train_steps


class EnsemblePlan(NamedTuple):
    """Who trains together, and how: "map" (one after another on each device) or "vmap" (side by side).

    The replicas are spread over `devices`, each of which stands for `shards` that share every replica's batch.
    """

    mode: str
    devices: int
    seeds: tuple[int, ...]
    learning_rates: tuple[float, ...]
    shards: int = 1


def plan_ensemble(config: Mapping[str, Any]) -> EnsemblePlan:
    """Every seed with every learning rate, spread evenly over as many devices as divide them.

    As many of the devices left over as divide a batch share it. `how` may be "measured", which `autotune_plan`
    resolves.
    """
    rates = config["ensemble"]["learning_rates"] or (config["optimizer"]["learning_rate"],)
    pairs = [(seed, rate) for rate in rates for seed in config["ensemble"]["seeds"]]
    mode = config["ensemble"]["mode"]
    if mode == "auto":  # a processor is busy with one small model; an accelerator wants them side by side
        mode = "map" if jax.default_backend() == "cpu" else "vmap"
    devices = _largest_divisor(len(pairs), len(jax.devices()))
    shards = (
        _largest_divisor(config["training"]["batch_size"], len(jax.devices()) // devices)
        if runtime.has_spare_devices()
        else 1
    )
    return EnsemblePlan(mode, devices, tuple(s for s, _ in pairs), tuple(float(r) for _, r in pairs), shards)


def _largest_divisor(number: int, limit: int) -> int:
    """The largest that is not above `limit`."""
    return max(n for n in range(1, limit + 1) if number % n == 0)


def make_mesh(plan: EnsemblePlan) -> jax.sharding.Mesh:
    """Its devices, [replica, batch]; ValueError where a process would have none of them."""
    count = plan.devices * plan.shards
    if count < jax.process_count():
        raise ValueError(
            f"{len(plan.seeds)} replicas and their batches can share {count} devices, too few for "
            f"{jax.process_count()} processes; give fewer processes, or a training.batch_size that more devices divide"
        )
    devices = np.array(distributed.choose_devices(count)).reshape(plan.devices, plan.shards)
    return jax.sharding.Mesh(devices, ("replica", "batch"))


def map_over_ensemble(function: Callable, plan: EnsemblePlan, mesh: jax.sharding.Mesh) -> Callable:
    """`function(replica, *shared)` lifted over the leading axis of its first argument, as the group is run.

    Where the devices share batches, `function` is one program over the mesh's "batch" axis: what it computes is that of
    a whole batch, and the compiler splits it as `shared_out` says.
    """

    def lifted(replicas, *shared):
        if plan.mode == "vmap":
            return jax.vmap(lambda replica: function(replica, *shared))(replicas)
        return jax.lax.map(lambda replica: function(replica, *shared), replicas)

    along, whole = jax.P("replica"), jax.P()
    manual = {"replica"} if plan.shards > 1 else set(mesh.axis_names)

    def sharded(replicas, *shared):
        specs = (along, *(whole for _ in shared))
        return jax.shard_map(
            lifted, mesh=mesh, in_specs=specs, out_specs=along, axis_names=manual, check_vma=False
        )(replicas, *shared)  # fmt: skip

    return sharded


def init_ensemble(run: Run, plan: EnsemblePlan, mesh: jax.sharding.Mesh) -> TrainState:
    """All replicas before their first step.

    Made one by one: on a CPU of jax 0.10, a vmapped orthogonal initialiser hangs for ever about one time in four.
    """
    made = jax.jit(partial(init_train_state, run))
    replicas = [made(seed, rate) for seed, rate in zip(plan.seeds, plan.learning_rates, strict=True)]
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *jax.device_get(replicas))
    return jax.device_put(stacked, jax.NamedSharding(mesh, jax.P("replica")))


def jit_train_steps(run: Run, plan: EnsemblePlan, mesh: jax.sharding.Mesh) -> Any:
    """`train_steps` of all replicas, which gives away the state that it is given."""
    along = jax.NamedSharding(mesh, jax.P("replica"))
    return jax.jit(map_over_ensemble(partial(train_steps, run), plan, mesh), donate_argnums=0, out_shardings=along)


def autotune_plan(run: Run, plan: EnsemblePlan) -> tuple[EnsemblePlan, list[dict[str, Any]]]:
    """`plan` run in the way whose call takes the least time, and what each took: how, devices, shards, seconds.

    Timed are "map" and "vmap", on all of the group's devices, on those that its replicas are spread over, and on one;
    with several processes, only where each has a device. Ways that need more memory than there is are passed over.
    """
    ways = []
    for devices, shards in dict.fromkeys([(plan.devices, plan.shards), (plan.devices, 1), (1, 1)]):
        if devices * shards < jax.process_count():
            continue
        for mode in ("map", "vmap"):
            way = {"mode": mode, "devices": devices, "shards": shards}
            try:
                ways.append({**way, "seconds": time_train_call(run, plan._replace(**way))})
            except RuntimeError as error:
                if "RESOURCE_EXHAUSTED" not in str(error) or jax.process_count() > 1:
                    raise
    if not ways:
        raise ValueError("ensemble.mode=autotune: out of memory in every way; try fewer replicas or a smaller batch")
    ways = distributed.broadcast_from_process_0(lambda: ways)  # the clocks of others say otherwise
    best = min(ways, key=lambda way: way["seconds"])
    return plan._replace(mode=best["mode"], devices=best["devices"], shards=best["shards"]), ways


def time_train_call(run: Run, plan: EnsemblePlan) -> float:
    """What one training call takes, the second of a state that is then forgotten: the first touches fresh memory."""
    mesh = make_mesh(plan)
    replicas, task = init_ensemble(run, plan, mesh), jax.device_put(run.task, jax.NamedSharding(mesh, jax.P()))
    call = jit_train_steps(run, plan, mesh).lower(replicas, task).compile()
    replicas, _ = jax.block_until_ready(call(replicas, task))
    begun = time.monotonic()
    jax.block_until_ready(call(replicas, task))
    return time.monotonic() - begun
