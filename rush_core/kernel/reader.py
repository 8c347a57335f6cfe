"""Reading tasks: the new ones of each log, and those of any state at one moment."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Collection, Sequence, Set
from typing import TypeVar

from rush_core.arguments import check_timeout
from rush_core.connection.connection import Connection
from rush_core.connection.script import Script, execute_all_on, retry_unreachable
from rush_core.errors import RushError
from rush_core.kernel.ended_keys import EndedKeys
from rush_core.kernel.logs import LogPosition, TaskCache
from rush_core.kernel.report import Report, decode_reports
from rush_core.kernel.shared_log import SharedLogs
from rush_core.kernel.snapshot import fetch_tasks
from rush_core.kernel.table import EndedTasks, TaskTable
from rush_core.kernel.task import Task, TaskCounts, TaskState, decode_tasks
from rush_core.kernel.waiting import ChangeWaiter
from rush_core.keys import NetworkKeys

__all__ = ["TaskReader"]

_NOT_ENDED = ("queued", "running")

# How long one wait lasts when the caller has set no time limit.
_LONG_WAIT_S = 3600.0
T = TypeVar("T")

_NONE = TaskTable([])

# Reads a log, and returns what a function makes of the new tasks.
_ReadFinished = Callable[[Callable[[list[Task]], EndedTasks]], EndedTasks]
_ReadFailed = Callable[[Callable[[list[Task]], list[Task]]], list[Task]]


class TaskReader:
    """All that a client can read about tasks. It changes nothing.

    Parameters
    ----------
    connection : Connection
    keys : NetworkKeys
    client_id : str
        The client in whose name it waits: scripts push to the wake list of this client.
    waiting : Connection
        The connection on which it waits. Use another one than `connection` if several threads need
        that meanwhile.
    shared : SharedLogs, optional
        The logs of ended tasks in memory.

    Attributes
    ----------
    new_log, failed_log, reports : LogPosition
        How far the logs of ended tasks and the reports have been read.
    changes : ChangeWaiter
    """

    def __init__(
        self,
        connection: Connection,
        keys: NetworkKeys,
        client_id: str,
        waiting: Connection,
        shared: SharedLogs | None = None,
    ) -> None:
        self._connection = connection
        self._keys = keys
        self._shared = shared
        self._count = Script("count_tasks", keys)
        self.changes = ChangeWaiter(waiting, keys, client_id)
        self._all_finished = TaskCache(connection, keys.finished)
        finished, failed = (None, None) if shared is None else (shared.finished, shared.failed)
        self.new_log = LogPosition(connection, keys.finished, decode_tasks, finished)
        self.failed_log = LogPosition(connection, keys.failed, decode_tasks, failed)
        self.reports = LogPosition(connection, keys.reports, decode_reports)
        self._ended_keys = EndedKeys(connection, keys)

    def count(self) -> TaskCounts:
        """Count the tasks in each state; one round trip, atomic."""
        return TaskCounts(*retry_unreachable(lambda: self._count.run(self._connection)))

    def fetch(self, states: tuple[str, ...]) -> TaskTable:
        """Fetch the tasks in some states, all if none is named; see `snapshot.fetch_tasks`."""
        wanted = {TaskState(state) for state in states or TaskState}
        fetch = functools.partial(fetch_tasks, self._connection, self._keys, wanted)
        return TaskTable(retry_unreachable(fetch))

    def fetch_finished(self) -> TaskTable:
        """Fetch all finished tasks; one round trip, which transfers only the new ones."""
        return self._all_finished.fetch()

    def fetch_new(self, timeout_s: float) -> TaskTable:
        """Fetch the tasks that finished since the last call; one round trip.

        If there are none, the server answers when a task ends, when a worker joins or leaves, or
        after `timeout_s` seconds.
        """
        timeout_s = check_timeout(timeout_s)
        if timeout_s > 0:
            self.new_log.catch_up()
            request = self.new_log.request()
            (records,) = self.changes.wait_and_read(timeout_s, self.new_log.n_read, request)
            return self.new_log.accept(records, request, TaskTable)
        return self.new_log.read(TaskTable)

    def fetch_new_failed(self) -> TaskTable:
        """Fetch the tasks that a worker failed since the last call, like `fetch_new`."""
        return self.failed_log.read(_failed_by_worker)

    def fetch_new_ended(self, timeout_s: float) -> EndedTasks:
        """Fetch what `fetch_new` and `fetch_new_failed` return; one round trip for both."""
        timeout_s = check_timeout(timeout_s)
        self.catch_up()
        requests = self.ended_requests()
        if timeout_s > 0:
            replies = self.changes.wait_and_read(timeout_s, self.new_log.n_read, *requests)
            return self.accept_ended(replies, requests)
        logs = (self._keys.finished, self._keys.failed)
        read = functools.partial(execute_all_on, self._connection, logs, requests)
        return self.accept_ended(retry_unreachable(read), requests)

    def are_in_memory(self) -> bool:
        """Return whether `read_copies` takes what is in memory, without a round trip."""
        if self._shared is None or self.new_log.must_ask or self.failed_log.must_ask:
            return False
        return self._shared.is_fresh()

    def read_copies(self) -> EndedTasks:
        """Fetch what is new in memory in both logs of ended tasks."""
        return self._read_ended(self.new_log.read_copy, self.failed_log.read_copy)

    def read_own_finished(self, own: bytes, decoded: Task) -> EndedTasks:
        """Do the same after this client has appended a record to the finished log."""
        log = self.new_log
        if self.failed_log.is_read_to_end:
            return log.read_own(own, decoded, _only_finished)
        return self._read_ended(
            functools.partial(log.read_own, own, decoded), self.failed_log.read_copy
        )

    def read_own_failed(self, own: bytes, decoded: Task) -> EndedTasks:
        """Do the same after this client has appended a record to the failed tasks."""
        read_failed = functools.partial(self.failed_log.read_own, own, decoded)
        return self._read_ended(self.new_log.read_copy, read_failed)

    def catch_up(self) -> None:
        """Take what is new from memory; the next reads return it, and what the server has more."""
        self.new_log.catch_up()
        self.failed_log.catch_up()

    def _read_ended(self, read_finished: _ReadFinished, read_failed: _ReadFailed) -> EndedTasks:
        failed: list[Task] = []

        def with_failed(finished: list[Task]) -> EndedTasks:
            return EndedTasks(TaskTable(finished), _failed_by_worker(failed))

        try:
            failed = read_failed(_unchanged)
            return read_finished(with_failed)
        except BaseException:  # an interrupt
            self.failed_log.give_back(failed)
            raise

    def ended_requests(self) -> tuple[bytes, bytes]:
        """Pack the reads of all that is new in the two logs of ended tasks."""
        return self.new_log.request(), self.failed_log.request()

    def accept_ended(
        self, replies: Sequence[list[bytes]], requests: tuple[bytes, bytes]
    ) -> EndedTasks:
        """Take the replies to `ended_requests`."""
        failed: list[Task] = []
        try:
            failed = self.failed_log.accept(replies[1], requests[1], _unchanged)
            return self.new_log.accept(
                replies[0],
                requests[0],
                lambda finished: EndedTasks(TaskTable(finished), _failed_by_worker(failed)),
            )
        except BaseException:  # an interrupt
            self.failed_log.give_back(failed)
            raise

    def fetch_new_reports(self) -> list[Report]:
        """Fetch the reports since the last call; one round trip."""
        return self.reports.read(_unchanged)

    def wait_for_tasks(self, task_keys: Collection[str], timeout_s: float | None) -> None:
        """Wait until tasks have ended; see `Network.wait_for_tasks`."""
        deadline = None if timeout_s is None else time.monotonic() + check_timeout(timeout_s)
        ended, wanted = self._ended_keys, set(task_keys)
        ended.read()
        if not wanted <= ended.found:
            # A task may end between two reads: then the second one of its log has it.
            self._require_known(wanted - ended.found - set(self.fetch(_NOT_ENDED).keys))
        while pending := wanted - ended.found:
            left_s = _LONG_WAIT_S if deadline is None else deadline - time.monotonic()
            if left_s <= 0:
                raise TimeoutError(
                    f"waited {timeout_s:g} s for {len(wanted)} tasks of network "
                    f"{self._keys.network_id!r}; {len(pending)} have not ended: {_some(pending)}"
                )
            n_finished, n_failed = ended.n_read
            self.changes.wait_and_read(left_s, n_finished, n_failed=n_failed)
            if not ended.read():
                raise RushError(
                    f"network {self._keys.network_id!r} was reset while a client waited for "
                    f"{len(pending)} tasks: they are gone; push them again"
                )

    def _require_known(self, task_keys: Set[str]) -> None:
        """Raise unless all these tasks have ended."""
        self._ended_keys.read()
        if unknown := task_keys - self._ended_keys.found:
            raise ValueError(
                f"network {self._keys.network_id!r} has no task with the key {_some(unknown)}; "
                "give keys that push_tasks() or fetch_tasks() returned"
            )


def _some(task_keys: Set[str]) -> str:
    """Return the first keys as a text."""
    shown = [repr(key) for key in sorted(task_keys)[:3]]
    return ", ".join(shown) + (", ..." if len(task_keys) > 3 else "")


def _only_finished(new: list[Task]) -> EndedTasks:
    return EndedTasks(TaskTable(new), _NONE)


def _unchanged(new: list[T]) -> list[T]:
    return new


def _failed_by_worker(failed: list[Task]) -> TaskTable:
    """Leave out tasks of lost workers, and tasks that were removed from the queue."""
    started = [task for task in failed if task.started_at is not None]
    return TaskTable([task for task in started if "lost" not in task.result_extra])
