"""Operations of clients: one file for each client, with the time of each call and each reply."""

from __future__ import annotations

import itertools
import os
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from rush_core import ServerRefusedError

T = TypeVar("T")

FOREVER = float("inf")


@dataclass(frozen=True)
class Operation:
    """One call of a client.

    Attributes
    ----------
    kind : str
        push, start, claim, finish, fail, report, read, look, count, clear or remove.
    given : dict
        What the client asked for.
    invoked, returned : float
        When the call began and ended: nanoseconds of the clock that all processes of the host
        share. `returned` is infinite if the client never learned the outcome: it was killed, or it
        gave up.
    outcome : str
        ``done``; ``refused``: the server answered with an error, so nothing may have changed;
        ``unknown``: the command was executed or not.
    reply : dict
        What the client was answered.
    """

    kind: str
    given: dict[str, Any]
    invoked: float
    returned: float = FOREVER
    outcome: str = "unknown"
    reply: dict[str, Any] = field(default_factory=dict)

    @property
    def is_done(self) -> bool:
        return self.outcome == "done"


def acknowledged_names(operation: Operation) -> list[str]:
    """Return the names of the tasks that an operation is known to have created or claimed."""
    if not operation.is_done:
        return []
    if operation.kind == "push":
        return list(operation.given["names"])
    if operation.kind == "start":
        return list(operation.given["names"][: operation.reply["n"]])
    if operation.kind == "claim":
        return [] if operation.reply["name"] is None else [operation.reply["name"]]
    return []


def won_ends(operation: Operation) -> list[tuple[str, str]]:
    """Return name and token of the tasks that an operation is known to have ended."""
    if operation.kind not in ("finish", "fail") or not operation.is_done:
        return []
    ends = operation.given["ends"].items()
    return [end for end, won in zip(ends, operation.reply["won"], strict=True) if won]


def refused_traces(operation: Operation) -> list[str]:
    """Return the names and tokens that must be nowhere because the server refused them."""
    given, reply = operation.given, operation.reply
    if operation.outcome == "unknown":
        return []
    if operation.kind in ("push", "start"):
        n_there = len(acknowledged_names(operation))
        return list(given["names"][n_there:])
    if operation.kind in ("finish", "fail"):
        won = reply.get("won", [False] * len(given["ends"]))
        return [token for token, done in zip(given["ends"].values(), won, strict=True) if not done]
    if operation.kind == "report" and not reply.get("won"):
        return [given["token"]]
    return []


class History:
    """Writes the operations of one client to a file that outlives the client.

    Threads may share it. Each line is written by one call of the system, so that it is there as a
    whole if the client is killed.

    Parameters
    ----------
    folder : Path
    client : str

    Attributes
    ----------
    name : str
        The name of the file, which no other history has.
    """

    def __init__(self, folder: Path, client: str) -> None:
        self.name = f"{client}-{os.getpid()}-{secrets.token_hex(4)}"
        self._file = os.open(folder / self.name, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
        self._numbers = itertools.count()

    def note(
        self,
        kind: str,
        given: dict[str, Any],
        call: Callable[[], T],
        describe: Callable[[T], dict[str, Any]] = lambda _: {},
    ) -> T:
        """Call, and write when the call began, when it ended, and a description of its reply."""
        number = next(self._numbers)
        self._write([number, kind, given, time.monotonic_ns()])
        try:
            reply = call()
        except ServerRefusedError:
            self._write([number, "refused", {}, time.monotonic_ns()])
            raise
        returned = time.monotonic_ns()
        self._write([number, "done", describe(reply), returned])
        return reply

    def _write(self, line: list[Any]) -> None:
        os.write(self._file, msgspec.json.encode(line) + b"\n")


def read_histories(folder: Path) -> list[Operation]:
    """Read the operations of all clients."""
    return [operation for path in sorted(folder.iterdir()) for operation in _read(path)]


def _read(path: Path) -> list[Operation]:
    operations: dict[int, Operation] = {}
    for line in path.read_bytes().splitlines(keepends=True):
        if not line.endswith(b"\n"):
            break  # the machine was full, or the client ended in the middle of the line
        number, word, values, at = msgspec.json.decode(line)
        begun = operations.get(number)
        if begun is None:
            operations[number] = Operation(word, values, at)
        else:
            operations[number] = Operation(begun.kind, begun.given, begun.invoked, at, word, values)
    return list(operations.values())
