"""An open-loop load: simulated workers that each finish and start one task per period.

When a step is due does not depend on how the server does, so a server that is too slow meets a
queue, and latencies count from the moment a step was due. One thread on an epoll object holds all
connections: its own share of a core is measured with the rest, and so is how late it is itself.
"""

from __future__ import annotations

import gc
import heapq
import itertools
import select
import socket
import time
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from experiments.core_load.hosts import HostHeartbeat, HostReader, HostWriter
from experiments.core_load.measurement import Measurement
from experiments.core_load.plan import HostPlan, LoadPlan
from experiments.core_load.requests import HeartbeatRequests, ReaderRequests, StepRequests
from experiments.core_load.workers import Channel, Client, SimulatedWorker

_BUFFER_BYTES = 1 << 20
# So few connections are served between two looks at what is due.
_EVENTS_AT_ONCE = 64


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
    load = Load(primary, reader)
    try:
        if plan.hosts is None:
            for i in range(plan.n_workers):
                load.add_worker(requests[i], plan.read_every, i)
        else:
            for i in range(0, plan.n_workers, plan.hosts.n_workers):
                last = min(i + plan.hosts.n_workers, plan.n_workers)
                load.add_host(requests[i:last], plan.hosts)
        load.shuffle_workers(rng)  # else those of one host would be due at the same time
        phases = np.sort(rng.uniform(0.0, plan.period_s, plan.n_workers)).tolist()
        gc.collect()
        gc.disable()  # a pause of the generator would look like one of the server
        return load.run(plan, phases, mark)
    finally:
        gc.enable()
        load.close()


class Load:
    """The connections of a load, the clients behind them, and the times at which these act.

    Parameters
    ----------
    primary, reader : str
        Paths of the unix sockets to write to and to read from.
    """

    def __init__(self, primary: str, reader: str) -> None:
        self._primary, self._reader = primary, reader
        # What waits here for epoll has a small descriptor: select takes microseconds, epoll.poll
        # does not, but it takes small descriptors only.
        self._poll = select.epoll()
        self._served: dict[int, tuple[socket.socket, Client]] = {}
        self._workers: list[SimulatedWorker] = []
        self._hosts: list[tuple[HostReader, HostHeartbeat]] = []
        self._timers: list[tuple[float, int, Callable[[float, Measurement], None]]] = []
        self._order = itertools.count()

    def close(self) -> None:
        """Close all connections."""
        self._poll.close()
        for connection, _ in self._served.values():
            connection.close()

    def add_worker(self, own: StepRequests, read_every: int | None, n_steps: int) -> None:
        """Let a worker join that writes and reads for itself."""
        primary, reader = self._connect(self._primary), None
        if read_every is not None and self._reader != self._primary:
            reader = self._connect(self._reader)
        send = None if reader is None else partial(_send, reader)
        worker = SimulatedWorker(own, partial(_send, primary), send, read_every, n_steps)
        _join(primary, own)
        self._workers.append(worker)
        for connection in (primary, reader):
            if connection is not None:
                self._serve(connection, Channel(worker.take))

    def add_host(self, requests: Sequence[StepRequests], hosts: HostPlan) -> None:
        """Let the workers of one host join, and its reader, which starts with the load."""
        if hosts.write_pause_s is None:
            for own in requests:
                self.add_worker(own, None, 0)
        else:
            primary = self._connect(self._primary)
            writer = HostWriter(partial(_send, primary), hosts.write_pause_s, self._at)
            for own in requests:
                _join(primary, own)
                self._workers.append(writer.worker(own))
            self._serve(primary, writer)
        connection = self._connect(self._reader)
        reads, send = ReaderRequests(len(self._hosts)), partial(_send, connection)
        reader = HostReader(reads, send, hosts.read_pause_s, self._at)
        self._serve(connection, reader)
        connection = self._connect(self._primary)
        beats = HeartbeatRequests([own.number for own in requests])
        heartbeat = HostHeartbeat(beats, partial(_send, connection), hosts.heartbeat_s, self._at)
        self._serve(connection, heartbeat)
        self._hosts.append((reader, heartbeat))

    def shuffle_workers(self, rng: np.random.Generator) -> None:
        """Put the workers in another order: the one in which they are due."""
        self._workers = [self._workers[i] for i in rng.permutation(len(self._workers))]

    def run(
        self, plan: LoadPlan, phases: Sequence[float], mark: Callable[[], object]
    ) -> Measurement:
        """Run all clients until the window is over; see `generate_load`.

        Parameters
        ----------
        plan : LoadPlan
        phases : sequence of float
            When in the period each worker is due, ascending, seconds.
        mark : callable
        """
        buffer = memoryview(bytearray(_BUFFER_BYTES))
        clock, workers, timers = time.monotonic, self._workers, self._timers
        measurement = Measurement()
        n_due, n_workers = 0, len(workers)
        began = now = clock()
        if plan.hosts is not None:
            for i, (reader, heartbeat) in enumerate(self._hosts):
                share = i / len(self._hosts)
                reader.be_due(began + plan.hosts.read_pause_s * share)
                heartbeat.be_due(began + plan.hosts.heartbeat_s * share)
        due = began + phases[0]
        opens, is_open = began + plan.warm_up_s, False
        while True:
            now = clock()
            if not is_open and now >= opens:
                is_open, opened, measurement = True, now, Measurement(marks=[mark()])
            elif is_open and now >= opened + plan.window_s:
                measurement.marks.append(mark())
                measurement.window_s = now - opened
                measurement.n_connections = len(self._served)
                return measurement
            while due <= now:
                workers[n_due % n_workers].be_due(due, now, measurement)
                n_due += 1
                period, i = divmod(n_due, n_workers)
                due = began + period * plan.period_s + phases[i]
                now = clock()
            while timers and timers[0][0] <= now:
                heapq.heappop(timers)[2](now, measurement)
                now = clock()
            self._serve_events(buffer, min(due, timers[0][0]) if timers else due, measurement)

    def _serve_events(self, buffer: memoryview, until: float, measurement: Measurement) -> None:
        """Hand clients what has arrived; wait for it until a time."""
        events = self._poll.poll(0, _EVENTS_AT_ONCE)
        if not events:
            wait_s = max(0.0, until - time.monotonic())
            if not select.select((self._poll,), (), (), wait_s)[0]:
                return
            events = self._poll.poll(0, _EVENTS_AT_ONCE)
        for descriptor, _ in events:
            connection, client = self._served[descriptor]
            n_bytes = connection.recv_into(buffer)
            if not n_bytes:
                raise ConnectionError("the server closed a connection of the load")
            measurement.n_bytes += n_bytes
            client.receive(buffer[:n_bytes], time.monotonic(), measurement)

    def _at(self, when: float, act: Callable[[float, Measurement], None]) -> None:
        """Call ``act(now, measurement)`` at this time."""
        heapq.heappush(self._timers, (when, next(self._order), act))

    def _connect(self, path: str) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(path)
        return connection

    def _serve(self, connection: socket.socket, client: Client) -> None:
        connection.setblocking(False)
        self._served[connection.fileno()] = (connection, client)
        self._poll.register(connection, select.EPOLLIN)


def _join(connection: socket.socket, requests: StepRequests) -> None:
    connection.sendall(requests.join())
    reply = connection.recv(64)
    if reply[:1] != b":":
        raise RuntimeError(f"need a worker's number, got {reply!r}")


def _send(connection: socket.socket, request: bytes) -> None:
    if connection.send(request) != len(request):
        raise BlockingIOError("need room for one request in a socket, found none")
