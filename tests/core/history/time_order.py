"""The order in time: what ended before something else began must be seen by it.

The logs of the contents only grow, so a read has seen the first records of a log. Which operation
wrote a record is known from the names and tokens in it. All times are those of one host's clock.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate

from rush_core.kernel.shared_log import MOST_AGE_S
from tests.core.history.contents import Contents, Held
from tests.core.history.operations import FOREVER, Operation, acknowledged_names

__all__ = ["digest", "find_disorder", "find_stale_reads"]

Times = tuple[float, float]  # when an operation was invoked, and when it returned
_NO_ONE: Times = (-FOREVER, FOREVER)  # of a record of which no operation is known


def digest(names: Sequence[str]) -> str:
    """Return what stands for a list of names in a history."""
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]


def find_disorder(operations: Sequence[Operation], contents: Contents) -> Iterator[str]:
    """Records have the order of the operations that wrote them; the queue is first in, first out.

    Operations that overlap in time may have any order.
    """
    writers = _writers(operations)
    logs = {place: _names(contents.of(place)) for place in ("finished", "failed")}
    for log, entries in (*logs.items(), ("reports", contents.reports)):
        times = [writers.get(entry, _NO_ONE) for entry in entries]
        first_return = FOREVER  # of the records behind
        for entry, (invoked, returned) in zip(reversed(entries), reversed(times), strict=True):
            if first_return < invoked:
                yield f"{entry} is in {log} before one that was acknowledged before it was sent"
            first_return = min(first_return, returned)
    yield from _find_overtaking(operations, contents)


def find_stale_reads(
    operations: Sequence[Operation], contents: Contents, limit: int | None
) -> Iterator[str]:
    """A read sees all that was acknowledged before it began, and nothing sent after it ended."""
    writers = _writers(operations)
    finished = _names(contents.of("finished"))
    times = [writers.get(entry, _NO_ONE) for entry in finished]
    yield from _find_stale_looks(operations, contents, times)
    yield from _find_stale_counts(operations, times)
    readers = {o.given["reader"] for o in operations if "new" in o.reply}
    names = [task.name for task in contents.of("finished")]
    for reader in sorted(readers):
        reads = [o for o in operations if o.given.get("reader") == reader and o.is_done]
        yield from _find_faults_of_reader(reader, reads, names, times)
    yield from _find_stale_claims(operations, contents, limit)


def _writers(operations: Sequence[Operation]) -> dict[str, Times]:
    """Return when each token, and each task that was pushed as ended, was written."""
    times: dict[str, Times] = {}
    for o in operations:
        if o.kind in ("finish", "fail"):
            times.update(dict.fromkeys(o.given["ends"].values(), (o.invoked, o.returned)))
        elif o.kind == "report":
            times[o.given["token"]] = o.invoked, o.returned
        elif o.kind == "push" and o.given["place"] != "queued":
            times.update(dict.fromkeys(o.given["names"], (o.invoked, o.returned)))
    return times


def _names(tasks: Sequence[Held]) -> list[str]:
    """Return the token of each end, or the task's name if it was pushed as ended."""
    return [task.token if task.worker_id else task.name for task in tasks]


class _Prefixes:
    """What reads of the first records of a log may have seen; constant time for each read."""

    def __init__(self, times: Sequence[Times]) -> None:
        behind = accumulate((returned for _, returned in reversed(times)), min, initial=FOREVER)
        self._first_return_behind = list(behind)[::-1]
        before = accumulate((invoked for invoked, _ in times), max, initial=-FOREVER)
        self._last_call_before = list(before)

    def fault(self, n: int, read: Operation) -> str | None:
        """Say what is wrong if a read has seen the first `n` records."""
        if n >= len(self._first_return_behind):
            return "has more records than there are"
        if self._first_return_behind[n] < read.invoked:
            return "lacks a record that was acknowledged before it began"
        if self._last_call_before[n] > read.returned:
            return "has a record that was sent after it ended"
        return None


def _find_stale_looks(
    operations: Sequence[Operation], contents: Contents, times: Sequence[Times]
) -> Iterator[str]:
    """Reads of the whole log of finished tasks."""
    prefixes = _Prefixes(times)
    names = [task.name for task in contents.of("finished")]
    for o in operations:
        if o.kind != "look" or not o.is_done:
            continue
        n = o.reply["n"]
        if fault := prefixes.fault(n, o):
            yield f"a read of {n} finished tasks {fault}"
        elif digest(names[:n]) != o.reply["digest"]:
            yield f"a read of {n} finished tasks has other tasks than the log begins with"


def _find_stale_counts(operations: Sequence[Operation], times: Sequence[Times]) -> Iterator[str]:
    """Counts of finished tasks, and of all tasks."""
    prefixes = _Prefixes(times)
    created = sorted(o.returned for o in operations for _ in _created(o))
    invoked = sorted(o.invoked for o in operations for _ in _maybe_created(o))
    for o in operations:
        if o.kind != "count" or not o.is_done:
            continue
        counts = o.reply["counts"]
        if fault := prefixes.fault(counts[2], o):
            yield f"a count of {counts[2]} finished tasks {fault}"
        least, most = bisect_left(created, o.invoked), bisect_left(invoked, o.returned)
        if not least <= sum(counts) <= most:
            yield f"{sum(counts)} tasks were counted when there were {least} to {most}"


def _created(o: Operation) -> list[str]:
    return acknowledged_names(o) if o.kind in ("push", "start") else []


def _maybe_created(o: Operation) -> list[str]:
    return list(o.given["names"]) if o.kind in ("push", "start") else []


def _find_faults_of_reader(
    reader: str, reads: Sequence[Operation], names: Sequence[str], times: Sequence[Times]
) -> Iterator[str]:
    """Reads of what is new: the log is read from its beginning, each record once, none late.

    Several threads may use one reader: then a record is returned to one of them. A read along with
    an end may read a copy of the log (``ahead`` is the task that was ended). Then this task may
    come before others, and what was acknowledged in the last second may be missing.
    """
    position = {name: i for i, name in enumerate(names)}
    first_asked: dict[int, float] = {}  # when the read began that returned a position
    n_read = 0  # up to where the log was read without gaps
    for o in reads:
        for name in o.reply.get("new", ()):
            if name not in position:
                yield f"{reader} has read {name}, which is not in the log"
            elif position[name] in first_asked:
                yield f"{reader} has read {name} twice"
            else:
                first_asked[position[name]] = o.invoked
        others = [name for name in o.reply.get("new", ()) if name != o.given.get("ahead")]
        own = [position[name] for name in others if name in position]
        if own != sorted(own):
            yield f"{reader} has read records in another order than that of the log"
        n_read = max([n_read, *(i + 1 for i in own)])
    skipped = [names[i] for i in range(n_read) if i not in first_asked]
    if skipped:
        yield f"{reader} has skipped {len(skipped)} records, the first of {skipped[0]}"
        return
    # A record that was acknowledged before a read began was returned by this read, or by one that
    # began before this one ended.
    ordered = sorted(
        (o.invoked - (1e9 * MOST_AGE_S if "ahead" in o.given else 0.0), o.returned)
        for o in reads
        if "new" in o.reply
    )
    starts = [invoked for invoked, _ in ordered]
    ends = list(accumulate((returned for _, returned in reversed(ordered)), min))[::-1]
    for i, (_, acknowledged) in enumerate(times):
        later = bisect_left(starts, acknowledged)
        if later < len(ends) and ends[later] < first_asked.get(i, FOREVER):
            yield f"{reader} has not seen {names[i]}, which was acknowledged before its read began"


def _claims(operations: Sequence[Operation]) -> dict[str, Times]:
    """Return when the first attempts of tasks were claimed."""
    return {
        o.reply["name"]: (o.invoked, o.returned)
        for o in operations
        if o.kind == "claim" and o.is_done and o.reply["name"] and o.reply["attempt"] == 0
    }


def _queued_times(operations: Sequence[Operation], contents: Contents) -> list[tuple[Times, Times]]:
    """Return when tasks were pushed and claimed first, of those of which both is known."""
    claims = _claims(operations)
    waiting = {task.name for task in contents.of("queued") if task.attempt == 0}
    return [
        ((o.invoked, o.returned), claims.get(name, (FOREVER, FOREVER)))
        for o in operations
        if o.kind == "push" and o.is_done and o.given["place"] == "queued"
        for name in o.given["names"]
        if name in claims or name in waiting
    ]


def _find_overtaking(operations: Sequence[Operation], contents: Contents) -> Iterator[str]:
    """No task is claimed before another one that was pushed before it."""
    tasks = _queued_times(operations, contents)
    by_return = sorted(tasks, key=lambda task: task[0][1])
    returns = [pushed[1] for pushed, _ in by_return]
    last_claim = list(accumulate((claim[0] for _, claim in by_return), max, initial=-FOREVER))
    for pushed, claimed in tasks:
        if last_claim[bisect_left(returns, pushed[0])] > claimed[1]:
            yield "a task was claimed before one that was pushed before it"


def _find_stale_claims(
    operations: Sequence[Operation], contents: Contents, limit: int | None
) -> Iterator[str]:
    """No claim finds the queue empty while a task is there."""
    by_return = sorted(_queued_times(operations, contents), key=lambda task: task[0][1])
    returns = [pushed[1] for pushed, _ in by_return]
    last_claim = list(accumulate((claim[0] for _, claim in by_return), max, initial=-FOREVER))
    takes = sorted(
        o.invoked
        for o in operations
        if o.kind in ("start", "claim")
        for _ in o.given.get("names", ("one",))
    )
    for o in operations:
        if o.kind != "claim" or not o.is_done or o.reply["name"] or o.reply["stopping"]:
            continue
        is_in_budget = limit is None or bisect_left(takes, o.returned) < limit
        if is_in_budget and last_claim[bisect_left(returns, o.invoked)] > o.returned:
            yield "a claim found no task while one was queued"
