"""Groups of cells over a Ray cluster: many machines, or the cores of this one.

Ray Core is the extra `cluster` (pip install -e .[cluster]). Every machine must see the results folder under the same
path: a group whose worker died is given to another, which goes on from the last checkpoint there.
"""

import contextlib
import os
import socket
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from experiments.ablation.groups import Executor, TrialGroup, run_group
from experiments.measures import registry
from training import files

MAX_RETRIES = 5  # of a group whose worker dies; what is wrong with the group itself is raised at once
_REPOSITORY = Path(__file__).parents[2]


def run_group_on_cores(group: TrialGroup, cores: int) -> list[dict[str, Any]]:
    """`work(group)` on as many cores as were reserved for it, which Ray counts and does not give."""
    with reserve_cores(cores):
        return run_group(group)


@contextlib.contextmanager
def reserve_cores(count: int, lock_dir: Path | None = None) -> Iterator[None]:
    """Inside, this process has `count` cores to itself, among all processes of this user that are inside this.

    JAX makes a thread for every core that it may use, so this comes before the first array. A core is held by the lock
    on a folder in `lock_dir`, which the system lets go of when a process dies. Where fewer are free than asked for, or
    the system has no such thing, the process computes where it likes, as for a `count` of 0.
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
    """Have every thread of this process compute on these cores alone: JAX's own stay from one group to the next."""
    for thread in os.listdir("/proc/self/task"):
        with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
            os.sched_setaffinity(int(thread), cores)


def make_ray_executor(address: str | None, cpus: float, gpus: float = 0) -> Executor:
    """Runs jobs on the Ray cluster at `address`, or on a new one on this machine, which no other machine can reach;
    `cpus` cores and `gpus` GPUs each.

    Jobs that take times are run one after another, for side by side they would time each other.

    Raises ValueError, in one line, where Ray is missing or there is no such cluster.
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

    def execute(jobs: Sequence[TrialGroup]) -> Iterator[tuple[TrialGroup, list[dict[str, Any]]]]:
        remote = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=MAX_RETRIES)(run_group_on_cores)

        def send(job: TrialGroup) -> Any:
            """Where it runs, no one holds this directory: its names must say where they are."""
            paths = {name: str(Path(getattr(job, name)).absolute()) for name in ("directory", "data_dir")}
            return remote.remote(job._replace(**paths), int(cpus))

        timed = [job for job in jobs if registry.TIMED_MEASURES & set(job.measures)]
        waiting = {send(job): job for job in jobs if job not in timed}
        while waiting:
            (done, *_), _ = ray.wait(list(waiting), num_returns=1)
            yield waiting.pop(done), ray.get(done)
        for job in timed:
            yield job, ray.get(send(job))

    return execute
