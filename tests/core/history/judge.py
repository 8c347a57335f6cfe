"""The judge: which promises do the histories of the clients and the final contents contradict?

Each function named ``_find_...`` looks for one kind of violation. What an operation of unknown
outcome has done is never held against it; but it was done as a whole or not at all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from tests.core.history.contents import Contents
from tests.core.history.operations import Operation, acknowledged_names, refused_traces, won_ends
from tests.core.history.time_order import find_disorder, find_stale_reads

__all__ = ["KINDS", "Violation", "judge"]

KINDS = (
    "lost",
    "doubled",
    "refused but there",
    "claimed twice",
    "torn push",
    "out of order",
    "stale read",
    "budget",
    "stuck",
)


class Violation(NamedTuple):
    """What contradicts the histories: its kind, and a sentence."""

    kind: str
    text: str


def judge(
    operations: Sequence[Operation],
    contents: Contents,
    *,
    limit: int | None = None,
    batch: int | None = None,
) -> list[Violation]:
    """Compare the histories of all clients with the final contents of a network.

    Parameters
    ----------
    operations : sequence of Operation
    contents : Contents
        Read after all clients ended.
    limit : int, optional
        The budget, which must have been used up.
    batch : int, optional
        How many tasks of one push are pushed atomically; all by default.

    Returns
    -------
    list of Violation
        Empty if all promises were kept.
    """
    found = {
        "lost": _find_lost(operations, contents),
        "doubled": _find_doubled(operations, contents),
        "refused but there": _find_refused(operations, contents),
        "claimed twice": _find_claimed_twice(operations, contents),
        "torn push": _find_torn_pushes(operations, contents, batch),
        "out of order": find_disorder(operations, contents),
        "stale read": find_stale_reads(operations, contents, limit),
        "budget": _find_budget(contents, limit),
        "stuck": (f"{task.name} is still running" for task in contents.of("running")),
    }
    return [Violation(kind, text) for kind, texts in found.items() for text in texts]


def _find_lost(operations: Sequence[Operation], contents: Contents) -> Iterator[str]:
    """Each acknowledged effect is in the contents."""
    there = {task.name: task for task in contents.tasks}
    reports = set(contents.reports)
    for operation in operations:
        for name in acknowledged_names(operation):
            if name not in there:
                yield f"{name}, acknowledged by {operation.kind}, is nowhere"
        for name, token in won_ends(operation):
            task = there.get(name)
            place = "finished" if operation.kind == "finish" else "failed"
            if task is None or (task.place, task.token) != (place, token):
                yield f"the acknowledged end {token} of {name} is not in {place}: {task}"
        if operation.kind == "report" and operation.reply.get("won"):
            token = operation.given["token"]
            if token not in reports:
                yield f"the acknowledged report {token} is nowhere"
        if operation.kind == "push" and operation.is_done:
            for name in operation.given["names"]:
                place, task = operation.given["place"], there.get(name)
                if place != "queued" and (task is None or task.place != place):
                    yield f"{name} was pushed to {place}, but it is not there: {task}"


def _find_doubled(operations: Sequence[Operation], contents: Contents) -> Iterator[str]:
    """Nothing is there twice, and nothing was acknowledged to two clients."""
    live = [task for task in contents.tasks if not task.is_lost]
    winners = Counter(name for operation in operations for name, _ in won_ends(operation))
    removed = Counter(
        worker
        for operation in operations
        if operation.kind == "remove"
        for worker in operation.reply.get("workers", ())
    )
    registered = Counter(o.given["worker"] for o in operations if o.kind == "join")
    yield from _repeated("task", (task.name for task in contents.tasks))
    yield from _repeated("key", (task.key for task in contents.tasks if task.key))
    yield from _repeated("end", (task.token for task in contents.tasks if task.token))
    yield from _repeated("report", contents.reports)
    yield from _repeated("mark", (str(task.mark) for task in live if task.mark is not None))
    yield from _repeated("acknowledged end of task", winners.elements())
    for worker, n in removed.items():
        if registered[worker] and n > registered[worker]:
            yield f"worker {worker} joined {registered[worker]} times and was removed {n} times"


def _find_refused(operations: Sequence[Operation], contents: Contents) -> Iterator[str]:
    """What the server refused has left nothing behind."""
    there = {task.name for task in contents.tasks}
    tokens = {task.token for task in contents.tasks if task.token} | set(contents.reports)
    for operation in operations:
        for trace in refused_traces(operation):
            if trace in there or trace in tokens:
                yield f"{trace} of a refused {operation.kind} is there"


def _find_claimed_twice(operations: Sequence[Operation], contents: Contents) -> Iterator[str]:
    """One client runs an attempt of a task, and only attempts that took place."""
    last = {task.name: task.attempt for task in contents.tasks}
    attempts: Counter[tuple[str, int]] = Counter()
    for operation in operations:
        if operation.kind == "claim" and operation.reply.get("name") is not None:
            attempts[operation.reply["name"], operation.reply["attempt"]] += 1
        elif operation.kind == "start":
            attempts.update((name, 0) for name in acknowledged_names(operation))
    for (name, attempt), n in attempts.items():
        if n > 1:
            yield f"attempt {attempt} of {name} was given to {n} clients"
        if attempt > last.get(name, attempt):
            yield f"{name} was claimed at attempt {attempt}, but got no further than {last[name]}"


def _find_torn_pushes(
    operations: Sequence[Operation], contents: Contents, batch: int | None
) -> Iterator[str]:
    """The tasks of a push are there together or not at all, and in logs side by side."""
    at = {task.name: (task.place, i) for i, task in enumerate(contents.tasks)}
    for operation in operations:
        if operation.kind != "push":
            continue
        names, place = operation.given["names"], operation.given["place"]
        size = batch or len(names)
        for part in (names[i : i + size] for i in range(0, len(names), size)):
            found = [at[name] for name in part if name in at]
            if 0 < len(found) < len(part):
                yield f"of {len(part)} tasks pushed together, {len(found)} are there: {part[0]}"
            elif place != "queued" and found:
                first = found[0][1]
                if found != [(place, first + i) for i in range(len(part))]:
                    yield f"tasks pushed together to {place} lie apart: {part[0]}"


def _find_budget(contents: Contents, limit: int | None) -> Iterator[str]:
    """Exactly as many tasks took a place as the budget has, and the server counted them."""
    n_taken = sum(
        task.place == "running" or (task.worker_id != "" and task.place != "queued")
        for task in contents.tasks
        if not task.is_lost
    )
    if n_taken != contents.n_started:
        yield f"{n_taken} tasks took a place, but {contents.n_started} were counted"
    if limit is not None and n_taken != limit:
        yield f"{n_taken} tasks took a place of a budget of {limit}"


def _repeated(what: str, names: Iterable[str]) -> Iterator[str]:
    for name, n in Counter(names).items():
        if n > 1:
            yield f"{what} {name} is there {n} times"
