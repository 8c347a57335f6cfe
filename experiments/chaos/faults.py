"""What can go wrong, and the undoing of it."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator

import psutil

from experiments.chaos.participants import N_WORKERS, Participants
from experiments.chaos.server import Server
from rush_core import RushError

# How often each fault is chosen beside the others.
WEIGHTS = {
    "kill a local worker": 3,
    "kill a worker of a command": 3,
    "kill a worker of a pool": 1,
    "stop a worker beyond its time to live": 2,
    "stop a worker for a moment": 3,
    "stop a worker for over a minute": 0,  # once in a network that has the time
    "put a worker out": 1,
    "ask a worker to stop": 2,
    "kill a reader": 2,
    "stop a reader": 2,
    "several reapers at once": 4,
    "kill the server": 2,
    "cut before the request": 4,
    "cut after the work": 4,
    "deliver a request late": 2,
    "lose all connections": 2,
    "run out of memory": 2,
    "forget all scripts": 1,
    "use up the disk": 1,
    "stop the server": 2,
    "kill the manager": 1,
    "stop the manager": 1,
}


def fault_sequence(seed: int, *, minute_at: int | None) -> Iterator[str]:
    """Yield which fault comes next, for ever; at one place the stop of over a minute."""
    rng = random.Random(seed)
    for i in itertools.count():
        chosen = rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        yield "stop a worker for over a minute" if i == minute_at else chosen


class Faults:
    """Does to the participants of a network, and to its server, what should not happen.

    Parameters
    ----------
    them : Participants
    server : Server
    rng : random.Random
        Chooses the process of a fault, and the duration.

    Attributes
    ----------
    n_injected : Counter
        How often each fault found a process that it could affect.
    """

    def __init__(self, them: Participants, server: Server, rng: random.Random) -> None:
        self._them, self._server, self._rng = them, server, rng
        self._later: list[tuple[float, int, Callable[[], object]]] = []
        self._order = itertools.count()
        self.n_injected: Counter[str] = Counter()

    def inject(self, fault: str) -> None:
        """Cause one fault; it counts if there was a process that it could affect."""
        self.n_injected[fault] += self._inject(fault)

    def _inject(self, fault: str) -> bool:
        rng, tell, them = self._rng, self._server.tell, self._them
        if fault.endswith("a reader"):
            reader = them.some_reader()
            if reader is not None and fault == "kill a reader":
                os.kill(reader, signal.SIGKILL)
            elif reader is not None:  # for less or more time than its parent lets it be
                self._stop_process(reader, rng.uniform(0.1, 2.0))
            return reader is not None
        if fault.startswith("kill a"):
            kind = next(kind for kind in N_WORKERS if kind in fault)
            return self._signal(signal.SIGKILL, kind)
        if fault.startswith("stop a worker"):
            moment_s = rng.uniform(0.1, 1.0)
            long_s = 65.0 if "minute" in fault else rng.uniform(2.5, 4.0)
            return self._stop(moment_s if "moment" in fault else long_s)
        if fault == "put a worker out":
            worker = them.some_worker()
            if worker is not None:
                them.near.stop_workers([worker.worker_id], kill=True)
            return worker is not None
        if fault == "ask a worker to stop":
            worker = them.some_worker()
            if worker is not None:
                them.near.stop_workers([worker.worker_id])
            return worker is not None
        if fault == "several reapers at once":
            them.reap(4)
        elif fault == "kill the server":
            self._server.kill()
            time.sleep(rng.uniform(0.0, 0.5))
            self._server.start()
        elif fault == "cut before the request":
            them.proxy.cut_before_request()
        elif fault == "cut after the work":
            them.proxy.cut_before_reply()
        elif fault == "deliver a request late":
            them.proxy.hold_request()
            self.after(rng.uniform(0.05, 3.0), self._deliver)
        elif fault == "lose all connections":
            tell("CLIENT", "KILL", "TYPE", "normal")
        elif fault == "run out of memory":
            tell("CONFIG", "SET", "maxmemory", "1")
            self.after(rng.uniform(0.1, 0.5), lambda: tell("CONFIG", "SET", "maxmemory", "0"))
        elif fault == "forget all scripts":
            tell("SCRIPT", "FLUSH")
        elif fault == "use up the disk":
            self._server.use_up_disk()
            time.sleep(rng.uniform(0.1, 0.5))  # a server that is killed meanwhile loses data
            self._server.free_disk()
            self._server.answers()  # before it answers, it writes what it could not write before
        elif fault == "stop the server":
            self._server.stop()  # and nobody here may ask it for anything meanwhile
            time.sleep(rng.uniform(0.1, 1.0))
            self._server.resume()
        elif fault == "kill the manager":
            them.manager.kill()
        elif fault == "stop the manager":
            return self._stop_process(them.manager.pid, rng.uniform(0.1, 3.0))
        return True

    def _signal(self, number: int, kind: str) -> bool:
        worker = self._them.some_worker(kind)
        if worker is None:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker.pid, number)
        return True

    def _stop(self, for_s: float) -> bool:
        worker = self._them.some_worker()
        return worker is not None and self._stop_process(worker.pid, for_s)

    def _stop_process(self, pid: int, for_s: float) -> bool:
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)  # knows a process from a later one of the same number
            process.suspend()
            self.after(for_s, process.resume)
            return True
        return False

    def _deliver(self) -> None:
        proxy = self._them.proxy
        if proxy._held:
            with contextlib.suppress(OSError):
                proxy.deliver_held_request()
            proxy._held = b""

    def after(self, delay_s: float, call: Callable[[], object]) -> None:
        """Schedule an action, such as the end of a fault."""
        heapq.heappush(self._later, (time.monotonic() + delay_s, next(self._order), call))

    def due(self, *, all_of_them: bool = False) -> None:
        """Run all actions that are due."""
        while self._later and (all_of_them or self._later[0][0] <= time.monotonic()):
            call = heapq.heappop(self._later)[2]
            with contextlib.suppress(RushError, psutil.NoSuchProcess):
                call()
