"""An open-loop load: simulated workers that each finish and start one task per period.

When a step is due does not depend on how the server does, so a server that is too slow meets a
queue, and latencies count from the moment a step was due. One thread on an epoll object holds all
connections: its own share of a core is measured with the rest, and so is how late it is itself.
"""

from __future__ import annotations

import gc
import select
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from experiments.core_load.replies import ReplyStream
from experiments.core_load.requests import StepRequests

_BUFFER_BYTES = 1 << 20
# So few connections are served between two looks at what is due.
_EVENTS_AT_ONCE = 64


@dataclass(frozen=True)
class LoadPlan:
    """What the simulated workers do.

    Parameters
    ----------
    n_workers : int
    read_every : int or None
        In which of its steps a worker reads what is new: every so many; None for never.
    warm_up_s, window_s : float
        What is measured begins after the one and lasts as long as the other.
    period_s : float
        Between two steps of one worker.
    """

    n_workers: int
    read_every: int | None
    warm_up_s: float
    window_s: float
    period_s: float = 1.0


@dataclass
class Measurement:
    """What happened inside the window.

    Attributes
    ----------
    latencies_s : dict of str to list of float
        Of each operation that ended in it. ``finish`` (with the read, if there is one) and ``step``
        count from when the step was due, ``start`` from the end of the finish before it.
    lags_s : list of float
        How much later than due the generator itself sent, the worker being free.
    n_reads, n_records, n_bytes : int
        Reads that ended, the records in them, and all bytes received.
    marks : list of object
        What `mark` returned at the beginning and at the end.
    window_s : float
        As long as it really lasted.
    """

    latencies_s: dict[str, list[float]] = field(
        default_factory=lambda: {"finish": [], "start": [], "step": []}
    )
    lags_s: list[float] = field(default_factory=list)
    n_reads: int = 0
    n_records: int = 0
    n_bytes: int = 0
    marks: list[object] = field(default_factory=list)
    window_s: float = 0.0


class SimulatedWorker:
    """One worker: it sends the next request when the reply to the last one is there.

    Parameters
    ----------
    requests : StepRequests
    primary, reader : socket
        Where it writes and where it reads; the same one if there is no replica.
    read_every : int or None
    n_steps : int
        How many steps it counts as done, so that not all workers read in the same period.
    """

    def __init__(
        self,
        requests: StepRequests,
        primary: socket.socket,
        reader: socket.socket,
        read_every: int | None,
        n_steps: int,
    ) -> None:
        self._requests = requests
        self._primary, self._reader = primary, reader
        self._read_every = read_every
        self._n_steps = n_steps
        self._has_started = False
        self._due: deque[float] = deque()
        self._n_awaited = 0
        self._is_ending = False
        self._ended_at = 0.0

    def be_due(self, at: float, now: float, measurement: Measurement) -> None:
        """Begin a step, or remember it until the worker is free."""
        self._due.append(at)
        if not self._n_awaited:
            measurement.lags_s.append(now - at)
            self._begin()

    def take(self, replies: Sequence[int | None], now: float, measurement: Measurement) -> None:
        """Go on after replies."""
        for n_records in replies:
            if n_records is not None:
                self._requests.note_read(n_records)
                measurement.n_reads += 1
                measurement.n_records += n_records
        self._n_awaited -= len(replies)
        if self._n_awaited:
            return
        if self._is_ending:
            measurement.latencies_s["finish"].append(now - self._due[0])
            self._ended_at = now
            self._start()
            return
        due = self._due.popleft()
        if self._has_started:
            measurement.latencies_s["start"].append(now - self._ended_at)
            measurement.latencies_s["step"].append(now - due)
        self._has_started = True
        if self._due:
            self._begin()

    def _begin(self) -> None:
        self._n_steps += 1
        if not self._has_started:
            self._start()
            return
        self._is_ending = True
        if self._read_every is None or self._n_steps % self._read_every:
            self._n_awaited = 1
            _send(self._primary, self._requests.finish())
            return
        self._n_awaited = 2
        finish, read = self._requests.finish_and_read()
        if self._reader is self._primary:
            _send(self._primary, finish + read)
        else:
            _send(self._primary, finish)
            _send(self._reader, read)

    def _start(self) -> None:
        self._is_ending = False
        self._n_awaited = 1
        _send(self._primary, self._requests.start())


def generate_load(
    plan: LoadPlan,
    requests: Sequence[StepRequests],
    primary: str,
    reader: str,
    mark: Callable[[], object],
    rng: np.random.Generator,
) -> Measurement:
    """Let the workers of a plan join, and run them.

    Parameters
    ----------
    plan : LoadPlan
    requests : sequence of StepRequests
        At least as many as workers.
    primary, reader : str
        Paths of the unix sockets to write to and to read from.
    mark : callable
        Called at the beginning and at the end of the window.
    rng : Generator
        Draws when in the period each worker is due.

    Returns
    -------
    Measurement
    """
    # What waits here for epoll has a small descriptor: select takes microseconds, epoll.poll does
    # not, but it takes small descriptors only.
    poll = select.epoll()
    sockets: list[socket.socket] = []
    try:
        served: dict[int, tuple[socket.socket, ReplyStream, SimulatedWorker]] = {}
        workers = []
        for i in range(plan.n_workers):
            own = [_connect(path) for path in dict.fromkeys((primary, reader))]
            sockets += own
            _join(own[0], requests[i])
            worker = SimulatedWorker(requests[i], own[0], own[-1], plan.read_every, i)
            workers.append(worker)
            for connection in own:
                connection.setblocking(False)
                served[connection.fileno()] = (connection, ReplyStream(), worker)
                poll.register(connection, select.EPOLLIN)
        phases = np.sort(rng.uniform(0.0, plan.period_s, plan.n_workers)).tolist()
        gc.collect()
        gc.disable()  # a pause of the generator would look like one of the server
        return _run(plan, poll, served, workers, phases, mark)
    finally:
        gc.enable()
        poll.close()
        for connection in sockets:
            connection.close()


def _run(
    plan: LoadPlan,
    poll: select.epoll,
    served: dict[int, tuple[socket.socket, ReplyStream, SimulatedWorker]],
    workers: Sequence[SimulatedWorker],
    phases: Sequence[float],
    mark: Callable[[], object],
) -> Measurement:
    buffer = memoryview(bytearray(_BUFFER_BYTES))
    clock = time.monotonic
    measurement = Measurement()
    n_due, n_workers = 0, len(workers)
    began = now = clock()
    due = began + phases[0]
    opens, is_open = began + plan.warm_up_s, False
    while True:
        now = clock()
        if not is_open and now >= opens:
            is_open, opened, measurement = True, now, Measurement(marks=[mark()])
        elif is_open and now >= opened + plan.window_s:
            measurement.marks.append(mark())
            measurement.window_s = now - opened
            return measurement
        while due <= now:
            workers[n_due % n_workers].be_due(due, now, measurement)
            n_due += 1
            period, i = divmod(n_due, n_workers)
            due = began + period * plan.period_s + phases[i]
            now = clock()
        if not select.select((poll,), (), (), max(0.0, due - now))[0]:
            continue
        for descriptor, _ in poll.poll(0, _EVENTS_AT_ONCE):
            connection, stream, worker = served[descriptor]
            n_bytes = connection.recv_into(buffer)
            if not n_bytes:
                raise ConnectionError("the server closed a connection of the load")
            measurement.n_bytes += n_bytes
            replies = stream.receive(buffer[:n_bytes])
            if replies:
                worker.take(replies, clock(), measurement)


def _connect(path: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(path)
    return connection


def _join(connection: socket.socket, requests: StepRequests) -> None:
    connection.sendall(requests.join())
    reply = connection.recv(64)
    if reply[:1] != b":":
        raise RuntimeError(f"need a worker's number, got {reply!r}")


def _send(connection: socket.socket, request: bytes) -> None:
    if connection.send(request) != len(request):
        raise BlockingIOError("need room for one request in a socket, found none")
