"""All Redis keys of a network: no other module makes the name of a key."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

__all__ = ["KEY_PATTERN", "NetworkKeys", "check_identifier", "expected_type", "network_of"]

# What the keys of all networks match, for the command SCAN.
KEY_PATTERN = b"rush:{*}:*"

_IDENTIFIER = re.compile(r"[A-Za-z0-9_.:-]{1,100}")


def check_identifier(what: str, value: str) -> str:
    """Return `value` if it can be part of a Redis key, else raise.

    Raises
    ------
    TypeError, ValueError
        If `value` is not 1 to 100 letters, digits or ``_ . : -``.
    """
    if not isinstance(value, str):
        raise TypeError(f"{what} must be a string, got {type(value).__name__}: {value!r}")
    if not _IDENTIFIER.fullmatch(value):
        raise ValueError(
            f"{what} must be 1 to 100 letters, digits or any of '_.:-', got {value!r}; "
            "choose a plainer name"
        )
    return value


_TYPES = {
    **dict.fromkeys(("queued", "finished", "failed", "reports", "wake"), "list"),
    **dict.fromkeys(("running", "clients", "workers", "hosts", "loops", "notes"), "hash"),
    **dict.fromkeys(("started", "stop", "alive", "about", "format"), "string"),
    **dict.fromkeys(("waiting", "unwanted", "unique"), "set"),
    "idle": "zset",
    "log": "stream",
}


def expected_type(redis_key: bytes) -> str:
    """Return the type that a key of a network must have, as the command TYPE names it."""
    return _TYPES[redis_key.rpartition(b"}:")[2].split(b":")[0].decode()]


def network_of(redis_key: bytes) -> str | None:
    """Return the name of the network that a Redis key belongs to; None if it belongs to none."""
    found = re.match(rb"rush:\{([^}]*)\}:", redis_key)
    name = found[1].decode(errors="replace") if found else ""
    return name if _IDENTIFIER.fullmatch(name) else None


@dataclass(frozen=True)
class NetworkKeys:
    """The keys of one network.

    The braces make Redis Cluster keep all keys of a network on one node, which scripts need.

    Parameters
    ----------
    network_id : str

    Raises
    ------
    TypeError, ValueError
        If `network_id` cannot be part of a key.
    """

    network_id: str
    # Tasks: the four places that a task can be in.
    queued: bytes = field(init=False)  # list of records; the next to be claimed is the first
    running: bytes = field(init=False)  # hash: task key -> record
    finished: bytes = field(init=False)  # list of records that only grows: the finished log
    failed: bytes = field(init=False)  # list of records that only grows
    # What belongs to tasks.
    reports: bytes = field(init=False)  # list of reports on running tasks that only grows
    unique: bytes = field(init=False)  # set of the marks of unique tasks: a duplicate is refused
    started: bytes = field(init=False)  # number of tasks started or claimed, without lost ones
    about: bytes = field(init=False)  # mapping that describes what the tasks have in common
    notes: bytes = field(init=False)  # hash: name -> mapping, the latest word of a program
    format: bytes = field(init=False)  # number of the format of records, see `kernel.format`
    # Clients and workers.
    clients: bytes = field(init=False)  # hash: client id -> epoch, with an "s" if asked to stop
    workers: bytes = field(init=False)  # hash: worker_id -> record of the worker
    hosts: bytes = field(init=False)  # hash: node id -> record of its host
    stop: bytes = field(init=False)  # string: if it exists, workers are asked to stop as they join
    unwanted: bytes = field(init=False)  # set of the ids of workers that may not join
    idle: bytes = field(init=False)  # sorted set: worker that waits for a queued task -> its limit
    waiting: bytes = field(init=False)  # set of clients that wait for a change of the network
    loops: bytes = field(init=False)  # hash: digest -> shipped worker loop
    log: bytes = field(init=False)  # stream of log records, bounded

    def __post_init__(self) -> None:
        check_identifier("network_id", self.network_id)
        prefix = f"rush:{{{self.network_id}}}:".encode()
        for name in self.__dataclass_fields__:
            if name != "network_id":
                object.__setattr__(self, name, prefix + name.encode())
        object.__setattr__(self, "_wake_prefix", prefix + b"wake:")
        object.__setattr__(self, "_alive_prefix", prefix + b"alive:")

    def wake(self, client_id: str) -> bytes:
        """Return the key of a client's wake list: the client waits in a blocking pop of it."""
        wake_prefix: bytes = self._wake_prefix  # type: ignore[attr-defined]
        return wake_prefix + client_id.encode()

    def alive(self, worker_id: str) -> bytes:
        """Return the key of a worker's heartbeat: a string that expires unless it is renewed."""
        alive_prefix: bytes = self._alive_prefix  # type: ignore[attr-defined]
        return alive_prefix + worker_id.encode()

    def find(self, name: str, client_id: str) -> bytes:
        """Return the key of this name; ``wake`` and ``alive`` are those of a client."""
        if name in ("wake", "alive"):
            own: bytes = getattr(self, name)(client_id)
            return own
        key: bytes = getattr(self, name)
        return key
