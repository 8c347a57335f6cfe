"""The worker: what a worker loop can do in its network."""

from __future__ import annotations

import contextlib
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Callable, Sequence
from hashlib import blake2b
from itertools import chain
from types import TracebackType
from typing import Any, Self

from rush_core.arguments import check_timeout, error_text, line_up
from rush_core.connection.clock import ServerClock
from rush_core.connection.connection import Connection
from rush_core.connection.fitness import check_server
from rush_core.connection.script import retry_not_now
from rush_core.errors import (
    DuplicateTaskError,
    RushError,
    ServerFullError,
    ServerUnreachableError,
    WorkerLostError,
)
from rush_core.kernel.format import check_format, store_format
from rush_core.kernel.heartbeat import Heartbeat
from rush_core.kernel.logs import LogPosition
from rush_core.kernel.participation import Participation
from rush_core.kernel.reader import TaskReader
from rush_core.kernel.report import Report, report_end
from rush_core.kernel.shared_log import SharedLogs
from rush_core.kernel.surroundings import Heart, surroundings
from rush_core.kernel.table import EndedTasks, TaskTable
from rush_core.kernel.task import (
    Task,
    TaskCounts,
    decode_tasks,
    end_running,
    failed_end,
    finished_end,
    key_sequence,
    queued_records,
    running_record,
)
from rush_core.kernel.transitions import Transitions
from rush_core.kernel.workers import WorkerInfo, WorkerState, fetch_workers
from rush_core.keys import NetworkKeys, check_identifier

__all__ = ["Worker"]


class Worker:
    """A worker of a network: it starts or claims tasks, evaluates them and ends them.

    It joins the network when it is made. Use it as a context manager, or call `close`: then it
    leaves the network, and the tasks that it is still running become failed.

    Several threads may share a worker. Their calls are executed one after the other, also those
    that wait. What a ``fetch_new_...`` call has returned to one thread is not new to the others.

    A worker belongs to the process that made it. A forked child may only read with it: calls that
    start, claim, report on, end or push tasks raise `RushError` there, and `close` only
    disconnects.

    Parameters
    ----------
    network_id : str
    url : str, optional
        The server. By default `RUSH_REDIS_URL`, `REDIS_URL` or an embedded server.
    worker_id : str, optional
        By default a random name.
    heartbeat : Heartbeat, optional
        How the worker proves that it is alive. None if another process watches its process.
    on_killed : callable, optional
        Called in another thread when a manager has killed the worker. By default the worker stops
        after its current task.
    shared : SharedLogs, optional
        What the node of this process reads for its workers. The node also sends their heartbeats,
        so this worker sends none itself.

    Attributes
    ----------
    network_id, worker_id : str
    number : int
        Order of joining, from 0.

    Raises
    ------
    RushError
        If the network has a worker of this name already.
    ServerUnreachableError, ServerRefusedError
        If no server answers at `url`, or it cannot be used.

    Examples
    --------
    >>> def loop(worker):
    ...     while not worker.should_stop():
    ...         key = worker.start_task({"x": 0.5}, limit=100)
    ...         if key is None:
    ...             break
    ...         worker.finish_task(key, {"y": 0.25})
    """

    def __init__(
        self,
        network_id: str,
        *,
        url: str | None = None,
        worker_id: str | None = None,
        heartbeat: Heartbeat | None = Heartbeat(),  # noqa: B008  # frozen
        on_killed: Callable[[], None] | None = None,
        shared: SharedLogs | None = None,
    ) -> None:
        self._keys = keys = NetworkKeys(network_id)
        if worker_id is None:
            worker_id = secrets.token_hex(4)
        self.network_id = network_id
        self.worker_id = check_identifier("worker_id", worker_id)
        around = surroundings()
        connection = Connection(around.resolve_url(url, network_id))
        self._connection = connection
        expire_s = None if heartbeat is None else heartbeat.expire_s
        self._participation = Participation(connection, keys, worker_id, expire_s)
        try:
            retry_not_now(lambda: check_format(connection, keys))
            check_server(connection)
            store_format(connection, keys)
            self._clock = ServerClock(connection)
            self.number = self._participation.join(self._clock.now(), epoch=1)
        except BaseException:
            connection.close()
            raise
        self._transitions = Transitions(connection, keys, worker_id, epoch=1)
        self._reader = TaskReader(connection, keys, worker_id, waiting=connection, shared=shared)
        # The records of the tasks that run here. With them, this worker knows what the server
        # appends to a log at their ends. None if the logs are not shared: nobody needs them.
        self._running: dict[str, bytes] | None = None if shared is None else {}
        self._keys_of_tasks = key_sequence()
        self._was_asked_to_stop = False
        self._leaves_as = WorkerState.STOPPED
        self._heart: Heart | None = None
        if heartbeat is None or shared is not None:
            return
        on_killed = on_killed or self.stop_after_task
        try:
            self._heart = around.start_heart(heartbeat, connection.url, keys, worker_id, on_killed)
        except BaseException as error:
            self.close(f"it could not send heartbeats: {error_text(error)}")
            raise

    def __repr__(self) -> str:
        return f"<Worker {self.worker_id!r} (number {self.number}) of network {self.network_id!r}>"

    # -- begin tasks -----------------------------------------------------------------------------

    def start_task(
        self,
        config: dict[str, Any],
        *,
        limit: int | None = None,
        deadline: float | None = None,
        extra: dict[str, Any] | None = None,
        unique: bytes | None = None,
    ) -> str | None:
        """Create a task and run it at once; one round trip, atomic.

        Parameters
        ----------
        config : dict
            The configuration to evaluate.
        limit : int, optional
            Start only while fewer than this many tasks were started or claimed in the network. Lost
            tasks do not count.
        deadline : float, optional
            Start only before this time by the server's clock, seconds since 1970. After one refusal
            because of the deadline, `should_stop` stays true.
        extra : dict, optional
            Stored with the task.
        unique : bytes, optional
            Deduplication key: the task is refused if a task with the same bytes was started before
            in the network, unless that task was lost. The server stores a digest of 48 bits.

        Returns
        -------
        str or None
            The key of the task; None if `limit` or `deadline` is reached, or the worker was asked
            to stop.

        Raises
        ------
        TypeError, ValueError
            If a value cannot be stored; nothing was written.
        DuplicateTaskError
            If a task with the same `unique` was started before; nothing was written.
        WorkerLostError
            If this worker is not registered any more.
        """
        key = next(self._keys_of_tasks)
        if unique is not None:
            key = f"{_mark(unique)}:{key}"
        record = running_record(key, config, extra, self.worker_id, self._clock.now())
        started: bool | None
        if unique is None:
            started = self._transitions.start((key.encode(), record), limit, deadline) > 0
        else:
            started = self._transitions.start_unique((key.encode(), record), limit, deadline)
        if started is None:
            raise DuplicateTaskError(
                f"a task with this value of unique was started before, got {config!r:.80}; start "
                "another configuration, or this one without unique"
            )
        if started and self._running is not None:
            self._running[key] = record
        return key if started else None

    def start_tasks(
        self,
        configs: Sequence[dict[str, Any]],
        *,
        limit: int | None = None,
        deadline: float | None = None,
        extras: Sequence[dict[str, Any] | None] | None = None,
    ) -> list[str]:
        """Create several tasks and run them at once; one round trip, atomic.

        `limit` and `deadline` have the same effect as in `start_task`.

        Returns
        -------
        list of str
            The keys of the tasks that were started: the first ones, as many as `limit` allows.
        """
        started_at = self._clock.now()
        keys, records = [], []
        for config, extra in line_up(configs=configs, extras=extras):
            keys.append(next(self._keys_of_tasks))
            records.append(running_record(keys[-1], config, extra, self.worker_id, started_at))
        if not records:
            return []
        n_started = self._transitions.start(_pairs(keys, records), limit, deadline)
        if self._running is not None:
            self._running.update(zip(keys[:n_started], records, strict=False))
        return keys[:n_started]

    def push_tasks(
        self,
        configs: Sequence[dict[str, Any]],
        *,
        extras: Sequence[dict[str, Any] | None] | None = None,
    ) -> list[str]:
        """Append tasks to the queue, from which any worker claims them; one round trip, atomic.

        More than 2,000 tasks, or 16 MiB of them, are sent in batches of at most so many, with one
        round trip each. A batch is pushed as a whole or not at all.

        Returns
        -------
        list of str
            The keys of the tasks.

        Raises
        ------
        TypeError, ValueError
            If a value cannot be stored; nothing was written.
        WorkerLostError
            If this worker is not registered any more.
        """
        given = line_up(configs=configs, extras=extras)
        keys, records = queued_records(self._keys_of_tasks, given)
        if records:
            self._transitions.push(records)
        return keys

    def claim_task(
        self,
        *,
        timeout_s: float = 0.0,
        limit: int | None = None,
        deadline: float | None = None,
    ) -> Task | None:
        """Claim the task that has waited longest in the queue, and run it; atomic.

        One round trip if a task is queued. If not, it waits in the server, which answers when a
        task can be claimed, when the worker is asked to stop, or after `timeout_s` seconds; then it
        claims again. That makes three round trips.

        Parameters
        ----------
        timeout_s : float
            Longest wait, seconds.
        limit, deadline
            As for `start_task`.

        Returns
        -------
        Task or None
            None if no task is queued, `limit` or `deadline` is reached, or the worker was asked to
            stop.

        Raises
        ------
        WorkerLostError
            If this worker is not registered any more.
        """
        timeout_s = check_timeout(timeout_s)
        record = self._transitions.claim(limit, self._clock.now, timeout_s, deadline)
        if record is None:
            return None
        (task,) = decode_tasks((record,), self._keys.running)
        if self._running is not None:
            self._running[task.key] = record
        return task

    # -- end tasks -------------------------------------------------------------------------------

    def finish_task(
        self, key: str, result: dict[str, Any], *, extra: dict[str, Any] | None = None
    ) -> bool:
        """End a task with its result; one round trip, atomic, the first writer wins.

        Parameters
        ----------
        key : str
        result : dict
            What the evaluation returned.
        extra : dict, optional
            Stored with the result.

        Returns
        -------
        bool
            False if the task does not run under this worker: it has ended, or there is no such
            task. Then nothing was written.

        Raises
        ------
        TypeError, ValueError
            If a value cannot be stored; the task is still running.
        """
        end = finished_end(self._clock.now(), result, extra)
        won = self._transitions.finish((key.encode(), end))
        if self._running is not None:
            self._note_ended((key,), self._reader.new_log)
        return won[0]

    def finish_tasks(
        self,
        keys: Sequence[str],
        results: Sequence[dict[str, Any]],
        *,
        extras: Sequence[dict[str, Any] | None] | None = None,
    ) -> list[bool]:
        """End several tasks with their results, like `finish_task`; one round trip, atomic."""
        ended_at = self._clock.now()
        ends = [
            finished_end(ended_at, result, extra)
            for _, result, extra in line_up(keys=keys, results=results, extras=extras)
        ]
        if not ends:
            return []
        won = self._transitions.finish(_pairs(keys, ends))
        if self._running is not None:
            self._note_ended(keys, self._reader.new_log)
        return won

    def fail_task(
        self, key: str, error: str | BaseException, *, extra: dict[str, Any] | None = None
    ) -> bool:
        """End a task with an error, like `finish_task`; an exception is stored with traceback."""
        end = failed_end(self._clock.now(), error_text(error), extra)
        won = self._transitions.fail((key.encode(), end))
        if self._running is not None:
            self._note_ended((key,), self._reader.failed_log)
        return won[0]

    def fail_tasks(
        self,
        keys: Sequence[str],
        errors: Sequence[str | BaseException],
        *,
        extras: Sequence[dict[str, Any] | None] | None = None,
    ) -> list[bool]:
        """End several tasks with errors, like `fail_task`; one round trip, atomic."""
        ended_at = self._clock.now()
        ends = [
            failed_end(ended_at, error_text(error), extra)
            for _, error, extra in line_up(keys=keys, errors=errors, extras=extras)
        ]
        if not ends:
            return []
        won = self._transitions.fail(_pairs(keys, ends))
        if self._running is not None:
            self._note_ended(keys, self._reader.failed_log)
        return won

    def finish_and_fetch_new(
        self,
        key: str,
        result: dict[str, Any],
        *,
        extra: dict[str, Any] | None = None,
        in_order: bool = False,
    ) -> tuple[bool, TaskTable]:
        """Finish a task, then fetch the new finished tasks, this one included; one round trip.

        Workers that were started on one Linux machine share a copy of the log in memory, which
        follows the server some milliseconds later. Such a worker fetches from the copy, so that the
        server only has to finish the task.

        Parameters
        ----------
        key, result, extra
            As for `finish_task`.
        in_order : bool
            Whether the tasks must come in the order of the log, which is the same for all workers.
            By default a worker's own task may come before some that were finished earlier; a later
            call returns those.

        Returns
        -------
        won : bool
            As `finish_task` returns it.
        new : TaskTable
            As `fetch_new_tasks` returns it.
        """
        end = finished_end(self._clock.now(), result, extra)
        log = self._reader.new_log
        if (own := self._own_end(key, end)) is not None and log.is_in_memory:
            if not in_order:
                with self._connection.exclusive:  # no other thread reads in between
                    won = self._transitions.finish((key.encode(), end))[0]
                    new = log.read_own(*own, TaskTable) if won else log.read_copy(TaskTable)
                    return won, new
            log.catch_up()
        request = log.request()
        won, (reply,) = self._transitions.finish_and_read(key.encode(), end, request)
        return won, log.accept(reply, request, TaskTable)

    def finish_and_fetch_ended(
        self,
        key: str,
        result: dict[str, Any],
        *,
        extra: dict[str, Any] | None = None,
        in_order: bool = False,
    ) -> tuple[bool, EndedTasks]:
        """Finish a task, then fetch the new ended tasks, like `finish_and_fetch_new`.

        Returns
        -------
        won : bool
            As `finish_task` returns it.
        ended : EndedTasks
            As `fetch_new_ended_tasks` returns it.
        """
        end = finished_end(self._clock.now(), result, extra)
        reader = self._reader
        if (own := self._own_end(key, end)) is not None and reader.are_in_memory():
            if not in_order:
                with self._connection.exclusive:
                    won = self._transitions.finish((key.encode(), end))[0]
                    return won, reader.read_own_finished(*own) if won else reader.read_copies()
            reader.catch_up()
        reads = reader.ended_requests()
        won, replies = self._transitions.finish_and_read(key.encode(), end, *reads)
        return won, reader.accept_ended(replies, reads)

    def fail_and_fetch_ended(
        self,
        key: str,
        error: str | BaseException,
        *,
        extra: dict[str, Any] | None = None,
        in_order: bool = False,
    ) -> tuple[bool, EndedTasks]:
        """Fail a task, like `fail_task`, then fetch, like `finish_and_fetch_ended`."""
        end = failed_end(self._clock.now(), error_text(error), extra)
        reader = self._reader
        if (own := self._own_end(key, end)) is not None and reader.are_in_memory():
            if not in_order:
                with self._connection.exclusive:
                    won = self._transitions.fail((key.encode(), end))[0]
                    return won, reader.read_own_failed(*own) if won else reader.read_copies()
            reader.catch_up()
        reads = reader.ended_requests()
        won, replies = self._transitions.fail_and_read(key.encode(), end, *reads)
        return won, reader.accept_ended(replies, reads)

    def _own_end(self, key: str, end: bytes) -> tuple[bytes, Task] | None:
        """Return what the server makes of a running task; None if its record is not known."""
        record = None if self._running is None else self._running.pop(key, None)
        return None if record is None else end_running(record, end)

    def _note_ended(self, keys: Sequence[str], log: LogPosition[Task]) -> None:
        """Note that this worker has ended tasks, which may not be in memory yet."""
        assert self._running is not None
        for key in keys:
            self._running.pop(key, None)
        log.ask_server()

    # -- report on running tasks -----------------------------------------------------------------

    def report_task(self, key: str, values: dict[str, Any]) -> bool:
        """Report intermediate values of a running task to all workers; one round trip, atomic.

        Parameters
        ----------
        key : str
        values : dict

        Returns
        -------
        bool
            False if the task does not run under this worker (any more). Then nothing was written,
            and the evaluation should end: its result would be discarded.

        Raises
        ------
        TypeError, ValueError
            If a value cannot be stored; nothing was written.
        """
        return self._transitions.report(key.encode(), report_end(self._clock.now(), values))

    def report_and_fetch_new(self, key: str, values: dict[str, Any]) -> tuple[bool, list[Report]]:
        """Report on a task, then fetch the new reports, this one included; one round trip.

        Returns
        -------
        won : bool
            As `report_task` returns it.
        new : list of Report
            As `fetch_new_reports` returns it.
        """
        end = report_end(self._clock.now(), values)
        log = self._reader.reports
        request = log.request()
        won, (reply,) = self._transitions.report_and_read(key.encode(), end, request)
        return won, log.accept(reply, request, list)

    def fetch_new_reports(self) -> list[Report]:
        """Fetch the reports of all workers since the last call, in order; one round trip."""
        return self._reader.fetch_new_reports()

    # -- read the network ------------------------------------------------------------------------

    def fetch_tasks(self, *states: str) -> TaskTable:
        """Fetch the tasks in some states, by default all; one round trip, atomic.

        If there are more than 2,000 queued, finished or failed tasks, they are read in slices, with
        one round trip each. Then each task is in the table once, in a state that it had during the
        call. Tasks that were added during the call may be missing.

        Parameters
        ----------
        *states : str or TaskState
            Any of queued, running, finished, failed. The table has them in this order.
        """
        return self._reader.fetch(states)

    def fetch_finished_tasks(self) -> TaskTable:
        """Fetch all finished tasks; one round trip, which transfers only the new ones.

        More than 2,000 new tasks take one round trip for each 2,000.
        """
        return self._reader.fetch_finished()

    def fetch_new_tasks(self, *, timeout_s: float = 0.0) -> TaskTable:
        """Fetch the tasks that finished since the last call; one round trip.

        If there are none, the server answers when a task ends, when a worker joins or leaves, or
        after `timeout_s` seconds. So the table may be empty before the time is over.
        """
        return self._reader.fetch_new(timeout_s)

    def fetch_new_failed_tasks(self) -> TaskTable:
        """Fetch the tasks that a worker failed since the last call; one round trip.

        Tasks of lost workers, and tasks that were removed from the queue, are left out: nothing is
        known about their configurations.
        """
        return self._reader.fetch_new_failed()

    def fetch_new_ended_tasks(self, *, timeout_s: float = 0.0) -> EndedTasks:
        """Fetch what `fetch_new_tasks` and `fetch_new_failed_tasks` return; one round trip.

        What this call has returned is not new to those two any more, and the reverse.
        """
        return self._reader.fetch_new_ended(timeout_s)

    def count_tasks(self) -> TaskCounts:
        """Count the tasks in each state; one round trip, atomic."""
        return self._reader.count()

    def fetch_workers(self) -> list[WorkerInfo]:
        """Fetch all workers that ever joined, in order of joining; one round trip, atomic."""
        return fetch_workers(self._connection, self._keys)

    def now(self) -> float:
        """Return the time by the server's clock, seconds since 1970; no round trip."""
        return self._clock.now()

    # -- stop, return, leave ---------------------------------------------------------------------

    def should_stop(self) -> bool:
        """Tell whether the worker should end after its current task.

        No round trip if a task was started, claimed, ended or reported on since the last call: the
        reply contained the answer. Otherwise one round trip.
        """
        if not self._transitions.is_current:
            epoch = self._participation.fetch_epoch()
            if epoch is None:
                self._transitions.note_out()
            elif epoch.endswith(b"s"):
                self._was_asked_to_stop = True
        self._transitions.is_current = False
        return self._was_asked_to_stop or self._transitions.must_stop

    def stop_after_task(self, *, interrupted: bool = False) -> None:
        """Make `should_stop` true from now on; no more tasks are started, and no call waits.

        One round trip over a separate connection, so a signal handler may call this while the
        worker waits in `claim_task`, which then returns None. If the server cannot be reached, this
        returns without an error.

        Parameters
        ----------
        interrupted : bool
            Whether a signal from outside is the cause. The worker then leaves as interrupted, and
            the manager that started its process finds it with `Network.detect_lost_workers`.
        """
        self._was_asked_to_stop = True
        if interrupted:
            self._leaves_as = WorkerState.INTERRUPTED
        connection = Connection(self._connection.url, timeout_s=2.0)
        with contextlib.closing(connection), contextlib.suppress(RushError):
            self._participation.request_stop(connection)

    @property
    def is_lost(self) -> bool:
        """Whether the server has replied that this worker is not registered; no round trip.

        It was declared lost, killed, or the network was reset. Others have ended its tasks:
        `finish_task` and `fail_task` return False and write nothing. See `rejoin`.
        """
        return self._transitions.is_out

    def rejoin(self) -> bool:
        """Register the worker again after it was declared lost; one round trip.

        It keeps its name and its number. A registration whose reply was lost is sent again.

        Returns
        -------
        bool
            False if it may not return: a manager killed it, or the network was reset.
        """
        self._transitions.require_own_process()
        epoch = self._transitions.epoch + 1
        try:
            self._participation.rejoin(self._clock.now(), epoch)
        except WorkerLostError:
            return False
        self._transitions = Transitions(self._connection, self._keys, self.worker_id, epoch=epoch)
        if self._running is not None:
            self._running.clear()  # others have ended its tasks
        return True

    def close(self, reason: str | None = None) -> None:
        """Leave the network; tasks that the worker is still running become failed.

        One round trip. If the server cannot be reached, the worker is removed later, when its
        heartbeat expires.

        Parameters
        ----------
        reason : str, optional
            Why the worker leaves; the error of its running tasks.

        Raises
        ------
        ServerRefusedError, CorruptRecordError
            If the server answers with an error. The worker stays registered until its heartbeat
            expires or a manager removes it.
        """
        if self._transitions.is_inherited:
            self._connection.close()
            return
        if self._heart is not None:
            self._heart.close()
        try:
            self._participation.leave(self._clock.now(), reason, self._leaves_as)
        except ServerFullError:
            raise
        except ServerUnreachableError:
            pass
        finally:
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
            return
        try:
            self.close(f"the worker ended: {error_text(error)}")
        except RushError as refusal:  # the first error matters more: it ended the loop
            error.add_note(f"and {self!r} could not leave it: {refusal}")


def _mark(unique: bytes) -> str:
    """Return the mark of a unique task: eight characters, for which a task's key has room."""
    return urlsafe_b64encode(blake2b(unique, digest_size=6).digest()).decode()


def _pairs(keys: Sequence[str], parts: Sequence[bytes]) -> tuple[bytes, ...]:
    """Return key and part of the record of each task in turn, as scripts take them."""
    return tuple(chain.from_iterable(zip(map(str.encode, keys), parts, strict=True)))
