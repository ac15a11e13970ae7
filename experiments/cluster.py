"""Groups of cells over a Ray cluster: many machines, or the cores of this one.

Ray Core is the extra `cluster` (pip install -e .[cluster]). Every machine must see the results folder under the same
path: a group whose worker died is given to another, which goes on from the last checkpoint there.
"""

import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from experiments import measures
from experiments.runner import Execute, Job, work

TRIES = 5  # of a group whose worker dies; what is wrong with the group itself is raised at once
ROOT = Path(__file__).parents[1]


def executor(address: str | None, cpus: float, gpus: float = 0) -> Execute:
    """Runs jobs on the Ray cluster at `address`, or on a new one on this machine; `cpus` cores and `gpus` GPUs each.

    Jobs that take times are run one after another, for side by side they would time each other.

    Raises ValueError, in one line, where Ray is missing or there is no such cluster.
    """
    try:
        import ray
    except ImportError:
        raise ValueError('--executor=ray: Ray is not installed; pip install -e ".[cluster]"') from None
    host, given, port = (address or "").rpartition(":")
    try:
        if given and "/" not in host:  # Ray itself would wait for minutes
            socket.create_connection((host, int(port)), timeout=10).close()
        environment = {"env_vars": {"PYTHONPATH": str(ROOT)}}
        ray.init(address=address, runtime_env=environment, log_to_driver=False, include_dashboard=False)
    except (OSError, RuntimeError, ValueError) as error:
        raise ValueError(f"--address={address}: no Ray cluster there ({str(error).splitlines()[0]})") from None

    def execute(jobs: Sequence[Job]) -> Iterator[tuple[Job, list[dict[str, Any]]]]:
        remote = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=TRIES)(work)

        def send(job: Job) -> Any:
            """Where it runs, no one holds this directory: its names must say where they are."""
            paths = {name: str(Path(getattr(job, name)).absolute()) for name in ("directory", "data_dir")}
            return remote.remote(job._replace(**paths))

        timed = [job for job in jobs if measures.TIMED & set(job.measured)]
        waiting = {send(job): job for job in jobs if job not in timed}
        while waiting:
            (done, *_), _ = ray.wait(list(waiting), num_returns=1)
            yield waiting.pop(done), ray.get(done)
        for job in timed:
            yield job, ray.get(send(job))

    return execute
