"""The changes of state that a client makes to tasks: one script of the server for each.

A task is queued, running, finished or failed. Each method here moves tasks from one of these places
to another, atomically: either all of a call is done or nothing. The first writer wins: a worker
whose task another client has ended changes nothing and gets False.

A lost worker's tasks are moved by `rush_core.membership.registry`.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import hiredis

from rush_core.arguments import check_count, check_deadline
from rush_core.connection.connection import Connection
from rush_core.connection.script import pack_sleep
from rush_core.errors import RushError, ServerUnreachableError, WorkerLostError
from rush_core.kernel.codec import encode
from rush_core.kernel.commands import OUT, Command, Commands
from rush_core.kernel.lost_replies import LostReplies
from rush_core.kernel.slices import SLICE, batches
from rush_core.keys import NetworkKeys

__all__ = ["Transitions"]

logger = logging.getLogger(__name__)

# Replies of the scripts that start and claim tasks, besides `OUT`.
_STOP, _TAKEN = -2, -3


class Transitions:
    """The changes of state that one client makes.

    Parameters
    ----------
    connection : Connection
    keys : NetworkKeys
    client_id : str
        The id of a worker or of a manager.
    epoch : int
        The epoch of a worker's registration, from 1; 0 for a manager.

    Attributes
    ----------
    must_stop : bool
        Whether the worker may start no more tasks: a reply said that it was asked to stop, or that
        the deadline has passed.
    is_out : bool
        Whether a reply said that the worker is not registered any more.
    is_current : bool
        Whether a reply has set `must_stop` and `is_out` since this was last made False.
    """

    def __init__(
        self, connection: Connection, keys: NetworkKeys, client_id: str, *, epoch: int
    ) -> None:
        self._connection = connection
        self._keys = keys
        self._client_id = client_id
        self._pid = os.getpid()
        self.must_stop = self.is_out = self.is_current = False
        lost = LostReplies(connection, keys, client_id)
        commands = Commands(connection, keys, client_id, epoch, self.require_own_process)
        self._commands = commands
        self._start = commands.command("start_tasks", lost.started)
        self._start_unique = commands.command("start_unique_task", lost.started)
        self._claim = commands.command("claim_task", lost.claimed)
        self._finish = commands.command("finish_tasks", lost.finished, is_in_log=True)
        self._fail = commands.command("fail_tasks", lost.failed, is_in_log=True)
        self._report = commands.command("report_task", lost.reported, is_in_log=True)
        self._push = commands.command("push_tasks", lost.pushed)
        self._push_finished = commands.command("push_finished_tasks", lost.pushed_finished)
        self._push_failed = commands.command("push_failed_tasks", lost.pushed_failed)
        self._clear = commands.command("clear_queue", lost.cleared)
        self._wait = commands.script("wait_for_queued")
        self._ended_logs = (keys.finished, keys.failed)

    @property
    def epoch(self) -> int:
        """The client's epoch: each command carries it, see `rush_core.kernel.commands`."""
        return self._commands.epoch

    def start(
        self, tasks: tuple[bytes, ...], limit: int | None, deadline: float | None = None
    ) -> int:
        """Make tasks running, the first ones as far as the budget goes; one round trip.

        Parameters
        ----------
        tasks : tuple of bytes
            Key and running record of each task in turn.
        limit : int or None
            How many tasks may be started in the network in all.
        deadline : float or None
            Seconds since 1970 by the server's clock. From then on no task is started, and the
            worker must stop.

        Returns
        -------
        int
            How many were started. It is 0 if the budget is used up or the worker must stop.

        Raises
        ------
        ValueError
            If `limit` or `deadline` cannot be used.
        WorkerLostError
            If the client is out.
        """
        return self._note_started(self._run_in_budget(self._start, tasks, limit, deadline))

    def start_unique(
        self, task: tuple[bytes, bytes], limit: int | None, deadline: float | None = None
    ) -> bool | None:
        """Make a task running unless the mark at the beginning of its key is taken; like `start`.

        Returns
        -------
        bool or None
            True if it was started. False if the budget is used up or the worker must stop. None if
            the mark is taken.
        """
        reply = self._run_in_budget(self._start_unique, task, limit, deadline)
        if reply == _TAKEN:
            self.is_current = True
            return None
        return self._note_started(reply) > 0

    def claim(
        self,
        limit: int | None,
        now: Callable[[], float],
        timeout_s: float,
        deadline: float | None = None,
    ) -> bytes | None:
        """Claim the task that has waited longest; one round trip, three if it has to wait.

        A task that is queued after the deadline stays in the queue.

        Parameters
        ----------
        limit, deadline
            As for `start`.
        now : callable
            Returns the time by the server's clock. It is read again after a wait: the task starts
            when it is claimed.
        timeout_s : float
            Longest wait for a task, seconds.

        Returns
        -------
        bytes or None
            The running record; None if there is no task, the budget is used up, or the worker must
            stop.
        """
        until = time.monotonic() + timeout_s
        reply = self._run_in_budget(self._claim, (encode(now()), b""), limit, deadline)
        if reply is None and timeout_s > 0:
            waited = self._wait_for_queued(timeout_s)
            reply = self._run_in_budget(self._claim, (encode(now()), b"1"), limit, deadline)
            left_s = until - time.monotonic()
            if reply is None and not waited and left_s > 0:
                return self.claim(limit, now, left_s, deadline)
        self.is_current = True
        if isinstance(reply, int):
            self._note_started(reply)
            return None
        record: bytes | None = reply
        return record

    def finish(self, tasks: tuple[bytes, ...]) -> list[bool]:
        """Append running tasks, with their results, to the finished log; one round trip.

        Parameters
        ----------
        tasks : tuple of bytes
            Key and packed end of each task in turn.

        Returns
        -------
        list of bool
            False for a task that does not run under this worker; for this one nothing was written.
        """
        return self._note_ended(self._commands.run(self._finish, tasks), len(tasks) // 2)

    def fail(self, tasks: tuple[bytes, ...]) -> list[bool]:
        """Append running tasks, with their errors, to the failed tasks; like `finish`."""
        return self._note_ended(self._commands.run(self._fail, tasks), len(tasks) // 2)

    def report(self, key: bytes, end: bytes) -> bool:
        """Append a report on a running task to the reports; one round trip.

        Returns
        -------
        bool
            False if the task does not run under this worker; then nothing was written.
        """
        return self._note_ended(self._commands.run(self._report, (key, end)), 1)[0]

    def finish_and_read(self, key: bytes, end: bytes, *reads: bytes) -> tuple[bool, list[Any]]:
        """Finish a task and then read the logs of ended tasks; one round trip for both.

        Parameters
        ----------
        key, end : bytes
            The task's key and its packed end.
        *reads : bytes
            Packed requests.

        Returns
        -------
        won : bool
            As `finish` returns it.
        replies : list
            The replies to `reads`.
        """
        reply, replies = self._commands.run_and_read(
            self._finish, (key, end), self._ended_logs, reads
        )
        return self._note_ended(reply, 1)[0], replies

    def fail_and_read(self, key: bytes, end: bytes, *reads: bytes) -> tuple[bool, list[Any]]:
        """Fail a task and then read the logs of ended tasks; like `finish_and_read`."""
        reply, replies = self._commands.run_and_read(
            self._fail, (key, end), self._ended_logs, reads
        )
        return self._note_ended(reply, 1)[0], replies

    def report_and_read(self, key: bytes, end: bytes, *reads: bytes) -> tuple[bool, list[Any]]:
        """Report on a task and then read the reports; like `finish_and_read`."""
        reply, replies = self._commands.run_and_read(
            self._report, (key, end), (self._keys.reports,), reads
        )
        return self._note_ended(reply, 1)[0], replies

    def push(self, records: Sequence[bytes]) -> None:
        """Append records to the queue; one round trip for each batch (see `slices`)."""
        self._push_batches(self._push, records)

    def push_finished(self, records: Sequence[bytes]) -> None:
        """Append records to the finished log, like `push`."""
        self._push_batches(self._push_finished, records)

    def push_failed(self, records: Sequence[bytes]) -> None:
        """Append records to the failed tasks, like `push`."""
        self._push_batches(self._push_failed, records)

    def clear_queue(self, end: bytes) -> int:
        """Make all queued tasks failed and return how many; one round trip for each slice."""
        n_cleared, most = 0, b"%d" % SLICE
        while True:
            n: int = self._commands.run(self._clear, (end, most))
            self._require_registered(n)
            n_cleared += n
            if n < SLICE:
                return n_cleared

    def note_out(self) -> None:
        """Note that the worker is not registered any more."""
        self.is_out = self.must_stop = self.is_current = True

    @property
    def is_inherited(self) -> bool:
        """Whether this process was forked from the process that the worker belongs to."""
        return os.getpid() != self._pid

    def require_own_process(self) -> None:
        """Raise if this process was forked from the process that the worker belongs to.

        Raises
        ------
        RushError
        """
        if self.is_inherited:
            raise RushError(
                f"worker {self._client_id!r} belongs to process {self._pid}, and this process, "
                f"{os.getpid()}, was forked from it; start and end tasks there, or make a Worker "
                "here",
                key=self._client_id,
                expected=self._pid,
                found=os.getpid(),
            )

    def _push_batches(self, command: Command, records: Sequence[bytes]) -> None:
        """Push records in batches, each of which is pushed as a whole or not at all."""
        n_pushed = 0
        try:
            for batch in batches(records):
                self._require_registered(self._commands.run(command, batch))
                n_pushed += len(batch)
        except RushError as error:
            if n_pushed:
                error.add_note(f"the first {n_pushed} of {len(records)} tasks were pushed")
            raise

    def _run_in_budget(
        self,
        command: Command,
        arguments: tuple[bytes, ...],
        limit: int | None,
        deadline: float | None,
    ) -> Any:
        """Run a command that takes places in the budget."""
        with self._connection.exclusive:
            if (limit, deadline) != self._commands.budget:
                self._commands.set_budget(
                    None if limit is None else check_count("limit", limit, least=0),
                    None if deadline is None else check_deadline(deadline),
                )
            return self._commands.run(command, arguments)

    def _wait_for_queued(self, timeout_s: float) -> bool:
        """Wait for a queued task; return False if the connection broke before the time was over."""
        requests = (
            self._wait.pack_source(),
            pack_sleep(self._keys.wake(self._client_id), timeout_s),
        )
        try:
            first = self._connection.execute_many(requests, block_s=timeout_s)[0]
        except ServerUnreachableError:
            return False  # the claim that follows connects again
        if isinstance(first, hiredis.ReplyError):
            raise self._wait.refused(self._connection, first)
        return True

    def _note_started(self, reply: int) -> int:
        """Take the reply of a start; return how many tasks were started."""
        self.is_current = True
        if reply == _STOP:
            self.must_stop = True
            return 0
        self._require_registered(reply)
        return reply

    def _note_ended(self, reply: Any, n: int) -> list[bool]:
        """Take the reply to the end of `n` tasks or to a report; return which were written."""
        self.is_current = True
        if reply == n:
            return [True] * n
        if reply == OUT:
            self.note_out()
            logger.warning(
                "worker %s was removed from network %s; its result is discarded",
                self._client_id,
                self._keys.network_id,
            )
            return [False] * n
        if reply[-1]:
            self.must_stop = True
        return [won == 1 for won in reply[:-1]]

    def _require_registered(self, reply: int) -> None:
        if reply == OUT:
            self.note_out()
            raise WorkerLostError(
                f"{self._client_id!r} is not registered in network {self._keys.network_id!r} any "
                "more: it was declared lost, killed, or the network was reset; its unfinished "
                "tasks were failed or queued again. If it was lost, Worker.rejoin() registers it "
                "again",
                key=self._client_id,
            )
