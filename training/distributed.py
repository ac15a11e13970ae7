"""Several processes that train together, on one machine or on many, and what they tell each other.

Enter `process_group` before the first array is made. In a single process the other functions do nothing of their own.
"""

import contextlib
import errno
import ipaddress
import json
import os
import re
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from training import cli

STARTUP_TIMEOUT = 300  # seconds to wait for the other processes to start
_HEARTBEAT_TIMEOUT = 60  # seconds without a sign of life after which a process counts as dead, and all others end
_SHUTDOWN_GRACE = 5  # seconds for the others to report an error of their own before this process is gone


def choose_devices(count: int) -> list[Any]:
    """Choose `count` of all devices, in the order of processes. Each process gives as many as any other, or one more."""
    share, remainder = divmod(count, jax.process_count())
    devices = []
    for process in range(jax.process_count()):
        in_process = [device for device in jax.devices() if device.process_index == process]
        devices += in_process[: share + (process < remainder)]
    return devices


@contextlib.contextmanager
def process_group(
    detect_cluster: bool = False,
    coordinator: str | None = None,
    processes: int | None = None,
    process: int | None = None,
) -> Iterator[None]:
    """A context in which this process trains together with others, if the arguments name any.

    After an error, a process prints it as `cli.report_errors` does and exits without waiting for the others, which may
    be waiting for it. The others then find it gone: at once on a CPU, and after `_HEARTBEAT_TIMEOUT` seconds elsewhere
    or if it hangs.

    Raises ValueError, in one line, for arguments that don't go together, and if the others can't be reached.
    """
    if not _describes_group(detect_cluster, coordinator, processes, process):
        yield
        return
    connect_processes(coordinator, processes, process)
    try:
        yield
    except BaseException as error:
        _abort_process(error)


def _describes_group(detect_cluster: bool, coordinator: str | None, processes: int | None, process: int | None) -> bool:
    """Whether the flags describe a group of processes. Raises ValueError if they don't go together."""
    values = {"--coordinator": coordinator, "--processes": processes, "--process": process}
    missing = [name for name, value in values.items() if value is None]
    if missing and len(missing) < len(values):
        given = next(name for name, value in values.items() if value is not None)
        raise ValueError(f"{given}={values[given]}: give {' and '.join(missing)} too")
    if processes is not None and process is not None and process >= processes:
        raise ValueError(f"--process={process}: must be below --processes={processes}, for they count from 0")
    return detect_cluster or not missing


def connect_processes(coordinator: str | None, processes: int | None, process: int | None) -> None:
    """Wait for all processes and learn of their devices. Raises ValueError, in one line, where that can't be.

    JAX would listen on every interface, and asks no one who they are: here process 0 listens on the coordinator's
    address alone, and each process, for Gloo, on the one by which it reaches it. 0.0.0.0 or [::] are every interface.
    """
    bind = None
    if coordinator:
        host, port = await_coordinator(coordinator, process == 0)
        bind = os.environ.get("JAX_COORDINATOR_BIND_ADDRESS") or f"{f'[{host}]' if ':' in host else host}:{port}"
        _bind_gloo(host)
    jax.config.update("jax_enable_preemption_service", False)  # it would swallow SIGTERM
    try:
        jax.distributed.initialize(
            coordinator,
            processes,
            process,
            initialization_timeout=STARTUP_TIMEOUT,
            heartbeat_timeout_seconds=_HEARTBEAT_TIMEOUT,
            coordinator_bind_address=bind,
        )
    except (RuntimeError, ValueError) as error:
        hint = "" if coordinator else "; give --coordinator, --processes and --process"
        raise ValueError(f"no other processes were found ({cli.format_error(error)}){hint}") from error


def _bind_gloo(host: str) -> None:
    """Have Gloo, by which JAX computes across CPUs, listen on this address and not on that of the machine's name."""
    if (
        ipaddress.ip_address(host).is_unspecified
        or getattr(jax.config, "jax_cpu_collectives_implementation", "") != "gloo"
    ):
        return
    from jax._src import distributed, xla_bridge  # JAX has no setting for it
    from jax._src.lib import _jax

    def make() -> Any:
        client = distributed.global_state.client
        return xla_bridge.make_cpu_client(_jax.make_gloo_tcp_collectives(distributed_client=client, hostname=host))

    xla_bridge.register_backend_factory("cpu", make, priority=0, fail_quietly=False)


def await_coordinator(coordinator: str, is_coordinator: bool) -> tuple[str, int]:
    """This process's own address, as a number, and the coordinator's port; once process 0 answers, or, in process 0
    itself, if it can listen: else JAX ends with a trace of its C++.

    Raises ValueError, in one line.
    """
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 2**16:
        raise ValueError(f"--coordinator={coordinator}: must be HOST:PORT")
    host, begun = host.strip("[]"), time.monotonic()
    while True:
        try:
            if is_coordinator:
                own = _local_address(host, int(port))
                local = ipaddress.ip_address(own).is_loopback and host not in (own, "localhost")
                known = f" ({own} here, which no other machine can reach)" if local else ""
                print(f"waiting for the other processes at {coordinator}{known}", file=sys.stderr, flush=True)
                return own, int(port)
            with socket.create_connection((host, int(port)), timeout=10) as made:
                return made.getsockname()[0], int(port)
        except OSError as error:
            if is_coordinator:
                raise ValueError(f"--coordinator={coordinator}: {cli.format_error(error)}") from error
            if time.monotonic() - begun > STARTUP_TIMEOUT:
                raise ValueError(
                    f"--coordinator={coordinator}: process 0 didn't answer in {STARTUP_TIMEOUT} s ({cli.format_error(error)})"
                ) from error
        time.sleep(0.2)


def _local_address(host: str, port: int) -> str:
    """The address of `host` that this machine can listen on at `port`, of version 4 rather than 6; else OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    failed = OSError(errno.EADDRNOTAVAIL, "")
    for family, *_, address in sorted(found, key=lambda one: one[0] != socket.AF_INET):
        try:
            socket.create_server((host := str(address[0]), port), family=family).close()
            return host
        except OSError as error:
            failed = error
    if failed.errno == errno.EADDRNOTAVAIL:
        raise OSError(f"is no address of this machine; give process 0 one of its own, or 0.0.0.0:{port} for all")
    raise failed


def check_uniform_devices() -> None:
    """Raise ValueError, in one line, where one process has more devices than another: JAX can't broadcast to those."""
    counts = [sum(device.process_index == i for device in jax.devices()) for i in range(jax.process_count())]
    if len(set(counts)) > 1:
        raise ValueError(f"the processes have {', '.join(map(str, counts))} devices; each must have as many")


def _abort_process(error: BaseException) -> None:
    """Tell of `error` and end this process, with the exit status that `command.report_errors` gives it."""

    def again() -> None:
        if isinstance(error, (RuntimeError, ValueError)) and re.search("Gloo|NCCL|coordination", str(error)):
            raise ValueError(
                f"another process of this run is gone ({cli.format_error(error)[:160]}); "
                f"start all again, and they go on from the newest checkpoint"
            ) from error
        raise error

    code: Any = 1
    try:
        if not isinstance(error, cli.Preempted) or jax.process_index() == 0:  # all stop alike, and one says so
            cli.report_errors(again)
        else:
            code = error.code
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    threading.Timer(_SHUTDOWN_GRACE, os._exit, (code,)).start()
    jax.distributed.shutdown()  # returns once all have come here
    os._exit(code)


def broadcast_from_process_0(function: Callable[[], Any]) -> Any:
    """`function()` of process 0, in every process, as JSON can hold it; only process 0 calls it.

    What it raises there process 0 raises; the others raise ValueError of the same message.
    """
    if jax.process_count() == 1:
        return function()
    from jax.experimental import multihost_utils

    told, failed = {}, None
    if jax.process_index() == 0:
        try:
            told = {"value": function()}
        except (ValueError, OSError) as error:
            told, failed = {"error": cli.format_error(error)}, error
    sent = np.frombuffer(json.dumps(told).encode(), np.uint8)
    size = int(multihost_utils.broadcast_one_to_all(np.int32(len(sent))))
    sent = multihost_utils.broadcast_one_to_all(sent if jax.process_index() == 0 else np.zeros(size, np.uint8))
    if failed:
        raise failed
    told = json.loads(np.asarray(sent, np.uint8).tobytes())
    if "error" in told:
        raise ValueError(f"process 0: {told['error']}")
    return told["value"]


def all_reduce_max(*numbers: int) -> list[int]:
    """The largest of each number that any process gives."""
    if jax.process_count() == 1:
        return list(map(int, numbers))
    from jax.experimental import multihost_utils

    return multihost_utils.process_allgather(np.array(numbers, np.int32)).max(axis=0).tolist()


def to_host(tree: Any) -> Any:
    """Arrays as numpy arrays in every process, whole, wherever their parts are."""
    if jax.process_count() == 1:
        return jax.device_get(tree)
    from jax.experimental import multihost_utils

    return multihost_utils.process_allgather(tree, tiled=True)
