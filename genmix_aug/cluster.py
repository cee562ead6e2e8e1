"""Ray: started on this machine for a while, or a cluster of it joined, and left again."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from genmix_aug.files import is_running

OBJECT_STORE_BYTES = 100_000_000  # what goes between processes are names and lines
TEMPORARY = "/tmp" if os.path.isdir("/tmp") else None  # paths of sockets must be short
PREFIX = "genmix-ray"


def cores() -> int:
    """Return how many processor cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        return os.cpu_count() or 1


@contextmanager
def ray_cluster(
    address: str = "", num_cpus: int = 1, resources: Mapping[str, float] | None = None
) -> Iterator[None]:
    """Join a cluster, or start Ray on this machine, within the block.

    SIGTERM is as Ctrl-C within it, and leaves no process and no file of Ray's.

    Args:
        address: Of the cluster to join ("auto" finds one); empty for this machine alone.
        num_cpus: Cores that Ray shares out, on this machine alone.
        resources: Others that it shares out, by name, on this machine alone.

    Raises:
        ValueError: No cluster is at the address.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # or it warns of a change
    import ray

    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address:
        try:
            _check_reachable(address)
            ray.init(address=address, **quiet)
        except (OSError, ValueError):  # ConnectionError is an OSError
            raise ValueError(
                f"address: no Ray cluster at {address!r}; start one (ray start --head, or "
                "ray symmetric-run), or leave --address out"
            ) from None
        with _until_shutdown():
            yield
        return
    _remove_abandoned()
    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}-{os.getpid()}-", dir=TEMPORARY))
    try:
        ray.init(
            num_cpus=num_cpus,
            resources=dict(resources or {}),
            include_dashboard=False,
            object_store_memory=OBJECT_STORE_BYTES,
            _temp_dir=str(folder),
            **quiet,
        )
        with _until_shutdown():
            yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_abandoned() -> None:
    """Remove the folders of Ray's logs and sockets that killed commands have left."""
    for folder in Path(TEMPORARY or tempfile.gettempdir()).glob(f"{PREFIX}-*"):
        process = folder.name.split("-")[2]
        if process.isdecimal() and not is_running(int(process)):
            shutil.rmtree(folder, ignore_errors=True)


def _check_reachable(address: str) -> None:
    """Raise an error where nothing answers at HOST:PORT, for which Ray would wait for minutes."""
    if address != "auto":
        host, _, port = address.rpartition(":")
        socket.create_connection((host, int(port)), timeout=10).close()


@contextmanager
def _until_shutdown() -> Iterator[None]:
    """Leave Ray at the block's end. SIGTERM is as Ctrl-C: Ray would print its C++ stack."""
    import ray

    is_main = threading.current_thread() is threading.main_thread()
    if is_main:
        handler = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        ray.shutdown()
        if is_main:
            signal.signal(signal.SIGTERM, handler)


def room_for(num_cpus: float, num_gpus: float) -> int:
    """Return how many processes of so many cores and GPUs the living nodes hold, if all are free.

    A process is on one node: two nodes of a GPU have no room for one of two GPUs.
    """
    import ray

    wanted = {"CPU": num_cpus, "GPU": num_gpus}
    return sum(
        int(min(node["Resources"].get(name, 0) / n + 1e-9 for name, n in wanted.items() if n))
        for node in ray.nodes()
        if node["Alive"]
    )
