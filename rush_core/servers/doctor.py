"""Check whether a server is fit for a network, and say what to do where it is not."""

from __future__ import annotations

import enum
import shutil
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from rush_core.connection.connection import OLDEST_SERVER, Connection, pack, parse_info
from rush_core.connection.fitness import evicting_policy
from rush_core.connection.url import is_private
from rush_core.servers.embedded import LEAST_FREE
from rush_core.servers.permissions import ACL_RULE, find_denied

__all__ = ["Finding", "Level", "examine"]

# Even between the machines of a cluster a round trip is faster than this.
_SLOW_MS = 2.0

# From this share of its memory or its connections on, the server is called nearly full.
_NEARLY_FULL = 0.8


class Level(enum.StrEnum):
    """How good the result of one check is."""

    OK = "ok"
    ADVICE = "advice"  # a network works, but something can be better
    FAULT = "fault"  # a network does not work, or loses tasks


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes
    ----------
    subject : str
        What was checked, one word.
    level : Level
    text : str
        What was found and, unless the level is ok, what to do.
    """

    subject: str
    level: Level
    text: str


def examine(url: str) -> list[Finding]:
    """Check version, permissions, persistence, disk, memory, clients, transport and latency.

    About a hundred round trips. The keys that it writes are deleted again.

    Raises
    ------
    ServerUnreachableError, ServerRefusedError
        If the server cannot be asked.
    """
    connection = Connection(url)
    try:
        info = parse_info(connection.execute(pack(("INFO",))).decode(errors="replace"))
        denied, keys_denied = find_denied(connection)
        latencies_ms = []
        for _ in range(100):
            began = time.perf_counter()
            connection.execute(pack(("PING",)))
            latencies_ms.append(1000 * (time.perf_counter() - began))
    finally:
        connection.close()
    return [
        _version(info),
        _permissions(denied, keys_denied),
        _persistence(info),
        _disk(info, _data_folder(url, info)),
        _memory(info),
        _clients(info),
        _transport(url),
        _latency(statistics.median(latencies_ms)),
    ]


def _version(info: dict[str, str]) -> Finding:
    version = info.get("redis_version", "0")
    found = f"{info.get('server_name', 'redis')}, compatible with Redis {version}"
    if tuple(int(part) for part in version.split(".")[:2]) >= OLDEST_SERVER:
        return Finding("version", Level.OK, found)
    needed = ".".join(map(str, OLDEST_SERVER))
    return Finding("version", Level.FAULT, f"{found}; upgrade to Redis >= {needed} or Valkey")


def _permissions(denied: list[str], keys_denied: bool) -> Finding:
    if not denied and not keys_denied:
        return Finding("permissions", Level.OK, "this user may do all that a network needs")
    found = [f"run {', '.join(denied)}"] if denied else []
    found += ["use the keys rush:*"] if keys_denied else []
    return Finding(
        "permissions",
        Level.FAULT,
        f"this user must not {' nor '.join(found)}; ACL SETUSER name {ACL_RULE}",
    )


def _persistence(info: dict[str, str]) -> Finding:
    if info.get("aof_enabled") == "1":
        return Finding("persistence", Level.OK, "every change is appended to a file")
    return Finding(
        "persistence",
        Level.ADVICE,
        "a crash of the server loses all changes since its last snapshot; for runs that matter: "
        "CONFIG SET appendonly yes",
    )


def _data_folder(url: str, info: dict[str, str]) -> Path | None:
    """Return where a server on this machine keeps its data; None if that cannot be found out."""
    if not url.startswith("unix:"):
        return None
    try:  # a server works in the folder of its data
        return Path(psutil.Process(int(info.get("process_id", 0))).cwd())
    except psutil.Error:
        return None


def _disk(info: dict[str, str], folder: Path | None) -> Finding:
    if info.get("aof_last_write_status", "ok") != "ok":
        return Finding(
            "disk",
            Level.FAULT,
            "the server could not write to its disk, so it refuses writes; make room there",
        )
    if info.get("aof_enabled") != "1" or folder is None:
        return Finding("disk", Level.OK, "the last write succeeded, or none was needed")
    free = shutil.disk_usage(folder).free
    found = f"{free:,} bytes are left on the disk of {folder}"
    if free < LEAST_FREE:
        text = f"{found}; an embedded server refuses writes below {LEAST_FREE:,}; make room"
        return Finding("disk", Level.FAULT, text)
    if free < 10 * LEAST_FREE:
        return Finding("disk", Level.ADVICE, f"{found}; make room before it is full")
    return Finding("disk", Level.OK, found)


def _memory(info: dict[str, str]) -> Finding:
    limit, used = int(info.get("maxmemory", 0)), int(info.get("used_memory", 0))
    if policy := evicting_policy(info):
        return Finding(
            "memory",
            Level.FAULT,
            f"at {limit:,} bytes the policy {policy!r} deletes data, also tasks; "
            "CONFIG SET maxmemory-policy noeviction",
        )
    if limit and used >= limit:
        text = f"all {limit:,} bytes are used, so nothing can be written; raise maxmemory"
        return Finding("memory", Level.FAULT, text)
    if limit and used > _NEARLY_FULL * limit:
        text = f"{used:,} of {limit:,} bytes are used; raise maxmemory"
        return Finding("memory", Level.ADVICE, text)
    text = f"{used:,} bytes used, limit {limit or 'none'}, noeviction"
    return Finding("memory", Level.OK, text)


def _clients(info: dict[str, str]) -> Finding:
    connected, most = int(info.get("connected_clients", 0)), int(info.get("maxclients", 10_000))
    found = f"{connected} of at most {most}"
    if connected < _NEARLY_FULL * most:
        return Finding("clients", Level.OK, found)
    advice = "raise maxclients: each worker holds two or three connections"
    return Finding("clients", Level.ADVICE, f"{found}; {advice}")


def _transport(url: str) -> Finding:
    if is_private(url):
        return Finding("transport", Level.OK, "over TLS, or within this machine")
    return Finding(
        "transport",
        Level.ADVICE,
        "the connection is not encrypted: on the way, others can read the password and the data, "
        "and change them; unless you trust the network, use rediss:// with a server that has TLS, "
        "or a tunnel",
    )


def _latency(median_ms: float) -> Finding:
    found = f"a round trip takes {median_ms:.3f} ms"
    if median_ms <= _SLOW_MS:
        return Finding("latency", Level.OK, found)
    advice = "run the server nearer to the workers, or on a less busy machine"
    return Finding("latency", Level.ADVICE, f"{found}; {advice}")
