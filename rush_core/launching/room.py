"""How many workers fit on this machine: usable CPUs, memory, processes, connections."""

from __future__ import annotations

import math
import os
from pathlib import Path

from rush_core.connection.connection import Connection, pack

__all__ = ["check_room", "usable_cpus"]

_CGROUPS = Path("/sys/fs/cgroup")

# What a forked worker takes at least; a fresh interpreter takes several times as much.
_LEAST_BYTES = 10 * 2**20
_N_THREADS = 4  # a thread counts as a process
_N_CONNECTIONS = 2


def usable_cpus() -> int:
    """Return how many CPUs this process may use, at least 1.

    Both the CPUs that are assigned to the process and the CPU time that its control groups
    (version 2) allow count.
    """
    n_cpus = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        n_cpus = len(os.sched_getaffinity(0))
    for words in _read_limits("cpu.max"):
        quota, period = words.split()
        if quota != "max":
            n_cpus = min(n_cpus, int(quota) // int(period))
    return max(n_cpus, 1)


def check_room(n_workers: int, connection: Connection) -> None:
    """Check that so many workers have room on this machine and in the server; one round trip.

    Raises
    ------
    ValueError
        If not; the message has the number that fits.
    """
    info = str(connection.execute(pack((b"INFO", b"clients"))), "utf-8", "replace")
    fields = dict(line.split(":", 1) for line in info.splitlines() if ":" in line)
    n_free = int(fields.get("maxclients", 10**9)) - int(fields.get("connected_clients", 0))
    rooms = {
        "memory: a worker takes at least 10 MiB": _free_bytes() / _LEAST_BYTES,
        f"processes: a worker has up to {_N_THREADS} threads": _free_processes() / _N_THREADS,
        f"connections of the server: a worker holds {_N_CONNECTIONS}": n_free / _N_CONNECTIONS,
    }
    for what, most in rooms.items():
        if n_workers > most:
            raise ValueError(
                f"{n_workers} workers have no room: at most {max(int(most), 0)} fit into the free "
                f"{what}; give fewer with --workers, or start the others on another machine"
            )


def _free_bytes() -> float:
    import psutil  # imported here: `usable_cpus` does not need it

    free = float(psutil.virtual_memory().available)
    pairs = zip(_read_limits("memory.max"), _read_limits("memory.current"), strict=False)
    return min([free, *(int(most) - int(used) for most, used in pairs if most != "max")])


def _free_processes() -> float:
    pairs = zip(_read_limits("pids.max"), _read_limits("pids.current"), strict=False)
    free = [int(most) - int(used) for most, used in pairs if most != "max"]
    return min(free, default=math.inf)


def _read_limits(name: str) -> list[str]:
    """Return the contents of a file of this process's control groups, the innermost first.

    None on other systems, with version 1 of control groups, and of the groups above a container.
    """
    if (own := _own_group()) is None:
        return []
    folder = _CGROUPS / own
    groups = [group for group in (folder, *folder.parents) if group.is_relative_to(_CGROUPS)]
    paths = [group / name for group in groups]
    return [path.read_text().strip() for path in paths if path.is_file()]


def _own_group() -> str | None:
    """Return the path of this process's control group, relative to their folder."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return None
    found = [line.removeprefix("0::/") for line in lines if line.startswith("0::/")]
    return found[0] if found else None
