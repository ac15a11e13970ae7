"""Run groups of trials on a Ray cluster: many machines, or the cores of this one.

Ray Core is the extra `cluster` (pip install -e .[cluster]). Every machine must see the results folder under the same
path: if a worker dies, its group is given to another worker, which continues from the last checkpoint there.
"""

import contextlib
import os
import socket
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from experiments.ablation.groups import Executor, TrialGroup, run_group
from experiments.ablation.trials import TrialResult
from experiments.measures import registry
from training import files

MAX_RETRIES = 5  # of a group whose worker dies; an error in the group itself is raised at once
_REPOSITORY = Path(__file__).parents[2]


def run_group_on_cores(group: TrialGroup, cores: int) -> list[TrialResult]:
    """Run a group on cores of its own: Ray counts the cores that a worker asks for, but does not bind it to them."""
    with reserve_cores(cores):
        return run_group(group)


@contextlib.contextmanager
def reserve_cores(count: int, lock_dir: Path | None = None) -> Iterator[None]:
    """Bind this process to `count` cores that no other process of this user holds in the same way.

    JAX starts a thread for every core that it may use, so this comes before the first array. A core is held by a lock
    on a folder in `lock_dir`, which the system releases when the process dies. The process stays unbound if `count` is
    0, if fewer cores are free, or if the system can't bind processes.
    """
    if not count or not hasattr(os, "sched_setaffinity"):
        yield
        return
    lock_dir = lock_dir or Path(tempfile.gettempdir()) / f"recur-or-attend-cores-{os.getuid()}"
    allowed, taken = os.sched_getaffinity(0), set()
    with contextlib.ExitStack() as held:
        for core in sorted(allowed):
            (lock_dir / str(core)).mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(ValueError):  # another process has it
                held.enter_context(files.lock_directory(lock_dir / str(core)))
                taken.add(core)
            if len(taken) == count:
                break
        if len(taken) < count:
            held.close()
            yield
            return
        pin_threads(taken)
        try:
            yield
        finally:
            pin_threads(allowed)


def pin_threads(cores: set[int]) -> None:
    """Bind every thread of this process to these cores; JAX's own threads outlive a group."""
    for thread in os.listdir("/proc/self/task"):
        with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
            os.sched_setaffinity(int(thread), cores)


def make_ray_executor(address: str | None, cpus: float, gpus: float = 0) -> Executor:
    """Run groups on the Ray cluster at `address`, or on a new one that only this machine can reach.

    Each group gets `cpus` cores and `gpus` GPUs. Groups that measure times are run one after another, since they would
    disturb each other. Raises ValueError, in one line, where Ray is missing or there is no such cluster.
    """
    if not address:
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # then Ray's processes take 127.0.0.1 for this machine
    try:
        import ray
        from ray._private import ray_constants
    except ImportError:
        raise ValueError('--executor=ray: Ray is not installed; pip install -e ".[cluster]"') from None
    host, given, port = (address or "").rpartition(":")
    try:
        if given and "/" not in host:  # Ray itself would wait for minutes
            socket.create_connection((host, int(port)), timeout=10).close()
        if not address:
            ray_constants.ENABLE_RAY_CLUSTER = False  # what that variable says, if Ray was imported before
        environment = {"env_vars": {"PYTHONPATH": str(_REPOSITORY)}}
        ray.init(address=address or "local", runtime_env=environment, log_to_driver=False, include_dashboard=False)
    except (OSError, RuntimeError, ValueError) as error:
        raise ValueError(f"--address={address}: no Ray cluster there ({str(error).splitlines()[0]})") from None

    def execute(groups: Sequence[TrialGroup]) -> Iterator[tuple[TrialGroup, list[TrialResult]]]:
        remote = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=MAX_RETRIES)(run_group_on_cores)

        def submit(group: TrialGroup) -> Any:
            """Start a group; its paths are made absolute, since the worker runs in another directory."""
            paths = {name: str(Path(getattr(group, name)).absolute()) for name in ("directory", "data_dir")}
            return remote.remote(group._replace(**paths), int(cpus))

        timed = [group for group in groups if registry.TIMED_MEASURES & set(group.measures)]
        waiting = {submit(group): group for group in groups if group not in timed}
        while waiting:
            (done, *_), _ = ray.wait(list(waiting), num_returns=1)
            yield waiting.pop(done), ray.get(done)
        for group in timed:
            yield group, ray.get(submit(group))

    return execute
