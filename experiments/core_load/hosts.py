"""What the workers of a simulated host share: a reader of the finished log, a writer."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from experiments.core_load.measurement import Measurement
from experiments.core_load.replies import ReplyStream, WakeupReply
from experiments.core_load.requests import ReaderRequests, StepRequests
from experiments.core_load.workers import Send, SimulatedWorker

# Longer than a load lasts.
_LONG_WAIT_S = 600.0

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
    """Reads the finished log for all workers of one host.

    After a read that brought something new, the next one follows when the interval is over. After
    one that brought nothing, the reader waits in the server, which wakes it.

    Parameters
    ----------
    requests : ReaderRequests
    send : callable
    interval_s : float
        Time from one read to the next.
    at : callable
    """

    def __init__(self, requests: ReaderRequests, send: Send, interval_s: float, at: At) -> None:
        self._requests, self._send = requests, send
        self._interval_s, self._at = interval_s, at
        self._stream = ReplyStream()
        self._wakeup: WakeupReply | None = None
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
                measurement.n_records += len(self._wakeup.replies[-1])
                self._wakeup = None
                self.be_due(max(now, self._due + self._interval_s))
            return
        for n_records in self._stream.receive(data):
            measurement.latencies_s["read"].append(now - self._due)
            measurement.n_reads += 1
            measurement.n_records += n_records or 0
            if self._requests.note_read(n_records or 0):
                self.be_due(max(now, self._due + self._interval_s))
            else:
                self._wait(measurement)

    def _read(self, now: float, measurement: Measurement) -> None:
        self._send(self._requests.read())

    def _wait(self, measurement: Measurement) -> None:
        measurement.n_waits += 1
        self._wakeup = WakeupReply()
        self._send(self._requests.wait(_LONG_WAIT_S))
