"""Simulated workers, and their connections."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from experiments.core_load.measurement import Measurement
from experiments.core_load.replies import ReplyStream
from experiments.core_load.requests import StepRequests

Send = Callable[[bytes], object]


class Client(Protocol):
    """Takes what arrives on one connection."""

    def receive(self, data: memoryview, now: float, measurement: Measurement) -> None:
        """Take bytes, and go on if a reply is complete."""


class SimulatedWorker:
    """One worker: it sends the next request when the reply to the last one is there.

    Parameters
    ----------
    requests : StepRequests
    write : callable
        Sends its writes.
    read : callable or None
        Sends its reads. None to send them together with the finish.
    read_every : int or None
        In which of its steps it reads what is new; None for never.
    n_steps : int
        How many steps it counts as done, so that not all workers read in the same period.
    """

    def __init__(
        self,
        requests: StepRequests,
        write: Send,
        read: Send | None,
        read_every: int | None,
        n_steps: int,
    ) -> None:
        self._requests = requests
        self._write, self._read = write, read
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
            self._write(self._requests.finish())
            return
        self._n_awaited = 2
        finish, read = self._requests.finish_and_read()
        if self._read is None:
            self._write(finish + read)
        else:
            self._write(finish)
            self._read(read)

    def _start(self) -> None:
        self._is_ending = False
        self._n_awaited = 1
        self._write(self._requests.start())


class Channel:
    """A connection of one worker.

    Parameters
    ----------
    take : callable
        `SimulatedWorker.take` of the worker.
    """

    def __init__(self, take: Callable[[Sequence[int | None], float, Measurement], None]) -> None:
        self._stream = ReplyStream()
        self._take = take

    def receive(self, data: memoryview, now: float, measurement: Measurement) -> None:
        """Hand the worker the replies that are complete."""
        replies = self._stream.receive(data)
        if replies:
            self._take(replies, now, measurement)
