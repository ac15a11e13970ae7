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
from training.console import print_status

STARTUP_TIMEOUT = 300  # seconds to wait for the other processes to start
_HEARTBEAT_TIMEOUT = 60  # seconds without a sign of life after which a process counts as dead, and all others end
_SHUTDOWN_GRACE = 5  # seconds for the others to report an error of their own before this process is gone


def choose_devices(count: int) -> list[Any]:
    """Choose `count` of all devices, in the order of processes, and as evenly among these as possible."""
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
    """Wait for all processes, and connect them. Raises ValueError, in one line, if the others can't be reached.

    JAX by itself listens on all interfaces, without authentication. Here process 0 listens at the coordinator's address
    alone, and every process listens, for Gloo, at the address from which it reaches process 0. The coordinator 0.0.0.0
    or [::] means all interfaces.
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
    """Let Gloo, the collectives of JAX on CPUs, listen at `host`, and not at the address of the machine's name."""
    if (
        ipaddress.ip_address(host).is_unspecified
        or getattr(jax.config, "jax_cpu_collectives_implementation", "") != "gloo"
    ):
        return
    from jax._src import distributed, xla_bridge  # JAX has no setting for it
    from jax._src.lib import _jax

    def make_client() -> Any:
        client = distributed.global_state.client
        return xla_bridge.make_cpu_client(_jax.make_gloo_tcp_collectives(distributed_client=client, hostname=host))

    xla_bridge.register_backend_factory("cpu", make_client, priority=0, fail_quietly=False)


def await_coordinator(coordinator: str, is_coordinator: bool) -> tuple[str, int]:
    """Wait until process 0 answers at `coordinator`; in process 0 itself, check that it can listen there.

    Without this, JAX would end with a C++ stack trace. Returns the numeric address of this process and the
    coordinator's port. Raises ValueError, in one line.
    """
    host, port = _parse_address(coordinator)
    if is_coordinator:
        return _claim_address(coordinator, host, port), port
    started = time.monotonic()
    while True:
        try:
            with socket.create_connection((host, port), timeout=10) as connection:
                return connection.getsockname()[0], port
        except OSError as error:
            if time.monotonic() - started > STARTUP_TIMEOUT:
                raise ValueError(
                    f"--coordinator={coordinator}: process 0 didn't answer in {STARTUP_TIMEOUT} s "
                    f"({cli.format_error(error)})"
                ) from error
        time.sleep(0.2)


def _parse_address(coordinator: str) -> tuple[str, int]:
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 2**16:
        raise ValueError(f"--coordinator={coordinator}: must be HOST:PORT")
    return host.strip("[]"), int(port)


def _claim_address(coordinator: str, host: str, port: int) -> str:
    """The numeric address at which process 0 can listen. It says there that it waits. Raises ValueError."""
    try:
        address = _local_address(host, port)
    except OSError as error:
        raise ValueError(f"--coordinator={coordinator}: {cli.format_error(error)}") from error
    is_hidden = ipaddress.ip_address(address).is_loopback and host not in (address, "localhost")
    note = f" ({address} here, which no other machine can reach)" if is_hidden else ""
    print_status(f"waiting for the other processes at {coordinator}{note}")
    return address


def _local_address(host: str, port: int) -> str:
    """The numeric address of `host` at which this machine can listen, IPv4 rather than IPv6. Raises OSError."""
    addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    last_error = OSError(errno.EADDRNOTAVAIL, "")
    for family, *_, address in sorted(addresses, key=lambda info: info[0] != socket.AF_INET):
        host = str(address[0])
        try:
            socket.create_server((host, port), family=family).close()
            return host
        except OSError as error:
            last_error = error
    if last_error.errno == errno.EADDRNOTAVAIL:
        raise OSError(f"is no address of this machine; give process 0 one of its own, or 0.0.0.0:{port} for all")
    raise last_error


def check_uniform_devices() -> None:
    """Raise ValueError if one process has more devices than another: JAX can't broadcast between such processes."""
    processes = [device.process_index for device in jax.devices()]
    counts = [processes.count(index) for index in range(jax.process_count())]
    if len(set(counts)) > 1:
        raise ValueError(f"the processes have {', '.join(map(str, counts))} devices; each must have as many")


def _abort_process(error: BaseException) -> None:
    """Print `error` and exit, with the status that `cli.report_errors` gives it."""

    def raise_again() -> None:
        if isinstance(error, (RuntimeError, ValueError)) and re.search("Gloo|NCCL|coordination", str(error)):
            raise ValueError(
                f"another process of this run is gone ({cli.format_error(error)[:160]}); "
                f"start all again, and they go on from the newest checkpoint"
            ) from error
        raise error

    code: Any = 1
    try:
        if not isinstance(error, cli.Preempted) or jax.process_index() == 0:  # all are preempted, and one says so
            cli.report_errors(raise_again)
        else:
            code = error.code
    except SystemExit as exit_:
        code = exit_.code
    except BaseException:
        traceback.print_exc()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    threading.Timer(_SHUTDOWN_GRACE, os._exit, (code,)).start()
    jax.distributed.shutdown()  # returns once all processes have come here
    os._exit(code)


def broadcast_from_process_0(function: Callable[[], Any]) -> Any:
    """Call `function` in process 0 alone, and return its value, which JSON must be able to hold, in every process.

    If it raises ValueError or OSError, process 0 raises that, and the others raise a ValueError with the same message.
    """
    if jax.process_count() == 1:
        return function()
    from jax.experimental import multihost_utils

    message, own_error = {}, None
    if jax.process_index() == 0:
        try:
            message = {"value": function()}
        except (ValueError, OSError) as error:
            message, own_error = {"error": cli.format_error(error)}, error
    encoded = np.frombuffer(json.dumps(message).encode(), np.uint8)
    size = int(multihost_utils.broadcast_one_to_all(np.int32(len(encoded))))
    encoded = multihost_utils.broadcast_one_to_all(encoded if jax.process_index() == 0 else np.zeros(size, np.uint8))
    if own_error:
        raise own_error
    message = json.loads(np.asarray(encoded, np.uint8).tobytes())
    if "error" in message:
        raise ValueError(f"process 0: {message['error']}")
    return message["value"]


def all_reduce_max(*numbers: int) -> list[int]:
    """The element-wise maximum of the numbers that the processes give."""
    if jax.process_count() == 1:
        return list(map(int, numbers))
    from jax.experimental import multihost_utils

    return multihost_utils.process_allgather(np.array(numbers, np.int32)).max(axis=0).tolist()


def to_host(tree: Any) -> Any:
    """Copy whole arrays to numpy arrays in every process, wherever their shards are."""
    if jax.process_count() == 1:
        return jax.device_get(tree)
    from jax.experimental import multihost_utils

    return multihost_utils.process_allgather(tree, tiled=True)
