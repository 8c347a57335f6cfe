"""The worker: what a worker loop may do."""

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
from rush_core.connection.connection import Connection, pack
from rush_core.connection.script import execute_on, retry_unreachable
from rush_core.errors import LikeTaskError, RushError, ServerUnreachableError, WorkerLostError
from rush_core.kernel.reader import TaskReader
from rush_core.kernel.report import Report, report_end
from rush_core.kernel.table import EndedTasks, TaskTable
from rush_core.kernel.task import (
    Task,
    TaskCounts,
    decode_tasks,
    failed_end,
    finished_end,
    key_maker,
    queued_records,
    running_record,
)
from rush_core.kernel.transitions import Transitions
from rush_core.keys import NetworkKeys, check_identifier
from rush_core.membership.heartbeat import Heartbeat, HeartbeatThread
from rush_core.membership.heartbeat_process import HeartbeatProcess
from rush_core.membership.registry import Registry, WorkerInfo, WorkerState
from rush_core.servers.locate import resolve_url

__all__ = ["Worker"]


class Worker:
    """One participant of a network that evaluates tasks; registers when it is made.

    Use it as a context manager, or `close` it: then it leaves the network, and what it was still
    running becomes failed.

    Threads may share it: their calls go one after the other, those that wait included, and what one
    of them is given as new no other is. It belongs to the process that made it. A forked child may
    read by it; starting, claiming, reporting on, finishing, failing and pushing tasks raise
    `RushError` there, and `close` only disconnects.

    Parameters
    ----------
    network_id : str
    url : str, optional
        The server; by default `RUSH_REDIS_URL`, `REDIS_URL` or an embedded one.
    worker_id : str, optional
        By default a random name.
    heartbeat : Heartbeat, optional
        How the worker proves that it lives; None if its process is watched by other means.
    on_killed : callable, optional
        Called in a thread when a manager killed the worker; by default it stops after its task.

    Attributes
    ----------
    network_id, worker_id : str
    number : int
        In order of joining, from 0.

    Raises
    ------
    RushError
        If a worker of this name takes part already.
    ServerUnreachableError, ServerRefusedError
        If there is no server at `url`, or not one that can be used.

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
    ) -> None:
        self._keys = NetworkKeys(network_id)
        if worker_id is None:
            worker_id = secrets.token_hex(4)
        self.network_id = network_id
        self.worker_id = check_identifier("worker_id", worker_id)
        self._connection = Connection(resolve_url(url, network_id))
        self._registry = Registry(self._connection, self._keys)
        self._heartbeat = heartbeat
        try:
            self._clock = ServerClock(self._connection)
            self.number = self._register(1)
        except BaseException:
            self._connection.close()
            raise
        self._transitions = Transitions(self._connection, self._keys, worker_id, epoch=1)
        self._reader = TaskReader(self._connection, self._keys, worker_id, waiting=self._connection)
        self._new_key = key_maker()
        self._asked_to_stop = False
        self._heard_from_server = False
        self._epoch_request = pack((b"HGET", self._keys.clients, worker_id))
        self._heart: HeartbeatThread | HeartbeatProcess | None = None
        try:
            self._heart = self._start_heart(on_killed or self.stop_after_task)
        except BaseException as error:
            self.close(f"it could not give signs of life: {error_text(error)}")
            raise

    def __repr__(self) -> str:
        return f"<Worker {self.worker_id!r} (number {self.number}) of network {self.network_id!r}>"

    # -- tasks: start, claim, finish, fail ----------------------------------------------------

    def start_task(
        self,
        config: dict[str, Any],
        *,
        limit: int | None = None,
        deadline: float | None = None,
        extra: dict[str, Any] | None = None,
        unique: bytes | None = None,
    ) -> str | None:
        """Create a task that this worker runs at once; one round trip, atomic.

        Parameters
        ----------
        config : dict
            The configuration to evaluate.
        limit : int, optional
            Start only while fewer than this many tasks were started or claimed in the network;
            lost ones do not count.
        deadline : float, optional
            Start only before this time by the server's clock, seconds since 1970. One refusal for
            it makes `should_stop` true for good, whatever is asked for later.
        extra : dict, optional
            Kept with the task.
        unique : bytes, optional
            What makes the task what it is: no other one is started with the same bytes, in the
            whole network, unless it is lost for good. The server keeps a digest of 48 bits.

        Returns
        -------
        str or None
            The task's key; None if the budget or the time is used up, or the worker was asked to
            stop.

        Raises
        ------
        TypeError, ValueError
            If a value cannot be stored; nothing was written.
        LikeTaskError
            If a task with the same `unique` was started before; nothing was written.
        WorkerLostError
            If this worker was declared lost.
        """
        key = self._new_key() if unique is None else f"{_mark(unique)}:{self._new_key()}"
        record = running_record(key, config, extra, self.worker_id, self._clock.now())
        self._heard_from_server = True
        if unique is None:
            is_started = bool(self._transitions.start((key.encode(), record), limit, deadline))
            return key if is_started else None
        started = self._transitions.start_unique((key.encode(), record), limit, deadline)
        if started is None:
            raise LikeTaskError(
                f"a task like {config!r:.80} was started before; start another one, or this one "
                "without unique"
            )
        return key if started else None

    def start_tasks(
        self,
        configs: Sequence[dict[str, Any]],
        *,
        limit: int | None = None,
        deadline: float | None = None,
        extras: Sequence[dict[str, Any] | None] | None = None,
    ) -> list[str]:
        """Create several tasks that this worker runs; one round trip, atomic.

        As many as `limit` allows, and none from `deadline` on, when one refusal makes `should_stop`
        true for good: see `start_task`.

        Returns
        -------
        list of str
            The keys of those started: the first ones, as many as the budget allowed.
        """
        started_at = self._clock.now()
        keys, records = [], []
        for config, extra in line_up(configs=configs, extras=extras):
            keys.append(self._new_key())
            records.append(running_record(keys[-1], config, extra, self.worker_id, started_at))
        if not records:
            return []
        self._heard_from_server = True
        n_started = self._transitions.start(_pairs(keys, records), limit, deadline)
        return keys[:n_started]

    def push_tasks(
        self,
        configs: Sequence[dict[str, Any]],
        *,
        extras: Sequence[dict[str, Any] | None] | None = None,
    ) -> list[str]:
        """Append tasks to the queue for any worker to claim; one round trip, all or none.

        Returns
        -------
        list of str
            The tasks' keys.

        Raises
        ------
        TypeError, ValueError
            If a value cannot be stored; nothing was written.
        WorkerLostError
            If this worker was declared lost.
        """
        given = line_up(configs=configs, extras=extras)
        keys, records = queued_records(self._new_key, given)
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
        """Take the longest waiting task and run it; atomic.

        One round trip if a task waits; otherwise two more: one in which the server keeps its reply
        back until a task can be claimed, the worker is asked to stop, or `timeout_s` seconds are
        over, and the claim, which tells when the task starts.

        Returns
        -------
        Task or None
            None if nothing waits, the budget or the time is used up (see `start_task` for `limit`,
            `deadline` and what a refusal for it does to `should_stop`), or the worker was asked to
            stop.
        """
        timeout_s = check_timeout(timeout_s)
        self._heard_from_server = True
        record = self._transitions.claim(limit, self._clock.now, timeout_s, deadline)
        return None if record is None else decode_tasks((record,), self._keys.running)[0]

    def finish_task(
        self, key: str, result: dict[str, Any], *, extra: dict[str, Any] | None = None
    ) -> bool:
        """End a task with its result; one round trip, atomic, first writer wins.

        Parameters
        ----------
        key : str
        result : dict
            What the evaluation returned.
        extra : dict, optional
            Kept with the result.

        Returns
        -------
        bool
            False if the task is not running under this worker: somebody already ended it, or
            there is no such task. Then nothing was written.

        Raises
        ------
        TypeError, ValueError
            If a value cannot be stored; the task goes on running.
        """
        end = finished_end(self._clock.now(), result, extra)
        self._heard_from_server = True
        return self._transitions.finish((key.encode(), end))[0]

    def finish_tasks(
        self,
        keys: Sequence[str],
        results: Sequence[dict[str, Any]],
        *,
        extras: Sequence[dict[str, Any] | None] | None = None,
    ) -> list[bool]:
        """End several tasks with their results; one round trip, atomic."""
        ended_at = self._clock.now()
        ends = [
            finished_end(ended_at, result, extra)
            for _, result, extra in line_up(keys=keys, results=results, extras=extras)
        ]
        if not ends:
            return []
        self._heard_from_server = True
        return self._transitions.finish(_pairs(keys, ends))

    def fail_task(
        self, key: str, error: str | BaseException, *, extra: dict[str, Any] | None = None
    ) -> bool:
        """End a task with an error, of an exception its traceback; otherwise as `finish_task`."""
        end = failed_end(self._clock.now(), error_text(error), extra)
        self._heard_from_server = True
        return self._transitions.fail((key.encode(), end))[0]

    def fail_tasks(
        self,
        keys: Sequence[str],
        errors: Sequence[str | BaseException],
        *,
        extras: Sequence[dict[str, Any] | None] | None = None,
    ) -> list[bool]:
        """End several tasks with errors; one round trip, atomic."""
        ended_at = self._clock.now()
        ends = [
            failed_end(ended_at, error_text(error), extra)
            for _, error, extra in line_up(keys=keys, errors=errors, extras=extras)
        ]
        if not ends:
            return []
        self._heard_from_server = True
        return self._transitions.fail(_pairs(keys, ends))

    def finish_and_fetch_new(
        self, key: str, result: dict[str, Any], *, extra: dict[str, Any] | None = None
    ) -> tuple[bool, TaskTable]:
        """Finish a task and fetch what is new, this task included; one round trip for both.

        Returns
        -------
        won : bool
            As `finish_task` returns it.
        new : TaskTable
            As `fetch_new_tasks` returns it.
        """
        end = finished_end(self._clock.now(), result, extra)
        log = self._reader.new_log
        self._heard_from_server = True
        request = log.request()
        won, (reply,) = self._transitions.finish_and_read(key.encode(), end, request)
        return won, TaskTable(log.accept(reply, request)[0])

    def finish_and_fetch_ended(
        self, key: str, result: dict[str, Any], *, extra: dict[str, Any] | None = None
    ) -> tuple[bool, EndedTasks]:
        """Finish a task and fetch what has ended, this task included; one round trip for both.

        Returns
        -------
        won : bool
            As `finish_task` returns it.
        ended : EndedTasks
            As `fetch_new_ended_tasks` returns it.
        """
        end = finished_end(self._clock.now(), result, extra)
        reads = self._reader.ended_requests()
        self._heard_from_server = True
        won, replies = self._transitions.finish_and_read(key.encode(), end, *reads)
        return won, self._reader.accept_ended(replies, reads)

    def fail_and_fetch_ended(
        self, key: str, error: str | BaseException, *, extra: dict[str, Any] | None = None
    ) -> tuple[bool, EndedTasks]:
        """Fail a task, as `fail_task` does; otherwise as `finish_and_fetch_ended`."""
        end = failed_end(self._clock.now(), error_text(error), extra)
        reads = self._reader.ended_requests()
        self._heard_from_server = True
        won, replies = self._transitions.fail_and_read(key.encode(), end, *reads)
        return won, self._reader.accept_ended(replies, reads)

    # -- reports on a running task ------------------------------------------------------------

    def report_task(self, key: str, values: dict[str, Any]) -> bool:
        """Tell all workers how a task is going; one round trip, atomic.

        Parameters
        ----------
        key : str
        values : dict
            What is to be known of the task before it ends.

        Returns
        -------
        bool
            False if the task is not running under this worker (any more). Then nothing was
            written, and going on with it is of no use.

        Raises
        ------
        TypeError, ValueError
            If a value cannot be stored.
        """
        end = report_end(self._clock.now(), values)
        self._heard_from_server = True
        return self._transitions.report(key.encode(), end)

    def report_and_fetch_new(self, key: str, values: dict[str, Any]) -> tuple[bool, list[Report]]:
        """Report on a task and fetch all new reports, this one included; one round trip for both.

        Returns
        -------
        won : bool
            As `report_task` returns it.
        new : list of Report
            As `fetch_new_reports` returns it.
        """
        end = report_end(self._clock.now(), values)
        position = self._reader.reports
        self._heard_from_server = True
        request = position.request()
        won, (reply,) = self._transitions.report_and_read(key.encode(), end, request)
        return won, position.accept(reply, request)[0]

    def fetch_new_reports(self) -> list[Report]:
        """Fetch what all workers reported since the last such call, in order; one round trip."""
        return self._reader.fetch_new_reports()

    # -- what there is ---------------------------------------------------------------------------

    def fetch_tasks(self, *states: str) -> TaskTable:
        """Fetch the tasks in `states` (default: all) as one consistent look; one round trip."""
        return self._reader.fetch(states)

    def fetch_finished_tasks(self) -> TaskTable:
        """Fetch all finished tasks; one round trip that transfers only what is new."""
        return self._reader.fetch_finished()

    def fetch_new_tasks(self, *, timeout_s: float = 0.0) -> TaskTable:
        """Fetch the tasks finished since the last such call, and keep none of them.

        One round trip. If nothing is new, the server keeps its reply back until a task ends, a
        worker joins or leaves, or `timeout_s` seconds are over; the table can then be empty.
        """
        return self._reader.fetch_new(timeout_s)

    def fetch_new_failed_tasks(self) -> TaskTable:
        """Fetch the tasks that failed since the last such call; one round trip.

        Only those that failed by themselves: the task of a lost worker, or one that was taken out
        of the queue, is not known to be bad.
        """
        return self._reader.fetch_new_failed()

    def fetch_new_ended_tasks(self, *, timeout_s: float = 0.0) -> EndedTasks:
        """Fetch what `fetch_new_tasks` and `fetch_new_failed_tasks` do; one round trip for both.

        What one of them has fetched is not new to the others.
        """
        return self._reader.fetch_new_ended(timeout_s)

    def count_tasks(self) -> TaskCounts:
        """Count the tasks in each place as one look; one round trip."""
        return self._reader.count()

    def fetch_workers(self) -> list[WorkerInfo]:
        """Fetch all workers that ever joined, in this order; one round trip."""
        return self._registry.fetch()

    # -- life -------------------------------------------------------------------------------------

    def should_stop(self) -> bool:
        """Tell whether the worker is to end after its current task.

        No round trip if start, claim, report, finish or fail was called since the last call of
        this: their replies say so along the way. Otherwise one, to ask the server.
        """
        if not self._heard_from_server:
            question = (self._connection, self._keys.clients, self._epoch_request)
            epoch = retry_unreachable(lambda: execute_on(*question))
            if epoch is None:
                self._transitions.note_out()
            elif epoch.endswith(b"s"):
                self._asked_to_stop = True
        self._heard_from_server = False
        return self._asked_to_stop or self._transitions.stop_requested

    def stop_after_task(self) -> None:
        """Make `should_stop` true from now on, start no more tasks and wait for none.

        One round trip, over a connection of its own: a signal handler can call this while the
        worker sleeps in `claim_task`, which then returns None. A server that cannot be reached is
        not waited for.
        """
        self._asked_to_stop = True
        connection = Connection(self._connection.url, timeout_s=2.0)
        with contextlib.closing(connection), contextlib.suppress(RushError):
            Registry(connection, self._keys).request_stop([self.worker_id], patience_s=0.0)

    @property
    def is_lost(self) -> bool:
        """Whether a reply said that this worker takes no part any more; no round trip.

        It was declared lost, killed, or the network was reset. What it was running is not its own
        any more: `finish_task` and `fail_task` return False and write nothing. See `rejoin`.
        """
        return self._transitions.is_out

    def rejoin(self) -> bool:
        """Take part again after this worker was declared lost; one round trip.

        A reply that is lost with the connection is asked for again.

        It keeps its name and its number.

        Returns
        -------
        bool
            False if it was killed or the network was reset: then it is not wanted any more.
        """
        self._transitions.require_own_process()
        epoch = self._transitions.epoch + 1
        try:
            self._register(epoch, after_loss=True)
        except WorkerLostError:
            return False
        self._transitions = Transitions(self._connection, self._keys, self.worker_id, epoch=epoch)
        return True

    def now(self) -> float:
        """Return the server's time, seconds since 1970; no round trip."""
        return self._clock.now()

    def close(self, reason: str | None = None) -> None:
        """Leave the network; what the worker is still running becomes failed with `reason`.

        One round trip. A server that is gone is no error: there is nothing left to leave. One that
        refuses is: the worker takes part until it is found silent, or removed.
        """
        if self._transitions.is_inherited:
            self._connection.close()
            return
        task_error = reason or "the worker left the network before the task ended"
        if self._heart is not None:
            self._heart.close()
        try:
            self._registry.remove(
                self.worker_id,
                WorkerState.STOPPED,
                reason=reason or "",
                task_error=task_error,
                at=self._clock.now(),
                patience_s=5.0,  # a worker on its way out should not linger
            )
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
        except RushError as refusal:  # what ended the loop is what its caller has to hear first
            error.add_note(f"and {self!r} could not leave it: {refusal}")

    def _register(self, epoch: int, *, after_loss: bool = False) -> int:
        return self._registry.register(
            self.worker_id,
            self._clock.now(),
            epoch=epoch,
            expire_s=None if self._heartbeat is None else self._heartbeat.expire_s,
            after_loss=after_loss,
        )

    def _start_heart(
        self, on_killed: Callable[[], None]
    ) -> HeartbeatThread | HeartbeatProcess | None:
        if self._heartbeat is None:
            return None
        url = self._connection.url
        if self._heartbeat.own_process:
            return HeartbeatProcess(url, self.network_id, self.worker_id, self._heartbeat)
        return HeartbeatThread(url, self._keys, self.worker_id, self._heartbeat, on_killed)


def _mark(unique: bytes) -> str:
    """Return eight characters, of which a key has room for no more."""
    return urlsafe_b64encode(blake2b(unique, digest_size=6).digest()).decode()


def _pairs(keys: Sequence[str], parts: Sequence[bytes]) -> tuple[bytes, ...]:
    """Line up the key and one more argument of each task, as the scripts take them."""
    return tuple(chain.from_iterable(zip(map(str.encode, keys), parts, strict=True)))
