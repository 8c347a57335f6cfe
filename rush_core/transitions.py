"""The only code that changes a task's state: one server-side script per transition.

Every script that a client runs checks the client's *epoch*, a number that the client raises
whenever its connection broke. A command sent earlier carries the older epoch and is refused when it
reaches the server late, so after raising the epoch a client can look at what is there, see whether
its last command was executed, and repeat it if not: nothing is doubled and nothing is lost. The
same check keeps out a worker that was removed, whose epoch is gone.
"""

from __future__ import annotations

import functools
import logging
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import hiredis
import msgspec

from rush_core.codec import encode
from rush_core.connection import Connection, pack, refusal
from rush_core.errors import ServerRefusedError, ServerUnreachableError, WorkerLostError
from rush_core.keys import NetworkKeys
from rush_core.script import (
    Script,
    execute_all_on,
    is_missing,
    look,
    name_culprit,
    retry_unreachable,
)

__all__ = ["Transitions"]

logger = logging.getLogger(__name__)

_OUT, _STOP, _TAKEN = -1, -2, -3  # replies of guarded scripts

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
        self._sleep = Script(
            "wait_for_queued", k.clients, k.queued, k.idle, k.started, k.wake(client_id)
        )
        self._blocking_pop = (b"BLPOP", k.wake(client_id))
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
        if (limit, deadline) != self._budget:
            self._change_budget(limit, deadline)
        reply = self._guarded(self._start, tasks, self._settle_start)
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
        if (limit, deadline) != self._budget:
            self._change_budget(limit, deadline)
        reply = self._guarded(self._start_unique, task, self._settle_start)
        return None if reply == _TAKEN else self._note_refusal(reply) > 0

    def _settle_start(self, tasks: tuple[bytes, ...]) -> int | None:
        return sum(self._running(tasks[::2])) or None

    def claim(
        self,
        limit: int | None,
        now: Callable[[], float],
        timeout_s: float,
        deadline: float | None = None,
    ) -> bytes | None:
        """Take the longest waiting task; one round trip, two if it has to be waited for.

        It starts when it is claimed: of the time spent asleep it knows nothing. One that comes when
        the deadline has passed stays in the queue.
        """
        if (limit, deadline) != self._budget:
            self._change_budget(limit, deadline)
        until = time.monotonic() + timeout_s
        reply = self._guarded(self._claim, (encode(now()), b""), self._settle_claim)
        if reply is None and timeout_s > 0:
            slept = self._sleep_until_queued(timeout_s)
            woken = (encode(now()), self._keys.wake(""))
            reply = self._guarded(self._claim, woken, self._settle_claim)
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
        if self._generation == self._connection.generation:
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
        won = self._won(self._guarded(script, pair, settle), 1)[0]
        return won, retry_unreachable(lambda: execute_all_on(self._connection, logs, reads))

    def push(self, records: Sequence[bytes]) -> None:
        """Append records to the queue; one round trip."""
        self._require_known(self._guarded(self._push, tuple(records), self._settle_append))

    def push_finished(self, records: Sequence[bytes]) -> None:
        """Append records to the finished log; one round trip."""
        self._require_known(self._guarded(self._push_finished, tuple(records), self._settle_append))

    def push_failed(self, records: Sequence[bytes]) -> None:
        """Append records to the failed tasks; one round trip."""
        self._require_known(self._guarded(self._push_failed, tuple(records), self._settle_append))

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

    def _settle_report(self, report: tuple[bytes, ...]) -> list[int] | None:
        return self._settle_end(self._keys.reports, report)

    def _settle_end(self, destination: bytes, tasks: tuple[bytes, ...]) -> list[int] | None:
        log = self._connection.execute(pack((b"LRANGE", destination, 0, -1)))
        # The end holds a time of this process's clock: no other call's record ends in the same
        # bytes. If none is there, none was this worker's to end, or the script was not executed.
        keys = [encode(key.decode()) for key in tasks[::2]]
        pairs = zip(keys, tasks[1::2], strict=True)
        ended = [any(r.endswith(end) and key in r for r in log) for key, end in pairs]
        return [*ended, 0] if any(ended) else None

    def _settle_append(self, records: tuple[bytes, ...]) -> int | None:
        # With its length in front: no other key begins like this one.
        key = bytes(_decode_fields(records[0])[2])
        return len(records) if any(key in record for record in self._everything()) else None

    def _guarded(self, script: Script, arguments: tuple[bytes, ...], settle: Settle) -> Any:
        """Run a script that checks the epoch, and find out what became of it if need be."""
        if self._generation == self._connection.generation:
            try:
                reply = script.run(self._connection, *arguments)
            except ServerUnreachableError:
                pass
            else:
                if reply != _OUT or self._is_worker:
                    return reply
                # The network was reset: a manager goes on, under a new epoch.
        return retry_unreachable(functools.partial(self._settled, script, arguments, settle))

    def _settled(self, script: Script, arguments: tuple[bytes, ...], settle: Settle) -> Any:
        """Return the reply that was lost with the connection, or execute the script again."""
        if not self._raise_epoch():
            # What the server did before it put the worker out stays done: it is in its log.
            in_log = script in (self._finish, self._fail, self._report)
            done = settle(arguments) if in_log else None
            return _OUT if done is None else done
        reply = settle(arguments)
        return script.run(self._connection, *arguments) if reply is None else reply

    def _change_budget(self, limit: int | None, deadline: float | None) -> None:
        whole = isinstance(limit, int) and not isinstance(limit, bool)
        if limit is not None and not (whole and limit >= 0):
            raise ValueError(f"limit must be a count of tasks (>= 0) or None, got {limit!r}")
        timely = isinstance(deadline, int | float) and not isinstance(deadline, bool)
        if deadline is not None and not (timely and math.isfinite(deadline)):
            raise ValueError(
                f"deadline must be a time, seconds since 1970, or None, got {deadline!r}"
            )
        self._budget = (limit, deadline)
        self._fix_epoch()

    def _raise_epoch(self) -> bool:
        """Raise the epoch; tell whether the client still takes part."""
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

    def _sleep_until_queued(self, timeout_s: float) -> bool:
        """Sleep; tell whether to the end, or until the connection broke."""
        limit = self._budget[0]
        sleep = (
            self._sleep.pack_source(self._client, self.epoch, "" if limit is None else limit),
            pack((*self._blocking_pop, timeout_s)),
        )
        try:
            first = self._connection.execute_many(sleep, block_s=timeout_s)[0]
        except ServerUnreachableError:
            return False  # the claim that follows reconnects
        if isinstance(first, hiredis.ReplyError):
            raise self._sleep.refused(self._connection, first)
        return True

    def _running(self, keys: Sequence[bytes]) -> list[int]:
        asked = [pack((b"HEXISTS", self._keys.running, key)) for key in keys]
        replies: list[int] = self._connection.execute_many(asked)
        return replies

    def _everything(self) -> list[bytes]:
        k = self._keys
        lists = [(b"LRANGE", key, 0, -1) for key in (k.queued, k.finished, k.failed)]
        found = look(self._connection, [*lists, (b"HVALS", k.running)])
        return [record for records in found for record in records]

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
                "worker %s was put out of network %s; its result is discarded",
                self._client.decode(),
                self._keys.network_id,
            )
            return [False] * n
        if reply[-1]:
            self.stop_requested = True
        return [won == 1 for won in reply[:-1]]

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
