"""The training loop: train, log, evaluate and save, from the newest checkpoint to the last step."""

import contextlib
import itertools
import signal
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from training import cli, distributed, files, metrics
from training.builder import Run, run_fingerprint
from training.checkpoint import Checkpoints
from training.console import print_status
from training.ensemble import (
    EnsemblePlan,
    feed_rows,
    init_ensemble,
    jit_train_steps,
    make_mesh,
    map_over_ensemble,
    member_sharding,
    plan_ensemble,
    replicated_sharding,
)
from training.logger import MetricLogger
from training.loggers import LoggedRun, validate_loggers
from training.memory import check_memory
from training.profiler import CallProfiler
from training.progress import ProgressBar
from training.result import RunResult, summarize_run
from training.runtime import DEFAULT_DATA_DIR
from training.sharding import state_shardings
from training.trainer import TrainState, evaluate_split, keep_best, split_seed
from training.warm_start import InitSource, Parent, announce_parent, build_child, replace_params
from training.workdir import (
    check_members,
    check_metrics_log,
    claim_workdir,
    is_evaluation_step,
    members_of_state,
    read_result,
    restore_plan,
    write_description,
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
    init_from: str | Path | None = None,
    init_which: str = "best",
    init_optimizer: bool = False,
    init_member: int | None = None,
    loggers: Sequence[str] = (),
    profile_calls: int = 0,
) -> RunResult:
    """Train `config` in `workdir`, from its newest checkpoint on, and return the result.

    A finished run is not trained again: its result.json is returned. If several processes train together
    (`distributed.process_group`), each makes the same call and gets the same result.

    Args:
      config: what to train, as `get_config` of a config file returns it.
      workdir: the directory for the run's files.
      data_dir: where real data are prepared, once, and read from.
      name: what lines on standard error begin with.
      save_seconds: the longest time between two checkpoints.
      tensorboard: whether to write TensorBoard files too.
      allow_fewer_devices: resume a run that was begun on more devices, with other last bits.
      init_from: begin with the parameters of the run in this workdir or export, and not at random.
      init_which: its "best" or its "last" parameters.
      init_optimizer: begin with its last optimizer state too.
      init_member: its member, from which all members begin; None: each begins from that of the same number.
      loggers: where the metrics go too: "csv", "wandb", "mlflow". One that fails stops no run.
      profile_calls: after compilation, write JAX's profile of so many calls of the train steps to `workdir`/profile.

    Raises:
      ValueError: the config can't be trained, or the workdir is damaged, in use, or another run's.
      OSError: a file can't be written.
      cli.Preempted: SIGTERM, SIGHUP or Ctrl-C came; the state was saved before.
    """
    if not save_seconds >= 0:
        raise ValueError(f"save_seconds={save_seconds}: must be 0 or more")
    if type(profile_calls) is not int or profile_calls < 0:
        raise ValueError(f"profile_calls={profile_calls}: must be a whole number, 0 or more")
    validate_loggers(loggers)
    source = None
    if init_from is not None:
        source = InitSource(Path(init_from), init_which, init_optimizer, init_member)
    workdir = Path(workdir)
    run, parent = build_child(config, data_dir, source, workdir)
    result_path = workdir / "result.json"
    if not result_path.exists():
        check_memory(run)
        if not (workdir / "group.json").exists():
            make_mesh(plan_ensemble(run.config))  # raises before anything is written
    with contextlib.ExitStack() as stack:
        distributed.broadcast_from_process_0(lambda: stack.enter_context(claim_workdir(workdir, run.config)))
        if source and parent:
            distributed.broadcast_from_process_0(lambda: announce_parent(name, workdir, source, parent))
        if not distributed.broadcast_from_process_0(result_path.exists):
            plan = restore_plan(workdir, run, allow_fewer_devices)
            result = _TrainLoop(run, workdir, plan, name, parent).run_to_end(
                save_seconds, tensorboard, loggers, profile_calls
            )
            distributed.broadcast_from_process_0(lambda: files.write_json(result_path, result))
        # Read from the file in any case, so that a first call and a repeated one return the same.
        return distributed.broadcast_from_process_0(lambda: read_result(result_path, run))


class _CheckpointPolicy:
    """Decides when to save: at the end, on a signal, and every `save_seconds`. All processes decide alike."""

    def __init__(self, save_seconds: float):
        self.save_seconds, self.last_save = save_seconds, time.monotonic()

    def decide(self, received: signal.Signals | None, is_over: bool) -> tuple[int, bool]:
        """The signal that any process has received (0: none), and whether to save now."""
        is_due = time.monotonic() - self.last_save >= self.save_seconds
        received_anywhere, due_anywhere = distributed.all_reduce_max(received or 0, is_due)
        return received_anywhere, bool(is_over or received_anywhere or due_anywhere)

    def restart_timer(self) -> None:
        """Count `save_seconds` from now on."""
        self.last_save = time.monotonic()


class _Stopwatch:
    def __init__(self):
        self.lap_start = time.monotonic()

    def lap(self) -> float:
        """The seconds since the last lap ended."""
        now = time.monotonic()
        seconds, self.lap_start = now - self.lap_start, now
        return seconds


class _TrainLoop:
    """A run in progress: its members' states on the devices, its compiled functions and its files."""

    def __init__(self, run: Run, workdir: Path, plan: EnsemblePlan, name: str, parent: Parent | None = None):
        self.run, self.workdir, self.plan, self.name = run, workdir, plan, name
        self.is_first = jax.process_index() == 0  # the process that writes and shows; the others only compute
        self.last_step = run.config["training"]["steps"]
        self.mesh = make_mesh(plan)
        self.states = init_ensemble(run, plan, self.mesh)
        self.task = jax.device_put(run.task, replicated_sharding(self.mesh))
        distributed.broadcast_from_process_0(lambda: write_description(run, workdir))
        self.checkpoints = Checkpoints(workdir / "checkpoints", run_key=run_fingerprint(run.config))
        self.step = self._restore_checkpoint()
        if parent and not self.step:
            self.states = replace_params(self.states, parent)
        self._jit_functions()

    def _restore_checkpoint(self) -> int:
        """Restore the newest checkpoint, if there is one. Returns its step, or 0."""
        step = distributed.broadcast_from_process_0(lambda: self.checkpoints.latest_step() or 0)
        if step:
            self.states = self.checkpoints.restore(step, self.states)
            found = distributed.to_host(self._states_without_params())._asdict()
            check_members(self.workdir, self.plan, members_of_state(found))
            if (saved_step := int(distributed.to_host(self.states.step).max())) != step:
                raise ValueError(
                    f"{self.workdir}/checkpoints/{step} is the checkpoint of step {saved_step}; give it its own name "
                    f"again"
                )
        distributed.broadcast_from_process_0(lambda: check_metrics_log(self.run, self.workdir / "metrics.jsonl", step))
        return step

    def _jit_functions(self) -> None:
        run, plan, mesh = self.run, self.plan, self.mesh
        sharding = member_sharding(mesh)
        self.train_steps: Any = jit_train_steps(run, plan, mesh)
        self.feed = feed_rows(run, plan, mesh, self.step)
        self.evaluate_split: dict[Any, Any] = {
            split: jax.jit(map_over_ensemble(partial(evaluate_split, run, split), plan, mesh), out_shardings=sharding)
            for split in run.task.splits.values()
        }
        self.keep_best: Any = jax.jit(
            jax.vmap(partial(keep_best, run)), donate_argnums=0, out_shardings=state_shardings(mesh, self.states)
        )

    def _compile_functions(self, rows: tuple[Any, ...]) -> None:
        """Compile all functions at the same time, since much of compiling one keeps a single core busy.

        They are traced in this thread, whose settings of JAX count. Several processes compile in the same order.
        """
        sharding = member_sharding(self.mesh)

        def shapes(lowered: Any) -> Any:
            return jax.tree.map(
                lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), lowered.out_info
            )

        with ThreadPoolExecutor(1 if jax.process_count() > 1 else None) as pool:
            train_steps = pool.submit(self.train_steps.lower(self.states, self.task, *rows).compile)
            seed = split_seed("")  # of any split: it is an argument
            lowered = {split: f.lower(self.states, self.task, seed) for split, f in self.evaluate_split.items()}
            evaluate = {split: pool.submit(one.compile) for split, one in lowered.items()}
            results = {name: shapes(lowered[split]) for name, split in self.run.task.splits.items()}
            keep_best = pool.submit(self.keep_best.lower(self.states, _scores_to_keep(results)).compile)
        self.train_steps, self.keep_best = train_steps.result(), keep_best.result()
        self.evaluate_split = {split: function.result() for split, function in evaluate.items()}

    def run_to_end(
        self, save_seconds: float, tensorboard: bool, loggers: Sequence[str] = (), profile_calls: int = 0
    ) -> RunResult:
        """Train to the last step, or until no member moves any more. Raises cli.Preempted on a signal."""
        if self.is_first and not self.step:
            self._warn_of_endless_warmup()
        logged = LoggedRun(self.run, self.workdir, self.plan, self.step)
        logger = MetricLogger(logged, loggers, enabled=self.is_first, tensorboard=tensorboard)
        profiler = CallProfiler(self.name, self.workdir / "profile", profile_calls if self.is_first else 0)
        show_progress = ProgressBar(self.name, self.last_step, self.step) if self.is_first else contextlib.nullcontext()
        policy = _CheckpointPolicy(save_seconds)
        # A run that fails still ends its last checkpoint: the next one in this process would delete it, half written.
        opened = contextlib.closing(self.checkpoints)
        with opened, cli.GracefulShutdown() as shutdown, logger, profiler, show_progress as progress:
            alive = distributed.to_host(self.states.alive)
            stopwatch, compile_seconds = _Stopwatch(), {}
            if not self._is_over(alive):
                rows = next(self.feed)
                self.feed = itertools.chain([rows], self.feed)
                self._compile_functions(rows)
                compile_seconds = {"compile_seconds": stopwatch.lap()}
            while not self._is_over(alive):
                with profiler.record_call(self.step):
                    values, alive = self._train_call(logger, stopwatch, compile_seconds)
                compile_seconds = {}  # logged once, with the first call
                if is_evaluation_step(self.run.config, self.step):
                    self._evaluate(logger, stopwatch)
                if progress:
                    progress.update(self.step, **values)
                received, is_due = policy.decide(shutdown.caught, self._is_over(alive))
                if is_due:
                    logger.flush_to_disk()  # so that no checkpoint is ahead of its log after a power failure
                    self.checkpoints.save(self.step, self.states)
                    policy.restart_timer()
                if received and not self._is_over(alive):
                    self._stop(signal.Signals(received))
        return self._summarize()

    def _is_over(self, alive: np.ndarray) -> bool:
        stopped_at = self.states.stopped_at
        moves = alive if stopped_at is None else alive & (distributed.to_host(stopped_at) < 0)
        return self.step == self.last_step or not moves.any()

    def _train_call(
        self, logger: MetricLogger, stopwatch: _Stopwatch, compile_seconds: Mapping[str, float]
    ) -> tuple[dict[str, float], np.ndarray]:
        """Train for `steps_per_call` steps; values to show, and which members are alive, bool[members]."""
        self.states, step_metrics = self.train_steps(self.states, self.task, *next(self.feed))
        self.step += self.run.config["training"]["steps_per_call"]
        step_metrics, alive = distributed.to_host((step_metrics, self.states.alive))
        row = {
            "loss": step_metrics["loss"],
            self.run.task.metric: step_metrics["score"],
            "gradient_norm": step_metrics["gradient_norm"],
        }
        logger.log_metrics(self.step, "train", row, seconds=stopwatch.lap(), **compile_seconds)
        del row["gradient_norm"]
        return _average_alive(row, alive), alive

    def _evaluate(self, logger: MetricLogger, stopwatch: _Stopwatch) -> None:
        """Evaluate all splits, and keep the parameters of members that were never better."""
        results = {}
        for name, split in self.run.task.splits.items():
            result = results[name] = self.evaluate_split[split](self.states, self.task, split_seed(name))
            result = distributed.to_host(result)
            row = {"loss": result.pop("loss"), self.run.task.metric: result.pop("score"), **result}
            logger.log_metrics(self.step, name, row, seconds=stopwatch.lap())
        self.states = self.keep_best(self.states, _scores_to_keep(results))

    def _stop(self, received: signal.Signals) -> None:
        """Wait for the checkpoint and raise cli.Preempted."""
        self.checkpoints.wait_until_written()
        raise cli.Preempted(
            f"{cli.SIGNAL_NAMES[received]}: saved step {self.step} of {self.last_step} in {self.workdir}; "
            f"the same command goes on from there",
            128 + received,
        )

    def _summarize(self) -> RunResult:
        states: TrainState = distributed.to_host(self._states_without_params())
        return distributed.broadcast_from_process_0(
            lambda: summarize_run(self.run, self.plan, states, metrics.read_metrics(self.workdir / "metrics.jsonl"))
        )

    def _states_without_params(self) -> TrainState:
        return self.states._replace(params=None, optimizer=None, best_params=None, ema_params=None, stream=None)

    def _warn_of_endless_warmup(self) -> None:
        warmup_steps = self.run.config["optimizer"]["warmup_steps"]
        if warmup_steps >= self.last_step:
            print_status(
                f"{self.name}: the learning rate rises in all of the {self.last_step} steps and never falls, since "
                f"optimizer.warmup_steps={warmup_steps}"
            )


def _scores_to_keep(results: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The score of every split, and the extra scores of "test" by their own names."""
    extra = {name: value for name, value in results.get("test", {}).items() if name not in ("loss", "score")}
    return {**{split: result["score"] for split, result in results.items()}, **extra}


def _average_alive(metrics: Mapping[str, np.ndarray], alive: np.ndarray) -> dict[str, float]:
    """Means over the members that are alive, and how many are not."""
    means = {name: float(values[alive].mean()) if alive.any() else float("nan") for name, values in metrics.items()}
    return means if alive.all() else {**means, "diverged": int((~alive).sum())}
