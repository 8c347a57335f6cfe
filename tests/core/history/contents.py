"""What a network holds, read from the server with a foreign client and no code of the kernel."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec
import redis

PLACES = ("queued", "running", "finished", "failed")


@dataclass(frozen=True)
class Held:
    """The record of one task.

    Attributes
    ----------
    name : str
        By which the client that created the task knows it.
    mark : int or None
        Of a task that was started only if no other has the same mark.
    token : str
        By which the client that ended the task knows this end; empty if no client ended it.
    is_lost, is_cleared : bool
        Whether the task was failed because its worker was lost, or because the queue was cleared.
    """

    place: str
    name: str
    key: str = ""
    mark: int | None = None
    worker_id: str = ""
    attempt: int = 0
    token: str = ""
    is_lost: bool = False
    is_cleared: bool = False


@dataclass(frozen=True)
class Contents:
    """All tasks in the order of their places, the tokens of all reports, and the used budget."""

    tasks: list[Held]
    reports: list[str] = field(default_factory=list)
    n_started: int = 0

    def of(self, place: str) -> list[Held]:
        return [task for task in self.tasks if task.place == place]


def read_contents(url: str, network_id: str) -> Contents:
    """Read a network at one moment; `url` is a unix socket."""
    name = f"rush:{{{network_id}}}:"
    with redis.Redis(unix_socket_path=url.removeprefix("unix://")) as client:
        pipeline = client.pipeline(transaction=True)
        pipeline.lrange(f"{name}queued", 0, -1)
        pipeline.hvals(f"{name}running")
        for place in ("finished", "failed", "reports"):
            pipeline.lrange(f"{name}{place}", 0, -1)
        pipeline.get(f"{name}started")
        *places, reports, started = pipeline.execute()
    tasks = [
        _held(place, msgspec.msgpack.decode(record))
        for place, records in zip(PLACES, places, strict=True)
        for record in records
    ]
    tokens = [msgspec.msgpack.decode(report)[4]["token"] for report in reports]
    return Contents(tasks, tokens, int(started or 0))


def _held(place: str, record: list[Any]) -> Held:
    fields = record + [None] * (10 - len(record))
    worker_id, attempt, key, config, _, started_at, _, result, error, result_extra = fields
    is_lost = "lost" in (result_extra or {})
    is_cleared = place == "failed" and started_at is None
    token = (result or {}).get("token") or error or ""
    return Held(
        place,
        config["name"],
        key,
        config.get("mark"),
        worker_id,
        attempt,
        "" if is_lost or is_cleared else token,
        is_lost,
        is_cleared,
    )
