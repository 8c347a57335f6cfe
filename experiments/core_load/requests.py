"""What clients send, packed by the core itself: the only module here that knows its parts."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing, nullcontext
from typing import Any, cast

import msgspec

from experiments.raw_socket import CONFIG, RESULT
from rush_core import Worker
from rush_core.connection.connection import Connection
from rush_core.kernel.logs import LogPosition
from rush_core.kernel.participation import Participation
from rush_core.kernel.reader import TaskReader
from rush_core.kernel.task import decode_tasks, finished_end, running_record
from rush_core.kernel.transitions import Transitions
from rush_core.keys import NetworkKeys
from rush_core.membership.heartbeat import beat

NETWORK_ID = "load"

# Numbers of one width make keys, and so records, of one length: see `replies`.
_FIRST_NUMBER = 1_000_000


class Recorder:
    """Stands where a connection would: keeps the requests, and replies what it is given.

    Attributes
    ----------
    reply : object
        The reply to one request.
    replies : list
        The replies to several requests.
    """

    generation = 0
    exclusive = nullcontext()

    def __init__(self) -> None:
        self._requests: list[bytes] = []
        self.reply: Any = 1
        self.replies: list[Any] = []

    def execute(self, request: bytes) -> Any:
        """Keep one request."""
        self._requests.append(request)
        return self.reply

    def execute_many(self, requests: Sequence[bytes], block_s: float = 0.0) -> list[Any]:
        """Keep several requests."""
        self._requests += requests
        return self.replies

    def take(self) -> list[bytes]:
        """Return what was kept since the last call."""
        taken, self._requests = self._requests, []
        return taken


class StepRequests:
    """The requests of one worker, in the order in which it would send them.

    The core packs the first start and the first finish. Later ones differ from them in the key of
    the task only, also in the time that the record states: packing each of them would take the
    generator longer than sending it.

    Parameters
    ----------
    number : int
        Makes its name and its keys its own.

    Attributes
    ----------
    number : int
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self._worker_id = _worker_id(number)
        self._keys = NetworkKeys(NETWORK_ID)
        self._connection = cast(Connection, Recorder())
        self._start, self._finish = self._pack_step()

    def join(self) -> bytes:
        """Register, with nothing read and nothing running."""
        self._log = LogPosition(self._connection, self._keys.finished, decode_tasks)
        self._n_keys = _FIRST_NUMBER
        participation = Participation(self._connection, self._keys, self._worker_id, None)
        participation.join(time.time(), epoch=1)
        return _recorded(self._connection)[0]

    def start(self) -> bytes:
        """Start the next task."""
        self._n_keys += 1
        return self._key(self._n_keys).join(self._start)

    def finish(self) -> bytes:
        """Finish the task started last."""
        return self._key(self._n_keys).join(self._finish)

    def finish_and_read(self) -> tuple[bytes, bytes]:
        """Finish the task started last; and read everything finished since the last read."""
        return self.finish(), self._log.request()

    def note_read(self, n_records: int) -> None:
        """Go on reading behind the records of a reply."""
        _note_read(self._log, n_records)

    def _pack_step(self) -> tuple[list[bytes], list[bytes]]:
        """Let the core pack a start and a finish; return what stands around the task's key."""
        key = self._key(_FIRST_NUMBER)
        transitions = Transitions(self._connection, self._keys, self._worker_id, epoch=1)
        record = running_record(key.decode(), CONFIG, None, self._worker_id, time.time())
        transitions.start((key, record), None)
        transitions.finish((key, finished_end(time.time(), RESULT, None)))
        start, finish = _recorded(self._connection)
        return start.split(key), finish.split(key)

    def _key(self, number: int) -> bytes:
        return b"%b0000-%d" % (self._worker_id.encode(), number)


class ReaderRequests:
    """The requests of the reader of one host, which follows the logs of ended tasks.

    Parameters
    ----------
    number : int
        Makes its name its own.
    """

    def __init__(self, number: int) -> None:
        self._recorder = Recorder()
        connection, keys = cast(Connection, self._recorder), NetworkKeys(NETWORK_ID)
        self._reader = TaskReader(connection, keys, f"reader-{number}", waiting=connection)
        self._recorder.replies = [None, None, 0, 0, 0, [], []]

    def read(self) -> bytes:
        """Read everything that has ended since the last read: finished tasks, and failed ones."""
        return b"".join(self._reader.ended_requests())

    def wait(self, timeout_s: float) -> bytes:
        """Wait until something changes, and then read."""
        self._reader.fetch_new_ended(timeout_s)
        return b"".join(self._recorder.take())

    def note_read(self, n_records: int) -> int:
        """Go on reading behind the finished tasks of a reply; return how many of them are new."""
        return _note_read(self._reader.new_log, n_records)

    def note_waited(self, replies: Sequence[Any]) -> int:
        """Take the replies to `wait`, with the numbers that the next wait tells the server."""
        self._recorder.replies = [*replies[:5], [], []]
        return self.note_read(len(replies[5]))


class HeartbeatRequests:
    """The heartbeats of all workers of one host, in one request.

    Parameters
    ----------
    numbers : sequence of int
        Those of the workers.
    """

    def __init__(self, numbers: Sequence[int]) -> None:
        recorder = Recorder()
        recorder.reply = []  # every worker is registered
        names = [_worker_id(number) for number in numbers]
        beat(cast(Connection, recorder), NetworkKeys(NETWORK_ID), names)
        (self._request,) = recorder.take()

    def beat(self) -> bytes:
        """Send one heartbeat of each worker."""
        return self._request


def _worker_id(number: int) -> str:
    return f"{number:08x}"


def _recorded(connection: Connection) -> list[bytes]:
    return cast(Recorder, connection).take()


def _note_read(log: LogPosition[Any], n_records: int) -> int:
    """Move a position; each read overlaps the last one by one record."""
    n_read = log.n_read
    n_new = n_records - (1 if n_read else 0)
    log.position = msgspec.structs.replace(log.position, n_read=n_read + n_new)
    return n_new


def load_scripts(url: str) -> None:
    """Take one real step in another network: the server then has the scripts."""
    with closing(Connection(url)) as connection:
        beat(connection, NetworkKeys("scripts"), ["nobody"])
    with Worker("scripts", url=url, heartbeat=None) as worker:
        key = worker.start_task(CONFIG)
        assert key is not None
        worker.finish_and_fetch_new(key, RESULT)
