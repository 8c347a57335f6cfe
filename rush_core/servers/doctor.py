"""Examine whether a server is fit for a network, and say what to do if it is not."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

from rush_core.connection.connection import OLDEST_SERVER, Connection, pack, parse_info
from rush_core.connection.url import is_private
from rush_core.servers.permissions import ACL_RULE, find_denied

__all__ = ["Finding", "examine"]

# A round trip beyond this is slow even between the machines of a cluster.
_SLOW_MS = 2.0


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes
    ----------
    subject : str
    good : bool
    text : str
        What was found and, unless it is good, what to do.
    """

    subject: str
    good: bool
    text: str


def examine(url: str) -> list[Finding]:
    """Look at version, permissions, persistence, memory, clients and the way to the server.

    Raises
    ------
    ServerUnreachableError, ServerRefusedError
        If it cannot be asked.
    """
    connection = Connection(url)
    try:
        info = parse_info(connection.execute(pack(("INFO",))).decode())
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
        _memory(info),
        _clients(info),
        _transport(url),
        _latency(statistics.median(latencies_ms)),
    ]


def _version(info: dict[str, str]) -> Finding:
    version = info.get("redis_version", "0")
    good = tuple(int(part) for part in version.split(".")[:2]) >= OLDEST_SERVER
    name = info.get("server_name", "redis")
    needed = ".".join(map(str, OLDEST_SERVER))
    advice = "" if good else f"; upgrade to Redis >= {needed} or Valkey"
    return Finding("version", good, f"{name}, compatible with Redis {version}{advice}")


def _permissions(denied: list[str], keys_denied: bool) -> Finding:
    if not denied and not keys_denied:
        return Finding("permissions", True, "this user may do all that a network needs")
    found = [f"run {', '.join(denied)}"] if denied else []
    found += ["use the keys rush:*"] if keys_denied else []
    return Finding(
        "permissions",
        False,
        f"this user must not {' nor '.join(found)}; ACL SETUSER name {ACL_RULE}",
    )


def _persistence(info: dict[str, str]) -> Finding:
    if info.get("aof_enabled") == "1":
        return Finding("persistence", True, "every change is appended to a file")
    return Finding(
        "persistence",
        False,
        "a crash of the server loses what came since its last snapshot; for runs that matter: "
        "CONFIG SET appendonly yes",
    )


def _memory(info: dict[str, str]) -> Finding:
    limit, used = int(info.get("maxmemory", 0)), int(info.get("used_memory", 0))
    policy = info.get("maxmemory_policy", "noeviction")
    if limit and policy != "noeviction":
        return Finding(
            "memory",
            False,
            f"at {limit:,} bytes the policy {policy!r} deletes data, tasks among them; "
            "CONFIG SET maxmemory-policy noeviction",
        )
    if limit and used > 0.8 * limit:
        return Finding("memory", False, f"{used:,} of {limit:,} bytes are used; raise maxmemory")
    return Finding("memory", True, f"{used:,} bytes used, limit {limit or 'none'}, {policy}")


def _clients(info: dict[str, str]) -> Finding:
    connected, most = int(info.get("connected_clients", 0)), int(info.get("maxclients", 10_000))
    good = connected < 0.8 * most
    advice = "" if good else "; raise maxclients: each worker holds two or three connections"
    return Finding("clients", good, f"{connected} of at most {most}{advice}")


def _transport(url: str) -> Finding:
    if is_private(url):
        return Finding("transport", True, "over TLS, or within this machine")
    return Finding(
        "transport",
        False,
        "whoever sees the network's packets reads password and data, and can change them; use "
        "rediss:// with a server that has TLS, or a tunnel",
    )


def _latency(median_ms: float) -> Finding:
    good = median_ms <= _SLOW_MS
    advice = "" if good else "; put the server nearer to the workers, or on a less busy machine"
    return Finding("latency", good, f"a round trip takes {median_ms:.3f} ms{advice}")
