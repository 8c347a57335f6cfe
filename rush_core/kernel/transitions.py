"""The changes of state that a client makes to tasks: one server-side script per transition.

What a lost worker leaves behind is moved by `Registry.remove`.

Every script that a client runs checks the client's *epoch*, a number that the client raises
whenever its connection broke. A command sent earlier carries the older epoch and is refused when it
reaches the server late, so after raising the epoch a client can look at what is there, see whether
its last command was executed, and repeat it if not: nothing is doubled and nothing is lost. The
same check keeps out a worker that was removed, whose epoch is gone.

Of several threads that share a client, the one whose command got lost finds out about it before any
other goes on: else theirs, sent under the older epoch, would be refused as if the client were out.
"""

from __future__ import annotations

import itertools
import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from numbers import Real
from typing import Any

import hiredis
import msgspec

from rush_core.arguments import check_count
from rush_core.connection.connection import Connection, pack, refusal
from rush_core.connection.script import (
    Script,
    execute_all_on,
    is_missing,
    look,
    name_culprit,
    pack_sleep,
    retry_unreachable,
)
from rush_core.errors import (
    RushError,
    ServerRefusedError,
    ServerUnreachableError,
    WorkerLostError,
)
from rush_core.kernel.codec import encode
from rush_core.keys import NetworkKeys

__all__ = ["Transitions"]

logger = logging.getLogger(__name__)

_OUT, _STOP, _TAKEN = -1, -2, -3  # replies of guarded scripts

# Records of a log that are read at once to find one: a usual one has some hundred bytes.
_SLICE = 500

_decode_fields = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode

# Looks, after the epoch was raised, whether a script with these arguments was executed before the
# connection broke: returns the reply that was lost, or None to execute the script again.
Settle = Callable[[tuple[bytes, ...]], Any | None]

# How many tasks may be started in all, and until when; None for no limit.
Budget = tuple[int | None, float | None]


class Transitions:
    """The state changes that one client makes.

    Parameters
    ----------
    connection : Connection
    keys : NetworkKeys
    client_id : str
        A worker's id, or the name under which a manager's commands are known.
    epoch : int
        That of a worker's registration, from 1; 0 for a client that is let in when it first
        changes something.
    """

    def __init__(
        self, connection: Connection, keys: NetworkKeys, client_id: str, *, epoch: int
    ) -> None:
        self._connection = connection
        self._keys = k = keys
        self._client = client_id.encode()
        self._packed_worker = encode(client_id)
        self._is_worker = epoch > 0
        self._pid = os.getpid()
        self.epoch = epoch
        self._generation = connection.generation if epoch else -1
        self._budget: Budget = (None, None)
        self.stop_requested = False
        self.is_out = False
        self._start = Script("start_tasks", k.clients, k.started, k.running)
        self._start_unique = Script("start_unique_task", k.clients, k.started, k.running, k.unique)
        self._claim = Script("claim_task", k.clients, k.started, k.queued, k.running, k.idle)
        self._finish = Script("end_tasks", k.clients, k.running, k.finished, k.waiting)
        self._fail = Script("end_tasks", k.clients, k.running, k.failed, k.waiting)
        self._report = Script("report_task", k.clients, k.running, k.reports)
        self._push = Script("push_tasks", k.clients, k.queued, k.idle)
        self._push_finished = Script("push_ended_tasks", k.clients, k.finished, k.waiting)
        self._push_failed = Script("push_ended_tasks", k.clients, k.failed, k.waiting)
        self._clear = Script("clear_queue", k.clients, k.queued, k.failed, k.waiting)
        self._renew = Script("renew_client", k.clients)
        self._wake_list = k.wake(client_id)
        self._sleep = Script(
            "wait_for_queued", k.clients, k.queued, k.idle, k.started, self._wake_list
        )
        self._fix_epoch()

    def start(
        self, tasks: tuple[bytes, ...], limit: int | None, deadline: float | None = None
    ) -> int:
        """Make tasks running, the first ones as far as the budget goes; one round trip.

        Parameters
        ----------
        tasks : tuple of bytes
            Key and running record of each task in turn.
        limit : int or None
        deadline : float or None
            By the server's clock; from then on the worker is to stop.

        Returns
        -------
        int
            How many were started; 0 also when the worker was asked to stop.
        """
        reply = self._within((limit, deadline), self._start, tasks, self._settle_start)
        return reply if reply > 0 else self._note_refusal(reply)

    def start_unique(
        self, task: tuple[bytes, bytes], limit: int | None, deadline: float | None = None
    ) -> bool | None:
        """Make a task running unless the mark that its key begins with is taken; one round trip.

        Returns
        -------
        bool or None
            True if it was started; False if the budget is used up or the worker is to stop; None
            if the mark is taken.
        """
        reply = self._within((limit, deadline), self._start_unique, task, self._settle_start)
        return None if reply == _TAKEN else self._note_refusal(reply) > 0

    def _settle_start(self, tasks: tuple[bytes, ...]) -> int | None:
        return self._count_running(tasks[::2]) or None

    def claim(
        self,
        limit: int | None,
        now: Callable[[], float],
        timeout_s: float,
        deadline: float | None = None,
    ) -> bytes | None:
        """Take the longest waiting task; one round trip, three if it has to be waited for.

        It starts when it is claimed: of the time spent asleep it knows nothing. One that comes when
        the deadline has passed stays in the queue.
        """
        budget = limit, deadline
        until = time.monotonic() + timeout_s
        arguments = (encode(now()), b"")
        reply = self._within(budget, self._claim, arguments, self._settle_claim)
        if reply is None and timeout_s > 0:
            slept = self._sleep_until_queued(timeout_s, limit)
            woken = (encode(now()), self._keys.wake(""))
            reply = self._within(budget, self._claim, woken, self._settle_claim)
            left_s = until - time.monotonic()
            if reply is None and not slept and left_s > 0:
                return self.claim(limit, now, left_s, deadline)
        if isinstance(reply, int):
            self._note_refusal(reply)
            return None
        record: bytes | None = reply
        return record

    def _settle_claim(self, arguments: tuple[bytes, ...]) -> bytes | None:
        start = arguments[0]
        records: list[bytes] = self._connection.execute(pack((b"HVALS", self._keys.running)))
        mine = (record for record in records if record.endswith(start))
        return next((r for r in mine if r[1:].startswith(self._packed_worker)), None)

    def finish(self, tasks: tuple[bytes, ...]) -> list[bool]:
        """Append running tasks, with their results, to the finished log; one round trip.

        Parameters
        ----------
        tasks : tuple of bytes
            Key and packed end of each task in turn.

        Returns
        -------
        list of bool
            False where the task is not running under this worker; then nothing was written.
        """
        reply = self._guarded(self._finish, tasks, self._settle_finish)
        return self._won(reply, len(tasks) // 2)

    def fail(self, tasks: tuple[bytes, ...]) -> list[bool]:
        """Move running tasks to the failed ones; otherwise as `finish`."""
        reply = self._guarded(self._fail, tasks, self._settle_fail)
        return self._won(reply, len(tasks) // 2)

    def report(self, key: bytes, end: bytes) -> bool:
        """Append a report on a running task; one round trip.

        Parameters
        ----------
        key, end : bytes
            The task's, and the packed end of the report.

        Returns
        -------
        bool
            False if the task is not running under this worker; then nothing was written.
        """
        reply = self._guarded(self._report, (key, end), self._settle_report)
        return self._won(reply, 1)[0]

    def finish_and_read(self, key: bytes, end: bytes, *reads: bytes) -> tuple[bool, list[Any]]:
        """Finish a task and, in the same send, read the logs of ended tasks.

        Parameters
        ----------
        key, end : bytes
            The task's, and its packed end.
        *reads : bytes
            Packed requests.

        Returns
        -------
        won : bool
        replies : list
            To each of `reads`, executed after the finish.
        """
        logs = (self._keys.finished, self._keys.failed)
        return self._and_read(self._finish, self._settle_finish, (key, end), logs, reads)

    def fail_and_read(self, key: bytes, end: bytes, *reads: bytes) -> tuple[bool, list[Any]]:
        """Fail a task and, in the same send, execute `reads`: as `finish_and_read`."""
        logs = (self._keys.finished, self._keys.failed)
        return self._and_read(self._fail, self._settle_fail, (key, end), logs, reads)

    def report_and_read(self, key: bytes, end: bytes, *reads: bytes) -> tuple[bool, list[Any]]:
        """Report on a task and, in the same send, execute `reads`: as `finish_and_read`."""
        logs = (self._keys.reports,)
        return self._and_read(self._report, self._settle_report, (key, end), logs, reads)

    def _and_read(
        self,
        script: Script,
        settle: Settle,
        pair: tuple[bytes, bytes],
        logs: tuple[bytes, ...],
        reads: tuple[bytes, ...],
    ) -> tuple[bool, list[Any]]:
        """Run a script for one task and then read logs, in one send."""
        with self._connection.together:
            is_sent = self._generation == self._connection.generation
            if is_sent:
                try:
                    done, *replies = self._connection.execute_many((script.pack(*pair), *reads))
                except ServerUnreachableError:
                    pass  # settled below, as any script whose reply was lost
                else:
                    for reply in replies:
                        if isinstance(reply, hiredis.ReplyError):
                            raise name_culprit(refusal(reply), self._connection, logs)
                    if not isinstance(done, hiredis.ReplyError):
                        return self._won(done, 1)[0], replies
                    if not is_missing(done):
                        raise script.refused(self._connection, done)
                    is_sent = False
            won = self._won(self._settled(script, pair, settle, is_sent), 1)[0]
            return won, retry_unreachable(lambda: execute_all_on(self._connection, logs, reads))

    def push(self, records: Sequence[bytes]) -> None:
        """Append records to the queue; one round trip."""
        self._require_known(self._guarded(self._push, tuple(records), self._settle_push))

    def push_finished(self, records: Sequence[bytes]) -> None:
        """Append records to the finished log; one round trip."""
        settle = self._settle_push_finished
        self._require_known(self._guarded(self._push_finished, tuple(records), settle))

    def push_failed(self, records: Sequence[bytes]) -> None:
        """Append records to the failed tasks; one round trip."""
        settle = self._settle_push_failed
        self._require_known(self._guarded(self._push_failed, tuple(records), settle))

    def clear_queue(self, end: bytes) -> int:
        """Make all queued tasks failed; one round trip."""
        n_cleared: int = self._guarded(self._clear, (end,), self._settle_clear)
        self._require_known(n_cleared)
        return n_cleared

    def _settle_clear(self, arguments: tuple[bytes, ...]) -> None:
        """Clear again: what was cleared before is not there any more."""

    def _settle_finish(self, tasks: tuple[bytes, ...]) -> list[int] | None:
        return self._settle_end(self._keys.finished, tasks)

    def _settle_fail(self, tasks: tuple[bytes, ...]) -> list[int] | None:
        return self._settle_end(self._keys.failed, tasks)

    def _settle_end(self, log: bytes, tasks: tuple[bytes, ...]) -> list[int] | None:
        # One that is still running under this worker would have been ended with the others.
        return None if self._count_running(tasks[::2]) else self._settle_in_log(log, tasks)

    def _settle_report(self, report: tuple[bytes, ...]) -> list[int] | None:
        return self._settle_in_log(self._keys.reports, report)

    def _settle_in_log(self, log: bytes, tasks: tuple[bytes, ...]) -> list[int] | None:
        keys = [encode(key.decode()) for key in tasks[::2]]
        # Of a key that was given twice, the first end counts.
        ends = dict(zip(reversed(keys), reversed(tasks[1::2]), strict=True))
        ended = set()
        for record in self._read_back(log):
            if not record[1:].startswith(self._packed_worker):
                continue
            key = _packed_key(record)
            # The end holds a time of this process's clock: no other call's record has the same.
            if key in ends and record.endswith(ends[key]):
                ended.add(key)
            elif b"lost" not in record:
                # What this worker did stands there in order, so this was done before. Only what
                # it lost was written by others.
                break
        if not ended:
            return None  # none was this worker's to end, or the script was not executed
        won = []
        for key in keys:
            won.append(int(key in ended))
            ended.discard(key)
        return [*won, 0]

    def _settle_push(self, records: tuple[bytes, ...]) -> int | None:
        key, k = _packed_key(records[0]), self._keys
        # Queued and running tasks in one look: they go back and forth. What ended stays there.
        running = (b"HEXISTS", k.running, msgspec.msgpack.decode(key, type=str))
        queued, is_running = look(self._connection, [(b"LRANGE", k.queued, 0, -1), running])
        if is_running or any(key in record for record in queued):
            return len(records)
        return self._settle_push_finished(records) or self._settle_push_failed(records)

    def _settle_push_finished(self, records: tuple[bytes, ...]) -> int | None:
        return self._settle_append(self._keys.finished, records)

    def _settle_push_failed(self, records: tuple[bytes, ...]) -> int | None:
        return self._settle_append(self._keys.failed, records)

    def _settle_append(self, log: bytes, records: tuple[bytes, ...]) -> int | None:
        key = _packed_key(records[0])
        return len(records) if any(key in record for record in self._read_back(log)) else None

    def _read_back(self, log: bytes) -> Iterator[bytes]:
        """Yield the records of a log from its end, a slice for each round trip.

        What is looked for stands near the end, and a whole log can be more than the server or the
        way to it has room for. If it grows meanwhile, some records come twice, and none is missed.
        """
        for last in itertools.count(-1, -_SLICE):
            request = (b"LRANGE", log, last - _SLICE + 1, last)
            records = self._connection.execute(pack(request))
            yield from reversed(records)
            if len(records) < _SLICE:
                return

    def _within(
        self, budget: Budget, script: Script, arguments: tuple[bytes, ...], settle: Settle
    ) -> Any:
        """Run a script that takes places of a budget."""
        with self._connection.together:
            if budget != self._budget:
                self._change_budget(*budget)
            return self._guarded(script, arguments, settle)

    def _guarded(self, script: Script, arguments: tuple[bytes, ...], settle: Settle) -> Any:
        """Run a script that checks the epoch, and find out what became of it if need be."""
        with self._connection.together:
            is_sent = self._generation == self._connection.generation
            if is_sent:
                try:
                    reply = script.run(self._connection, *arguments)
                except ServerUnreachableError:
                    pass
                else:
                    if reply != _OUT or self._is_worker:
                        return reply
                    # The network was reset: a manager goes on, under a new epoch.
                    is_sent = False
            return self._settled(script, arguments, settle, is_sent)

    def _settled(
        self, script: Script, arguments: tuple[bytes, ...], settle: Settle, is_sent: bool
    ) -> Any:
        """Run a script under a new epoch, unless it was executed when it was sent before."""

        def attempt() -> Any:
            nonlocal is_sent
            takes_part = self._raise_epoch()
            # What the server did before it removed the worker stays done: it is in its log.
            in_log = script in (self._finish, self._fail, self._report)
            if is_sent and (takes_part or in_log):
                reply = settle(arguments)
                if reply is not None:
                    return reply
            if not takes_part:
                return _OUT
            is_sent = True
            return script.run(self._connection, *arguments)

        return retry_unreachable(attempt)

    def _change_budget(self, limit: int | None, deadline: float | None) -> None:
        if limit is not None:
            limit = check_count("limit", limit, least=0)
        if deadline is not None:
            is_time = isinstance(deadline, Real) and not isinstance(deadline, bool)
            if not (is_time and math.isfinite(deadline)):
                raise ValueError(
                    f"deadline must be a time, seconds since 1970, or None, got {deadline!r}"
                )
            deadline = float(deadline)
        self._budget = (limit, deadline)
        self._fix_epoch()

    def _raise_epoch(self) -> bool:
        """Raise the epoch; tell whether the client still takes part."""
        if self._is_worker:
            self.require_own_process()  # which would be out, were it raised here
        self.epoch += 1
        may_join = b"" if self._is_worker else b"1"
        epoch = str(self.epoch).encode()
        try:
            reply = self._renew.run(self._connection, self._client, epoch, may_join)
        except ServerRefusedError as error:
            if "OOM" not in str(error.found):
                raise
            # Until the epoch is raised nobody knows what became of the last command.
            raise ServerUnreachableError(f"cannot find out what became of it: {error}") from None
        self._fix_epoch()
        self._generation = self._connection.generation
        return bool(reply != _OUT)

    def _fix_epoch(self) -> None:
        client, epoch, wake = self._client, str(self.epoch).encode(), self._keys.wake("")
        budget = tuple(b"" if most is None else str(most).encode() for most in self._budget)
        self._start.fix(client, epoch, *budget)
        self._start_unique.fix(client, epoch, *budget)
        self._claim.fix(client, epoch, *budget, self._packed_worker)
        self._finish.fix(client, epoch, self._packed_worker, wake)
        self._fail.fix(client, epoch, self._packed_worker, wake)
        self._report.fix(client, epoch, self._packed_worker)
        self._push.fix(client, epoch, wake)
        self._push_finished.fix(client, epoch, wake)
        self._push_failed.fix(client, epoch, wake)
        self._clear.fix(client, epoch, wake)

    def _sleep_until_queued(self, timeout_s: float, limit: int | None) -> bool:
        """Sleep; tell whether to the end, or until the connection broke."""
        sleep = (
            self._sleep.pack_source(self._client, self.epoch, "" if limit is None else int(limit)),
            pack_sleep(self._wake_list, timeout_s),
        )
        try:
            first = self._connection.execute_many(sleep, block_s=timeout_s)[0]
        except ServerUnreachableError:
            return False  # the claim that follows reconnects
        if isinstance(first, hiredis.ReplyError):
            raise self._sleep.refused(self._connection, first)
        return True

    def _count_running(self, keys: Sequence[bytes]) -> int:
        """Count the tasks that run under this worker."""
        asked = [(b"HGET", self._keys.running, key) for key in keys]
        records: list[bytes | None] = look(self._connection, asked)
        return sum(r is not None and r[1:].startswith(self._packed_worker) for r in records)

    def _note_refusal(self, reply: int) -> int:
        if reply == _STOP:
            self.stop_requested = True
            return 0
        self._require_known(reply)
        return reply

    def _won(self, reply: Any, n: int) -> list[bool]:
        if reply == n:
            return [True] * n
        if reply == _OUT:
            self.note_out()
            logger.warning(
                "worker %s was removed from network %s; its result is discarded",
                self._client.decode(),
                self._keys.network_id,
            )
            return [False] * n
        if reply[-1]:
            self.stop_requested = True
        return [won == 1 for won in reply[:-1]]

    @property
    def is_inherited(self) -> bool:
        """Whether this process was forked from the one whose client this is."""
        return os.getpid() != self._pid

    def require_own_process(self) -> None:
        """Raise in a child that was forked from the worker's process.

        Raises
        ------
        RushError
        """
        if self.is_inherited:
            worker_id = self._client.decode()
            raise RushError(
                f"worker {worker_id!r} is process {self._pid}, and this one, {os.getpid()}, was "
                "forked from it; start and end tasks there, or make a Worker here",
                key=worker_id,
                expected=self._pid,
                found=os.getpid(),
            )

    def note_out(self) -> None:
        """Take note that the client takes no part any more."""
        self.is_out = self.stop_requested = True

    def _require_known(self, reply: int) -> None:
        if reply == _OUT:
            self.note_out()
            raise WorkerLostError(
                f"{self._client.decode()!r} takes no part in network {self._keys.network_id!r} any "
                "more: it was declared lost, killed, or the network was reset; its unfinished "
                "tasks were failed or queued again. If it was lost, Worker.rejoin() lets it go on",
                key=self._client.decode(),
            )


def _packed_key(record: bytes) -> bytes:
    """Return a task's key with its length in front: no other key begins like this one."""
    return bytes(_decode_fields(record)[2])
