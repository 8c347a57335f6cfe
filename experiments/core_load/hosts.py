"""What the workers of a simulated host share: a reader, heartbeats, a writer."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from experiments.core_load.measurement import Measurement
from experiments.core_load.replies import ReplyStream, WakeupReply
from experiments.core_load.requests import HeartbeatRequests, ReaderRequests, StepRequests
from experiments.core_load.workers import Send, SimulatedWorker

# Longer than a load lasts.
_LONG_WAIT_S = 600.0

_NO_WORKERS = b"*0\r\n"

# ``at(when, act)`` calls ``act(now, measurement)`` at a time by the monotonic clock.
At = Callable[[float, Callable[[float, Measurement], None]], None]


class HostWriter:
    """Sends the writes of the workers of one host together, over one connection.

    A write that comes while the server has not answered the last send, or during the pause after
    that send, waits for the next one.

    Parameters
    ----------
    send : callable
    pause_s : float
        Least time between two sends.
    at : callable
    """

    def __init__(self, send: Send, pause_s: float, at: At) -> None:
        self._send, self._pause_s, self._at = send, pause_s, at
        self._stream = ReplyStream()
        self._new: list[bytes] = []
        self._workers: deque[SimulatedWorker] = deque()  # in the order of their writes
        self._n_awaited = 0
        self._is_scheduled = False
        self._sent_at = 0.0

    def worker(self, requests: StepRequests) -> SimulatedWorker:
        """Make a worker of this host, which never reads."""

        def write(request: bytes) -> None:
            self._new.append(request)
            self._workers.append(worker)
            self._schedule()

        worker = SimulatedWorker(requests, write, None, None, 0)
        return worker

    def receive(self, data: memoryview, now: float, measurement: Measurement) -> None:
        """Hand each worker its reply."""
        for reply in self._stream.receive(data):
            self._n_awaited -= 1
            self._workers.popleft().take((reply,), now, measurement)
        self._schedule()

    def _schedule(self) -> None:
        if self._new and not self._n_awaited and not self._is_scheduled:
            self._is_scheduled = True
            self._at(self._sent_at + self._pause_s, self._flush)

    def _flush(self, now: float, measurement: Measurement) -> None:
        self._is_scheduled = False
        self._sent_at = now
        self._n_awaited = len(self._new)
        measurement.n_sends += 1
        measurement.n_sent += self._n_awaited
        self._send(b"".join(self._new))
        self._new.clear()


class HostReader:
    """Reads the logs of ended tasks for all workers of one host.

    After a read that has found something, it makes a pause. After one that has found nothing, it
    waits in the server, which wakes it. `rush_core.node.log_follower` does the same.

    Parameters
    ----------
    requests : ReaderRequests
    send : callable
    pause_s : float
    at : callable
    """

    # Finished tasks, and failed ones.
    _N_LOGS = 2

    def __init__(self, requests: ReaderRequests, send: Send, pause_s: float, at: At) -> None:
        self._requests, self._send = requests, send
        self._pause_s, self._at = pause_s, at
        self._stream = ReplyStream()
        self._wakeup: WakeupReply | None = None
        self._n_records: list[int] = []  # of each log
        self._due = 0.0

    def be_due(self, at: float) -> None:
        """Read at this time."""
        self._due = at
        self._at(at, self._read)

    def receive(self, data: memoryview, now: float, measurement: Measurement) -> None:
        """Take a part of the reply to a read or to a wait."""
        if self._wakeup is not None:
            if self._wakeup.receive(data):
                self._requests.note_waited(self._wakeup.replies)
                measurement.n_records += sum(map(len, self._wakeup.replies[-self._N_LOGS :]))
                self._wakeup = None
                self.be_due(now)
            return
        self._n_records += [n_records or 0 for n_records in self._stream.receive(data)]
        if len(self._n_records) < self._N_LOGS:
            return
        n_finished, n_failed = self._n_records
        self._n_records = []
        measurement.latencies_s["read"].append(now - self._due)
        measurement.n_reads += 1
        measurement.n_records += n_finished + n_failed
        if self._requests.note_read(n_finished):
            self.be_due(now + self._pause_s)
        else:
            self._wait(measurement)

    def _read(self, now: float, measurement: Measurement) -> None:
        self._send(self._requests.read())

    def _wait(self, measurement: Measurement) -> None:
        measurement.n_waits += 1
        self._wakeup = WakeupReply(self._N_LOGS)
        self._send(self._requests.wait(_LONG_WAIT_S))


class HostHeartbeat:
    """Sends the heartbeats of all workers of one host in one request.

    Parameters
    ----------
    requests : HeartbeatRequests
    send : callable
    period_s : float
    at : callable
    """

    def __init__(self, requests: HeartbeatRequests, send: Send, period_s: float, at: At) -> None:
        self._requests, self._send = requests, send
        self._period_s, self._at = period_s, at

    def be_due(self, at: float) -> None:
        """Send the next heartbeats at this time."""

        def act(now: float, measurement: Measurement) -> None:
            self._send(self._requests.beat())
            measurement.n_beats += 1
            self.be_due(at + self._period_s)

        self._at(at, act)

    def receive(self, data: memoryview, now: float, measurement: Measurement) -> None:
        """Take the reply: no worker is out."""
        if data != _NO_WORKERS:
            raise RuntimeError(f"need workers that are registered, got {data.tobytes()!r:.100}")
