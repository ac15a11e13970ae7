"""Train several members in one program: which members, on which devices, one after another or side by side."""

import itertools
import math
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from training import distributed
from training.builder import Run
from training.sharding import (
    MeshShape,
    fit_mesh,
    member_sharding,
    mesh_fields,
    replicated_sharding,
    row_spec,
    state_shardings,
)
from training.stream import RowFeed
from training.trainer import TrainState, init_train_state, train_steps

# What members may have of their own beside seeds and learning rates: its name in results, and the field of the config.
MEMBER_FIELDS = {"weight_decay": "weight_decays", "momentum": "momenta"}


class EnsemblePlan(NamedTuple):
    """The members of an ensemble, and how they run. group.json holds these fields.

    `weight_decays` and `momenta` are empty, and then not in group.json, where all members have those of the config.

    In mode "map" the members of a device run one after another, in mode "vmap" side by side. The members are spread
    over `devices` groups of `shards` × `params` devices, which share the batches of their members. Every parameter of
    these is spread over `params` devices; 1, which group.json leaves out, is for whole ones.
    """

    mode: str
    devices: int
    seeds: tuple[int, ...]
    learning_rates: tuple[float, ...]
    shards: int = 1
    weight_decays: tuple[float, ...] = ()
    momenta: tuple[float, ...] = ()
    params: int = 1

    @property
    def mesh_shape(self) -> MeshShape:
        """How many devices each axis of the mesh has."""
        return MeshShape(self.devices, self.shards, self.params)


def plan_ensemble(config: Mapping[str, Any], device_count: int | None = None) -> EnsemblePlan:
    """Plan an ensemble of every seed with every learning rate, weight decay and momentum, on the mesh of `fit_mesh`.

    The mode may be "autotune", which `autotune_plan` resolves. With a `device_count` it is a plan for so many devices,
    wherever they are. Raises ValueError, in one line, if the config's mesh does not fit.
    """
    given = config["ensemble"]
    rates = given["learning_rates"] or (config["optimizer"]["learning_rate"],)
    decays, momenta = (tuple(given.get(name, ())) for name in MEMBER_FIELDS.values())
    members = list(itertools.product(momenta or (None,), decays or (None,), map(float, rates), given["seeds"]))
    mode = config["ensemble"]["mode"]
    if mode == "auto":  # one small model keeps a CPU busy; an accelerator needs several side by side
        mode = "map" if jax.default_backend() == "cpu" else "vmap"
    devices, shards, params = fit_mesh(config, len(members), device_count)
    member_momenta, member_decays, learning_rates, seeds = zip(*members, strict=True)
    plan = EnsemblePlan(mode, devices, seeds, learning_rates, shards, params=params)
    return plan._replace(
        weight_decays=tuple(map(float, member_decays)) if decays else (),
        momenta=tuple(map(float, member_momenta)) if momenta else (),
    )


def member_values(plan: EnsemblePlan, index: int) -> dict[str, float]:
    """The weight decay and the momentum of a member, if members have their own, by the names that results have."""
    given = {name: getattr(plan, field) for name, field in MEMBER_FIELDS.items()}
    return {name: values[index] for name, values in given.items() if values}


def plan_to_json(plan: EnsemblePlan) -> dict[str, Any]:
    """What group.json holds of a plan."""
    left_out = {"params": 1, **dict.fromkeys(MEMBER_FIELDS.values(), ())}
    return {name: value for name, value in plan._asdict().items() if left_out.get(name) != value}


def count_members(config: Mapping[str, Any]) -> int:
    """The number of members that `config` describes: seeds × learning rates × weight decays × momenta."""
    given = config["ensemble"]
    fields = ("learning_rates", *MEMBER_FIELDS.values())
    return math.prod([len(given["seeds"]), *(max(1, len(given.get(field, ()))) for field in fields)])


def make_mesh(plan: EnsemblePlan) -> jax.sharding.Mesh:
    """Make the mesh of the plan's devices, with axes "member", "batch" and, if parameters are spread, "params".

    Raises ValueError if a process would have none of the devices.
    """
    count = plan.mesh_shape.devices
    if count < jax.process_count():
        raise ValueError(
            f"{len(plan.seeds)} members and their batches can share {count} devices, too few for "
            f"{jax.process_count()} processes; give fewer processes, or a training.batch_size that more devices divide"
        )
    axes = 3 if plan.params > 1 else 2
    devices = np.array(distributed.choose_devices(count)).reshape(plan.mesh_shape[:axes])
    return jax.sharding.Mesh(devices, ("member", "batch", "params")[:axes])


def map_over_ensemble(function: Callable, plan: EnsemblePlan, mesh: jax.sharding.Mesh) -> Callable:
    """Map `function(state, *shared)` over the leading axis [members] of its first argument, as the plan says.

    If devices share batches, the axes "batch" and "params" of the mesh stay automatic: `function` is then written for a
    whole batch and whole parameters, and the compiler splits them as training.sharding says.
    """

    def map_on_device(states, *shared):
        if plan.mode == "vmap":
            return jax.vmap(lambda state: function(state, *shared))(states)
        return jax.lax.map(lambda state: function(state, *shared), states)

    manual_axes = {"member"} if plan.shards * plan.params > 1 else set(mesh.axis_names)

    def map_on_mesh(states, *shared):
        in_specs = (jax.P("member"), *(jax.P() for _ in shared))
        sharded = jax.shard_map(
            map_on_device,
            mesh=mesh,
            in_specs=in_specs,
            out_specs=jax.P("member"),
            axis_names=manual_axes,
            check_vma=False,
        )
        return sharded(states, *shared)

    return map_on_mesh


def init_ensemble(run: Run, plan: EnsemblePlan, mesh: jax.sharding.Mesh) -> TrainState:
    """Initialize all members, one by one.

    With jax 0.10 on a CPU, a vmapped orthogonal initializer deadlocks in about one process in four. On a CPU, whose
    devices have one memory, a member is made on one of them; elsewhere no device ever has all of a member whose
    parameters are spread.
    """
    if plan.params > 1 and jax.default_backend() != "cpu":
        return init_spread_ensemble(run, plan, mesh)
    init_member = jax.jit(partial(init_train_state, run))
    members = enumerate(zip(plan.seeds, plan.learning_rates, strict=True))
    states = [init_member(seed, rate, **member_values(plan, index)) for index, (seed, rate) in members]
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *jax.device_get(states))
    return jax.device_put(stacked, state_shardings(mesh, stacked))


def init_spread_ensemble(run: Run, plan: EnsemblePlan, mesh: jax.sharding.Mesh) -> TrainState:
    """Initialize all members, one by one, each as it will lie on the devices, with the numbers of `init_ensemble`."""
    shardings = state_shardings(mesh, abstract_states(run, plan))
    init_member = jit_spread_init(run, plan, mesh)
    members = enumerate(zip(plan.seeds, plan.learning_rates, strict=True))
    states = [init_member(seed, rate, **member_values(plan, index)) for index, (seed, rate) in members]
    return jax.jit(lambda *states: jax.tree.map(lambda *leaves: jnp.stack(leaves), *states), out_shardings=shardings)(
        *states
    )


def jit_spread_init(run: Run, plan: EnsemblePlan, mesh: jax.sharding.Mesh) -> Any:
    """`init_train_state` of one member, jitted: each device computes its part, with the numbers of a whole one."""
    shardings = state_shardings(mesh, abstract_states(run, plan))
    of_member = jax.tree.map(lambda sharding: jax.NamedSharding(mesh, jax.P(*sharding.spec[1:])), shardings)
    return jax.jit(partial(init_train_state, run), out_shardings=of_member)


def abstract_states(run: Run, plan: EnsemblePlan) -> TrainState:
    """The shapes of the train states of all members, [members, …]."""
    init = partial(init_train_state, run)
    one = jax.eval_shape(init, plan.seeds[0], plan.learning_rates[0], **member_values(plan, 0))
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((len(plan.seeds), *leaf.shape), leaf.dtype), one)


def jit_train_steps(run: Run, plan: EnsemblePlan, mesh: jax.sharding.Mesh) -> Any:
    """`trainer.train_steps` of all members, jitted: a function of states, task and, if they are fed to it, rows.

    It donates its first argument, the states.
    """

    def train_member(state_and_rows: tuple[TrainState, Any], task: Any) -> Any:
        return train_steps(run, state_and_rows[0], task, state_and_rows[1])

    mapped = map_over_ensemble(train_member, plan, mesh)

    def train_members(states: TrainState, task: Any, rows: Any = None) -> Any:
        return mapped((states, rows), task)

    is_whole = plan.params * plan.shards == 1
    shardings = member_sharding(mesh) if is_whole else state_shardings(mesh, abstract_states(run, plan))
    return jax.jit(train_members, donate_argnums=0, out_shardings=(shardings, member_sharding(mesh)))


def feed_rows(run: Run, plan: EnsemblePlan, mesh: jax.sharding.Mesh, first_step: int) -> Iterator[tuple[Any, ...]]:
    """Further arguments of each call of the train steps: the rows, if they are on disk, and otherwise none."""
    if run.rows is None:
        return itertools.repeat(())
    sharding = jax.NamedSharding(mesh, row_spec(mesh))
    return ((rows,) for rows in RowFeed(run, plan.seeds, sharding, first_step))


def autotune_plan(run: Run, plan: EnsemblePlan) -> tuple[EnsemblePlan, list[dict[str, Any]]]:
    """Time the modes and placements of an ensemble; the fastest plan, and all timings.

    Timed are "map" and "vmap" on all devices of `plan`, on one device per group (no shared batches), and on a single
    device; where the config gives an axis of the mesh, only with that. Those that run out of memory are skipped, and so
    are those without a device for every process.
    """
    timings, fields = [], mesh_fields(run.config)
    for devices, shards in dict.fromkeys([(plan.devices, plan.shards), (plan.devices, 1), (1, 1)]):
        is_open = fields.ensemble in (0, devices) and fields.batch in (0, shards)
        if not is_open or devices * shards * plan.params < jax.process_count():
            continue
        for mode in ("map", "vmap"):
            placement = {"mode": mode, "devices": devices, "shards": shards}
            try:
                timings.append({**placement, "seconds": time_train_call(run, plan._replace(**placement))})
            except RuntimeError as error:
                if "RESOURCE_EXHAUSTED" not in str(error) or jax.process_count() > 1:
                    raise
    if not timings:
        raise ValueError("ensemble.mode=autotune: out of memory in every way; try fewer members or a smaller batch")
    timings = distributed.broadcast_from_process_0(lambda: timings)  # other processes measure other times
    fastest = min(timings, key=lambda timing: timing["seconds"])
    return plan._replace(**{name: fastest[name] for name in ("mode", "devices", "shards")}), timings


def time_train_call(run: Run, plan: EnsemblePlan) -> float:
    """The time of one call of `train_steps` on a fresh ensemble, in seconds.

    The second call is timed: the first touches memory that the process has not used before.
    """
    mesh = make_mesh(plan)
    states, task = init_ensemble(run, plan, mesh), jax.device_put(run.task, replicated_sharding(mesh))
    rows = next(feed_rows(run, plan, mesh, 0))
    call = jit_train_steps(run, plan, mesh).lower(states, task, *rows).compile()
    states, _ = jax.block_until_ready(call(states, task, *rows))
    started = time.monotonic()
    jax.block_until_ready(call(states, task, *rows))
    return time.monotonic() - started
