"""Every Redis key of a network: the only place where key strings are made."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

__all__ = ["NetworkKeys", "check_identifier", "expected_type"]

_IDENTIFIER = re.compile(r"[A-Za-z0-9_.:-]{1,100}")


def check_identifier(what: str, value: str) -> str:
    """Return `value` if it can stand inside a Redis key, else raise.

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
    **dict.fromkeys(("running", "clients", "workers", "loops"), "hash"),
    **dict.fromkeys(("started", "stop", "alive", "about"), "string"),
    **dict.fromkeys(("waiting", "unwanted", "unique"), "set"),
    "idle": "zset",
    "log": "stream",
}


def expected_type(redis_key: bytes) -> str:
    """Return the type, in the server's words, that one of a network's keys must have."""
    return _TYPES[redis_key.rpartition(b"}:")[2].split(b":")[0].decode()]


@dataclass(frozen=True)
class NetworkKeys:
    """The keys of one network.

    The braces make Redis Cluster keep all keys of a network on one node, which scripts need.
    """

    network_id: str
    # The four places of a task.
    queued: bytes = field(init=False)  # list of records
    running: bytes = field(init=False)  # hash: key -> record
    finished: bytes = field(init=False)  # list of records, append-only: the finished log
    failed: bytes = field(init=False)  # list of records, append-only
    reports: bytes = field(init=False)  # list of records, append-only: said of running tasks
    unique: bytes = field(init=False)  # set of marks: of tasks that no other may be like
    about: bytes = field(init=False)  # mapping: what the tasks have in common
    # Who takes part.
    clients: bytes = field(init=False)  # hash: client -> epoch, with an "s" if asked to stop
    workers: bytes = field(init=False)  # hash: worker_id -> record
    started: bytes = field(init=False)  # number: places taken in the budget
    stop: bytes = field(init=False)  # string: workers that join later stop, too
    unwanted: bytes = field(init=False)  # set of workers that were given up before they joined
    # Who sleeps until something happens.
    idle: bytes = field(init=False)  # sorted set of clients that wait for a queued task: -> limit
    waiting: bytes = field(init=False)  # set of clients that wait for an ended task
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
        """Key of the list on which a waiting client sleeps; scripts push to it."""
        wake_prefix: bytes = self._wake_prefix  # type: ignore[attr-defined]
        return wake_prefix + client_id.encode()

    def alive(self, worker_id: str) -> bytes:
        """Key of a worker's sign of life: a string that expires."""
        alive_prefix: bytes = self._alive_prefix  # type: ignore[attr-defined]
        return alive_prefix + worker_id.encode()
