"""What a worker sends, packed by the core itself: the only module here that knows its parts."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, cast

import msgspec

from experiments.raw_socket import CONFIG, RESULT
from rush_core import Worker
from rush_core.connection.connection import Connection
from rush_core.kernel.logs import LogPosition
from rush_core.kernel.participation import Participation
from rush_core.kernel.task import decode_tasks, finished_end, running_record
from rush_core.kernel.transitions import Transitions
from rush_core.keys import NetworkKeys

NETWORK_ID = "load"

# Numbers of one width make keys, and so records, of one length: see `replies`.
_FIRST_NUMBER = 1_000_000


class Recorder:
    """Stands where a connection would: keeps the requests, and says that all went well."""

    generation = 0
    exclusive = nullcontext()

    def __init__(self) -> None:
        self._requests: list[bytes] = []

    def execute(self, request: bytes) -> Any:
        """Keep one request."""
        self._requests.append(request)
        return 1

    def execute_many(self, requests: Sequence[bytes]) -> list[Any]:
        """Keep several requests."""
        self._requests += requests
        return [1, []]

    def take(self) -> list[bytes]:
        """Return what was kept since the last call."""
        taken, self._requests = self._requests, []
        return taken


class StepRequests:
    """The requests of one worker, in the order in which it would send them.

    Parameters
    ----------
    number : int
        Makes its name and its keys its own.
    """

    def __init__(self, number: int) -> None:
        self._worker_id = f"{number:08x}"
        self._keys = NetworkKeys(NETWORK_ID)
        self._recorder = Recorder()
        self._connection = cast(Connection, self._recorder)
        self._transitions = Transitions(self._connection, self._keys, self._worker_id, epoch=1)

    def join(self) -> bytes:
        """Register, with nothing read and nothing running."""
        self._log = LogPosition(self._connection, self._keys.finished, decode_tasks)
        self._n_keys = _FIRST_NUMBER
        participation = Participation(self._connection, self._keys, self._worker_id, None)
        participation.join(time.time(), epoch=1)
        return self._recorder.take()[0]

    def start(self) -> bytes:
        """Start the next task."""
        self._n_keys += 1
        record = running_record(self._key, CONFIG, None, self._worker_id, time.time())
        self._transitions.start((self._key.encode(), record), None)
        return self._recorder.take()[0]

    def finish(self) -> bytes:
        """Finish the task started last."""
        end = finished_end(time.time(), RESULT, None)
        self._transitions.finish((self._key.encode(), end))
        return self._recorder.take()[0]

    def finish_and_read(self) -> tuple[bytes, bytes]:
        """Finish the task started last; and read everything finished since the last read."""
        end = finished_end(time.time(), RESULT, None)
        self._transitions.finish_and_read(self._key.encode(), end, self._log.request())
        finish, read = self._recorder.take()
        return finish, read

    def note_read(self, n_records: int) -> None:
        """Go on reading behind the records of a reply; each overlaps the last one by one."""
        n_read = self._log.n_read
        n_read += n_records - (1 if n_read else 0)
        self._log.position = msgspec.structs.replace(self._log.position, n_read=n_read)

    @property
    def _key(self) -> str:
        return f"{self._worker_id}0000-{self._n_keys}"


def load_scripts(url: str) -> None:
    """Take one real step in another network: the server then has the scripts."""
    with Worker("scripts", url=url, heartbeat=None) as worker:
        key = worker.start_task(CONFIG)
        assert key is not None
        worker.finish_and_fetch_new(key, RESULT)
