"""What a run will need on its devices and how fast it can be, from shapes alone: nothing is computed or compiled."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.extend.core
import jax.numpy as jnp
import numpy as np

from models import Seq2Seq, cost
from models.ops.spreading import param_axis
from models.skeleton import is_block_param
from training.builder import Run
from training.ensemble import EnsemblePlan, member_values, plan_ensemble
from training.sharding import MeshShape, mesh_fields, sequences_at_once
from training.trainer import TrainState, apply_model, init_train_state, sample_longest

MODEL_FLOPS_UTILIZATION = 0.4  # of the peak; large models on many accelerators reach 0.3 to 0.6


class RunEstimate(NamedTuple):
    """Sizes and work of a run. Bytes are those on one device of `mesh`."""

    mesh: MeshShape
    members: int
    parameters: int  # of one member
    step_flops: int  # of all members in one step, without what `model.remat` computes again
    step_tokens: int  # places in the batches of all members in one step, padding too
    parameter_bytes: int
    optimizer_bytes: int
    best_bytes: int  # of the best parameters so far, and of what else is kept beside parameters and optimizer
    gradient_bytes: int
    gathered_bytes: int  # of spread parameters, while a step has them whole
    # What autodiff keeps for the gradient, and what a block has inside while it is computed again.
    activation_bytes: int

    @property
    def state_bytes(self) -> int:
        """Bytes of what a device holds between two steps."""
        return self.parameter_bytes + self.optimizer_bytes + self.best_bytes

    @property
    def device_bytes(self) -> int:
        """Bytes that a device needs, about, beside the data."""
        return self.state_bytes + self.gradient_bytes + self.gathered_bytes + self.activation_bytes

    def tokens_per_second(self, peak_flops: float, utilization: float = MODEL_FLOPS_UTILIZATION) -> float:
        """Tokens per second on devices that do `peak_flops` operations per second at best, and that share of them."""
        return self.step_tokens * peak_flops * self.mesh.devices * utilization / self.step_flops


def estimate_run(run: Run, plan: EnsemblePlan) -> RunEstimate:
    """Estimate the sizes and the work of a run that is trained as planned."""
    mesh, batch_size = plan.mesh_shape, run.config["training"]["batch_size"]
    init = partial(init_train_state, run)
    state: TrainState = jax.eval_shape(init, plan.seeds[0], plan.learning_rates[0], **member_values(plan, 0))
    members = len(plan.seeds)
    # Of the members of a device, one after another or all at once are in training.
    stored, trained = members // mesh.ensemble, members // mesh.ensemble if plan.mode == "vmap" else 1
    rest = [leaf for name, part in state._asdict().items() if name not in ("params", "optimizer")
            for leaf in jax.tree.leaves(part)]  # fmt: skip
    sharded = sum_device_bytes(state.params, mesh.params)
    per_pass = max(1, sequences_at_once(run.config) // (mesh.batch * mesh.params))
    batch = jax.eval_shape(lambda task: sample_longest(task, batch_size), run.task)
    plain = run._replace(model=without_remat(run.model), config=_without_remat_field(run.config))
    gradient = jax.grad(partial(_batch_loss, plain))
    return RunEstimate(
        mesh=mesh,
        members=members,
        parameters=cost.count_params(state.params),
        step_flops=members * cost.count_flops(gradient, state.params, batch),
        step_tokens=members * math.prod(batch.inputs.shape[:2]),
        parameter_bytes=stored * sharded,
        optimizer_bytes=stored * sum_device_bytes(state.optimizer, mesh.params),
        best_bytes=stored * sum_device_bytes(rest, mesh.params),
        gradient_bytes=trained * sharded,
        gathered_bytes=trained * _count_gathered_bytes(run, state.params, mesh.params),
        activation_bytes=trained * count_activation_bytes(run, state.params, per_pass),
    )


def describe_estimate(estimate: RunEstimate, peak_flops: float = 0.0) -> dict[str, str]:
    """Describe an estimate, line by line under its heading; with a device's `peak_flops`, also tokens per second."""
    parts = {
        "parameters": estimate.parameter_bytes,
        "optimizer": estimate.optimizer_bytes,
        "best parameters": estimate.best_bytes,
        "gradient": estimate.gradient_bytes,
        "gathered parameters": estimate.gathered_bytes,
        "activations": estimate.activation_bytes,
    }
    lines = {
        "mesh": f"{estimate.mesh} devices (ensemble × batch × params)",
        "a device": ", ".join(f"{name} {format_bytes(size)}" for name, size in parts.items() if size),
        "in all": f"about {format_bytes(estimate.device_bytes)}; XLA may need less or more",
    }
    if peak_flops:
        speed = estimate.tokens_per_second(peak_flops)
        lines["speed"] = (
            f"{speed:,.0f} tokens per second at {MODEL_FLOPS_UTILIZATION:.0%} of {peak_flops:.3g} FLOP/s per device"
        )
    return lines


def plan_for_estimate(config: Mapping[str, Any], devices: int = 0) -> EnsemblePlan:
    """Plan a run for `devices` devices; with 0, for as many as its mesh names, if that is more than there are here.

    Raises ValueError, in one line, if the config's mesh does not fit.
    """
    fields = mesh_fields(config)
    named = math.prod(max(1, size) for size in fields)
    if not devices and named <= len(jax.devices()):
        return plan_ensemble(config)
    return plan_ensemble(config, devices or named)


def sum_device_bytes(tree: Any, devices: int) -> int:
    """Bytes of one device's part of the arrays of one member, whose parameters are spread over `devices`."""
    return sum(
        math.prod(leaf.shape) * leaf.dtype.itemsize // (1 if param_axis(leaf.shape, devices) is None else devices)
        for leaf in jax.tree.leaves(tree)
    )


def _count_gathered_bytes(run: Run, params: Any, devices: int) -> int:
    """Bytes of spread parameters that a device has whole at a time: all, or with `model.remat` those of one block."""
    extra: dict[str, int] = {}
    for path, leaf in jax.tree.leaves_with_path(params):
        names = [str(getattr(key, "key", "")) for key in path if is_block_param([key])]
        block = names[0].rpartition("_")[2] if names and run.config["model"].get("remat") else "always"
        size = sum_device_bytes(leaf, 1) - sum_device_bytes(leaf, devices)
        extra[block] = extra.get(block, 0) + size
    return extra.pop("always", 0) + max(extra.values(), default=0)


def count_activation_bytes(run: Run, params: Any, sequences: int) -> int:
    """Bytes that the gradient of so many sequences needs beside the parameters and itself.

    They are what autodiff keeps from the forward to the backward pass, and with `model.remat` what the largest block
    keeps while it is computed again. What scans stack there, step by step, counts for every block: XLA's compiler for
    CPUs sets it aside for all of them from the start. Of six mixers this was 0.9 to 1.7 times what that allocates.
    """
    batch = jax.eval_shape(lambda task: sample_longest(task, sequences), run.task)
    kept = _count_saved_bytes(partial(_batch_loss, run), params, batch)
    if not run.config["model"].get("remat"):
        return kept
    blocks = _find_remat(jax.make_jaxpr(partial(_batch_loss, run))(params, batch).jaxpr)
    alike = {_block_signature(equation): equation for equation in blocks}
    measured = {signature: _measure_block(equation) for signature, equation in alike.items()}
    again = [measured[_block_signature(equation)] for equation in blocks]
    stacked = sum(block.stacked for block in again)
    return kept + max((block.saved + stacked - block.stacked for block in again), default=0)


def _count_saved_bytes(function: Callable, *args: Any) -> int:
    """Bytes that autodiff keeps from the forward to the backward pass of a function, without its arguments."""
    jaxpr = jax.make_jaxpr(lambda *args: jax.tree.leaves(jax.vjp(function, *args)[1]))(*args).jaxpr
    given = set(jaxpr.invars)
    saved = {v for v in jaxpr.outvars if not isinstance(v, jax.extend.core.Literal) and v not in given}
    return sum(map(_byte_size, saved))


class _BlockBytes(NamedTuple):
    """What is there while a block is computed again: all that is kept for its gradient, and what scans stack."""

    saved: int
    stacked: int


def _find_remat(jaxpr: Any) -> list[Any]:
    """The equations of a jaxpr, and of those inside it, that `jax.checkpoint` made."""
    found = []
    for equation in jaxpr.eqns:
        if equation.primitive.name in ("checkpoint", "remat", "remat2"):
            found.append(equation)
        else:
            found += [inner for part in cost.inner_jaxprs(equation) for inner in _find_remat(part)]
    return found


def _block_signature(equation: Any) -> tuple[Any, ...]:
    """Equal for blocks that are alike but for the values of their parameters."""
    return (len(equation.params["jaxpr"].eqns), *(str(v.aval) for v in (*equation.invars, *equation.outvars)))


def _measure_block(equation: Any) -> _BlockBytes:
    block = jax.extend.core.jaxpr_as_fun(jax.extend.core.ClosedJaxpr(equation.params["jaxpr"], ()))
    args = [jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype) for v in equation.invars]

    def pull_back(*args: Any) -> Any:
        outputs, function = jax.vjp(block, *args)
        is_real = [jnp.issubdtype(y.dtype, jnp.inexact) for y in outputs]
        return function([jnp.ones_like(y) if real else np.zeros(y.shape, jax.dtypes.float0)
                         for y, real in zip(outputs, is_real, strict=True)])  # fmt: skip

    gradient = jax.make_jaxpr(lambda *args: [g for g in pull_back(*args) if g.dtype != jax.dtypes.float0])(*args)
    return _BlockBytes(_count_saved_bytes(block, *args), _count_stacked_bytes(gradient.jaxpr))


def _count_stacked_bytes(jaxpr: Any) -> int:
    """Bytes that scans put out step by step; of several branches, the most."""
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "scan":
            total += sum(map(_byte_size, equation.outvars[equation.params["num_carry"] :]))
            continue
        parts = [_count_stacked_bytes(part) for part in cost.inner_jaxprs(equation)]
        total += max(parts, default=0) if equation.primitive.name == "cond" else sum(parts)
    return total


def _byte_size(variable: Any) -> int:
    return math.prod(variable.aval.shape) * variable.aval.dtype.itemsize


def _batch_loss(run: Run, params: Any, batch: Any) -> jax.Array:
    return run.task.loss(apply_model(run, params, batch), batch)


def without_remat(model: Any) -> Any:
    """The same network, in which nothing is computed twice."""
    if isinstance(model, Seq2Seq):
        return model.clone(encoder=without_remat(model.encoder), decoder=without_remat(model.decoder), parent=None)
    return model.clone(remat=False, parent=None) if hasattr(model, "remat") else model


def _without_remat_field(config: Mapping[str, Any]) -> dict[str, Any]:
    return {**config, "model": {**config["model"], "remat": False}}


def format_bytes(size: float) -> str:
    """1536 as "1.5 KiB"."""
    units = ("B", "KiB", "MiB", "GiB", "TiB")
    power = min(len(units) - 1, max(0, int(size).bit_length() - 1) // 10)
    return f"{size / 2 ** (10 * power):,.1f} {units[power]}"
