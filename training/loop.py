"""The training loop."""

import contextlib
import signal
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

import models
from data import DEFAULT_DATA_DIR
from training import checkpoint, cli, distributed, files, metrics, runtime
from training.builder import Run, build_run, fingerprint_fields
from training.ensemble import EnsemblePlan, init_ensemble, jit_train_steps, make_mesh, map_over_ensemble
from training.progress import ProgressBar, print_status
from training.tensorboard import TensorBoardWriter
from training.trainer import TrainState, evaluate_split, keep_best, run_costs, sample_longest, split_seed
from training.workdir import (
    _check_metrics_log,
    _read_result,
    _write_description,
    check_members,
    claim_workdir,
    restore_plan,
)


def check_memory(run: Run) -> None:
    """Refuse, with ValueError, what this machine's memory can't hold for sure: parameters, the best ones, two moments
    and a gradient of every replica, and one layer's features of one replica's batch, all in float32."""
    config, steps = run.config, run.task.max_length
    members = len(config["ensemble"]["seeds"]) * max(1, len(config["ensemble"]["learning_rates"]))
    inputs = jax.eval_shape(lambda task: sample_longest(task, 1), run.task).inputs
    parameters, batch = models.count_model_params(run.model, inputs), config["training"]["batch_size"]
    needed = 4 * (5 * members * parameters + batch * steps * config["model"]["width"])
    there = runtime.device_memory_bytes()
    if there is not None and needed > there:
        raise ValueError(
            f"{members} × {parameters:,} parameters and batches of {batch} × {steps:,} steps need at least "
            f"{needed / 2**30:,.0f} GiB, and this machine has {there / 2**30:,.0f}; give fewer replicas, or a smaller "
            f"model.width, model.depth or training.batch_size"
        )


def train(
    config: Mapping[str, Any],
    workdir: str | Path,
    *,
    data_dir: str | Path = DEFAULT_DATA_DIR,
    name: str = "train",
    save_seconds: float = 20.0,
    tensorboard: bool = True,
    allow_fewer_devices: bool = False,
) -> dict[str, Any]:
    """Train `config` in `workdir`, going on from what is there; the result, as result.json has it.

    Where several processes train together (distributed.process_group), each calls this alike and each gets the result.
    Raises ValueError where the workdir holds another config's run, is in use by another process, or has a checkpoint
    that can't be read, OSError where files can't be written, and command.Preempted after saving, where SIGTERM or
    Ctrl-C came.
    """
    if not save_seconds >= 0:
        raise ValueError(f"save_seconds={save_seconds}: must be 0 or more")
    workdir = Path(workdir)
    run = build_run(config, data_dir)
    path = workdir / "result.json"
    if not path.exists():
        check_memory(run)
    with contextlib.ExitStack() as held:
        distributed.broadcast_from_process_0(lambda: held.enter_context(claim_workdir(workdir, run.config)))
        if not distributed.broadcast_from_process_0(path.exists):
            result = _train_loop(run, workdir, name, save_seconds, tensorboard, allow_fewer_devices)
            distributed.broadcast_from_process_0(lambda: files.write_json(path, result))
        return distributed.broadcast_from_process_0(
            lambda: _read_result(path, run)
        )  # just finished and found again read alike


def _train_loop(
    run: Run, workdir: Path, name: str, save_seconds: float, tensorboard: bool, allow_fewer_devices: bool
) -> dict[str, Any]:
    """The loop itself, from the newest checkpoint in `workdir` to the last step."""
    first = jax.process_index() == 0  # who writes and shows; the others compute
    group = restore_plan(workdir, run, allow_fewer_devices)
    mesh = make_mesh(group)
    along = jax.NamedSharding(mesh, jax.P("replica"))
    replicas = init_ensemble(run, group, mesh)
    task = jax.device_put(run.task, jax.NamedSharding(mesh, jax.P()))
    distributed.broadcast_from_process_0(lambda: _write_description(run, workdir))

    call = jit_train_steps(run, group, mesh)
    splits = run.task.splits
    score = {
        split: jax.jit(map_over_ensemble(partial(evaluate_split, run, split), group, mesh), out_shardings=along)
        for split in splits.values()
    }
    keep = jax.jit(jax.vmap(partial(keep_best, run)), donate_argnums=0, out_shardings=along)

    training = run.config["training"]
    checkpoints = checkpoint.Checkpoints(
        workdir / "checkpoints", run_key=files.fingerprint(fingerprint_fields(run.config))
    )
    step = distributed.broadcast_from_process_0(lambda: checkpoints.latest_step() or 0)
    if step:
        replicas = checkpoints.restore(step, replicas)
        check_members(workdir, group, *distributed.to_host((replicas.seed, replicas.learning_rate)))
        if (there := int(distributed.to_host(replicas.step).max())) != step:
            raise ValueError(
                f"{workdir}/checkpoints/{step} is the checkpoint of step {there}; give it its own name again"
            )
    distributed.broadcast_from_process_0(lambda: _check_metrics_log(run, workdir / "metrics.jsonl", step))
    if first and not step and run.config["optimizer"]["warmup_steps"] >= training["steps"]:
        print_status(
            f"{name}: the rate rises in all of the {training['steps']} steps and never falls, since "
            f"optimizer.warmup_steps="
            f"{run.config['optimizer']['warmup_steps']}"
        )
    log = metrics.MetricWriter(workdir / "metrics.jsonl") if first else None
    board = TensorBoardWriter(workdir / "tensorboard", group, step) if first and tensorboard else None
    saved = begun = time.monotonic()

    def note(split: str, row: Mapping[str, Any], **more: float) -> None:
        if log:
            log.write_row(step=step, split=split, **row, **more)
        if board:
            board.write_scalars(step, split, row)

    showing = ProgressBar(name, training["steps"], step) if first else contextlib.nullcontext()
    with cli.GracefulShutdown() as signals, showing as display:
        alive = distributed.to_host(replicas.alive)
        compiling = {}
        if step < training["steps"] and alive.any():
            call = call.lower(replicas, task).compile()
            compiling, begun = {"compile_seconds": time.monotonic() - begun}, time.monotonic()
        while step < training["steps"] and alive.any():
            replicas, measured = call(replicas, task)
            step += training["steps_per_call"]
            measured, alive = distributed.to_host((measured, replicas.alive))
            now = time.monotonic()
            row = {
                "loss": measured["loss"],
                run.task.metric: measured["score"],
                "gradient_norm": measured["gradient_norm"],
            }
            note("train", row, seconds=now - begun, **compiling)
            compiling = {}  # said once, of the first call
            begun = now

            if step % training["eval_every"] == 0 or step == training["steps"]:
                scores = {}
                for split in splits:
                    result = score[splits[split]](replicas, task, split_seed(split))
                    scores[split] = result["score"]
                    result = distributed.to_host(result)
                    row = {"loss": result["loss"], run.task.metric: result["score"]}
                    note(split, row, seconds=time.monotonic() - begun)
                    begun = time.monotonic()
                replicas = keep(replicas, scores)
            if display:
                display.update(step, **_progress_values(run, measured, alive))

            over = step == training["steps"] or not alive.any()
            caught, due = distributed.all_reduce_max(signals.caught or 0, now - saved >= save_seconds)
            if over or caught or due:
                if log:
                    log.flush_to_disk()  # so that no checkpoint is ahead of its log, even where the power fails
                checkpoints.save(step, replicas)
                saved = time.monotonic()
            if caught and not over:
                checkpoints.wait_until_written()
                raise cli.Preempted(
                    f"{cli.SIGNAL_NAMES[signal.Signals(caught)]}: saved step {step} of {training['steps']} in "
                    f"{workdir}; the same command goes on from there",
                    128 + caught,
                )
    checkpoints.wait_until_written()
    checkpoints.close()
    if log:
        log.close()
    if board:
        board.close()
    end = distributed.to_host(replicas._replace(params=None, optimizer=None, best_params=None))
    return distributed.broadcast_from_process_0(
        lambda: summarize_run(run, group, end, metrics.read_metrics(workdir / "metrics.jsonl"))
    )


def _progress_values(run: Run, measured: Mapping[str, np.ndarray], alive: np.ndarray) -> dict[str, float]:
    """Means over the replicas that are alive, and how many are not."""
    values = {"loss": measured["loss"], run.task.metric: measured["score"]}
    shown = {key: float(value[alive].mean()) if alive.any() else float("nan") for key, value in values.items()}
    return shown if alive.all() else {**shown, "diverged": int((~alive).sum())}


def summarize_run(run: Run, plan: EnsemblePlan, states: TrainState, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """What is kept of a finished run: a row a replica, its scores at its best validation step; cost; time.

    Scores are those of the state; `rows`, of the log, say how long it took.

    `seconds` are those of everything, `training_seconds` of training steps alone, without compiling and evaluating.
    """
    members = []
    for index, (seed, rate) in enumerate(zip(plan.seeds, plan.learning_rates, strict=True)):
        best = int(states.best_step[index])
        scores = {split: float(score[index]) for split, score in states.best_scores.items()} if best else {}
        members.append(
            {
                "seed": seed,
                "learning_rate": rate,
                "best_step": best,
                "validation": float(states.best_score[index]),
                "test": scores.get("test"),
                "scores": scores,
                "died_at": int(states.died_at[index]) if not states.alive[index] else None,
            }
        )
    return {
        "key": files.fingerprint(fingerprint_fields(run.config)),
        "status": "finished" if (states.alive & (states.best_step > 0)).any() else "diverged",
        "metric": run.task.metric,
        "best": run.task.best,
        "chance": run.task.chance,
        "baseline": run.task.baseline,
        "members": members,
        "cost": run_costs(run),
        "seconds": sum(row["seconds"] + row.get("compile_seconds", 0) for row in rows),
        "training_seconds": sum(row["seconds"] for row in rows if row["split"] == "train"),
        "steps": int(states.step.max()),
    }
