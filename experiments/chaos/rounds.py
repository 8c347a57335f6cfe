"""Networks one after the other, each exposed to faults until it has to end."""

from __future__ import annotations

import contextlib
import itertools
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from experiments.chaos.faults import Faults, fault_sequence
from experiments.chaos.participants import PATIENCE_S, Participants
from experiments.chaos.server import Server
from rush_core import Network, RushError, WorkerState
from rush_core.connection.connection import Connection
from rush_core.kernel.invariants import find_violations
from rush_core.keys import NetworkKeys
from tests.core.history.contents import read_contents
from tests.core.history.judge import KINDS, judge
from tests.core.history.operations import read_histories

# What is counted: the kinds of violations, loops that an error ended, and states that break a rule.
VERDICTS = (*KINDS, "crashed", "impossible")


class Round:
    """One network with its budget, its participants and its faults."""

    def __init__(self, server: Server, folder: Path, seed: int, limit: int) -> None:
        self._server, self._limit = server, limit
        self._rng = random.Random(seed)
        self.them = Participants(server.url, folder, seed, limit, self._rng)
        self.faults = Faults(self.them, server, self._rng)
        self.n_looks = 0
        self.impossible: list[str] = []

    def look(self) -> None:
        """Run the checks that hold at any time."""
        with contextlib.suppress(RushError), contextlib.closing(Connection(self._server.url)) as c:
            self.impossible += find_violations(c, NetworkKeys(self.them.network_id))
            self.n_looks += 1

    def n_ended(self) -> int:
        """Count the tasks that took a place of the budget and have ended."""
        tasks = self.them.near.fetch_tasks("finished", "failed")
        return sum(task.worker_id != "" and "lost" not in task.result_extra for task in tasks)

    def run(self, faults: Iterator[str], for_s: float, faults_per_s: float) -> None:
        """Inject faults for some time, and let the network come to its end."""
        deadline = time.monotonic() + for_s
        while time.monotonic() < deadline:
            self._try(self.them.replenish)
            self._try(lambda: self.faults.inject(next(faults)))
            self.look()
            wait_until_s = time.monotonic() + self._rng.expovariate(faults_per_s)
            while time.monotonic() < wait_until_s:
                self.faults.due()
                time.sleep(0.01)
        self.faults.due(all_of_them=True)
        self._try(lambda: self._server.tell("CONFIG", "SET", "maxmemory", "0"))
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline and self.n_ended() < self._limit:
            self._try(self.them.replenish)
            self._try(lambda: self.them.reap(1))
            self.look()
            time.sleep(0.2)

    def _try(self, call: Callable[[], object]) -> None:
        with contextlib.suppress(RushError, RuntimeError):  # a broken pool is a RuntimeError
            call()

    def close(self) -> int:
        """End what the faults began and all processes; return how many had to be killed."""
        self.faults.due(all_of_them=True)
        return self.them.close()

    def judge(self) -> tuple[Counter[str], list[str]]:
        """Compare the histories with what is there; return counts and sentences."""
        operations = read_histories(self.them.folder)
        contents = read_contents(self._server.url, self.them.network_id)
        contradictions = judge(operations, contents, limit=self._limit)
        found = Counter(kind for kind, _ in contradictions)
        found["acknowledged"] = sum(operation.is_done for operation in operations)
        for place in ("finished", "failed"):
            found[place] = len(contents.of(place))
        found["lost_tasks"] = sum(task.is_lost for task in contents.tasks)
        with Network(self.them.network_id, self._server.url) as network:
            crashes = [
                worker.reason
                for worker in network.fetch_workers()
                if worker.state is WorkerState.STOPPED and worker.reason
            ]
        found["crashed"] += len(crashes)
        impossible = [f"a look found: {text}" for text in sorted(set(self.impossible))]
        with contextlib.closing(Connection(self._server.url)) as connection:
            impossible += find_violations(connection, NetworkKeys(self.them.network_id))
        found["impossible"] = len(impossible)
        violations = [f"{kind}: {text}" for kind, text in contradictions] + impossible
        violations += [f"a worker loop ended with {reason}" for reason in crashes]
        return found, violations


def run_chaos(
    seed: int, for_s: float, round_s: float, limit: int, faults_per_s: float
) -> tuple[Counter[str], Counter[str], list[str]]:
    """Run rounds one after the other; return faults, counts and sentences."""
    faults: Counter[str] = Counter()
    found: Counter[str] = Counter()
    sentences: list[str] = []
    folder = Path(tempfile.mkdtemp(prefix="rush-chaos-"))
    server = Server(folder)
    began = time.monotonic()
    try:
        server.start()
        sequence = fault_sequence(seed, minute_at=10 if round_s > 70.0 else None)
        for number in itertools.count():
            left_s = for_s - (time.monotonic() - began)
            if number and left_s < round_s / 2:
                break
            round_ = Round(server, folder, seed * 1000 + number, limit)
            try:
                round_.run(sequence, min(round_s, max(left_s, 1.0)), faults_per_s)
            finally:
                n_left = round_.close()
            faults += round_.faults.n_injected
            counts, violations = round_.judge()
            found += counts
            found["stuck"] += n_left
            found["rounds"] += 1
            found["looks"] += round_.n_looks
            found["reaped"] += round_.them.n_reaped
            sentences += [f"{round_.them.network_id}: {text}" for text in violations]
            verdict = {name: counts[name] for name in VERDICTS if counts[name]}
            print(
                f"{time.monotonic() - began:6.0f} s  network {number}: "
                f"{counts['finished']} finished, {counts['failed']} failed, "
                f"{sum(round_.faults.n_injected.values())} faults, "
                f"{n_left} processes left, {verdict or 'sound'}",
                *violations[:5],
                sep="\n  ",
                flush=True,
            )
    finally:
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)
    return faults, found, sentences
