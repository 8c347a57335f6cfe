"""Clients whose operations are written to histories: workers, and managers with two threads."""

from __future__ import annotations

import random
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rush_core import (
    DuplicateTaskError,
    Network,
    ServerRefusedError,
    ServerUnreachableError,
    Task,
    TaskTable,
    Worker,
    WorkerLostError,
)
from tests.core.history.operations import History
from tests.core.history.time_order import digest

Actions = Sequence[Callable[[random.Random], None]]

# A fifth of 10,000 tasks would have a mark: enough that some of them are duplicates.
N_MARKS = 2_000
_MOST_QUEUED = 40
_PAUSE_S = 0.05  # until there may be memory again


class Evaluator:
    """Takes tasks and ends them, in the name of one worker that its threads share."""

    def __init__(self, worker: Worker, limit: int, folder: Path) -> None:
        self._worker, self._limit = worker, limit
        self._history = History(folder, worker.worker_id)
        self._joining = threading.Lock()
        self._history.note("join", {"worker": worker.worker_id}, lambda: None)

    def run(self, rng: random.Random) -> None:
        """Take and end tasks until the worker is asked to stop."""
        while self._stay():
            try:
                for name, key in self._take(rng):
                    time.sleep(rng.expovariate(200.0))  # the evaluation
                    self._report(name, key, rng)
                    while not self._end(name, key, rng):
                        time.sleep(_PAUSE_S)
            except WorkerLostError:
                pass
            except ServerRefusedError:
                time.sleep(_PAUSE_S)

    def _stay(self) -> bool:
        """Return to the network after a loss; return False if the worker has to end."""
        worker = self._worker
        try:
            with self._joining:
                if not worker.is_lost:
                    return not worker.should_stop()
                note = self._history.note
                return note("join", {"worker": worker.worker_id}, worker.rejoin)
        except ServerRefusedError:
            time.sleep(_PAUSE_S)
            return True

    def _take(self, rng: random.Random) -> list[tuple[str, str]]:
        """Return names and keys of claimed or started tasks; wait a moment if there are none."""
        how = rng.random()
        if how < 0.5:
            taken = self._claim(rng.choice([0.0, 0.3]))
        elif how < 0.7:
            mark = rng.randrange(N_MARKS)
            taken = self._start([{"mark": mark}], mark.to_bytes(2, "big"))
        else:
            taken = self._start([{}] * rng.choice([1, 1, 3]), None)
        if not taken:
            self._read(0.2)
        return taken

    def _claim(self, timeout_s: float) -> list[tuple[str, str]]:
        def describe(task: Task | None) -> dict[str, Any]:
            if task is None:
                return {"name": None, "stopping": self._worker.should_stop()}
            return {"name": task.config["name"], "attempt": task.attempt}

        def claim() -> Task | None:
            return self._worker.claim_task(timeout_s=timeout_s, limit=self._limit)

        task = self._history.note("claim", {}, claim, describe)
        return [] if task is None else [(task.config["name"], task.key)]

    def _start(
        self, values: Sequence[dict[str, int]], unique: bytes | None
    ) -> list[tuple[str, str]]:
        configs = [{"name": secrets.token_hex(6), **value} for value in values]
        names = [str(config["name"]) for config in configs]

        def start() -> list[str]:
            if unique is None:
                return self._worker.start_tasks(configs, limit=self._limit)
            try:
                key = self._worker.start_task(configs[0], limit=self._limit, unique=unique)
            except DuplicateTaskError:
                return []
            return [] if key is None else [key]

        keys = self._history.note("start", {"names": names}, start, lambda k: {"n": len(k)})
        return list(zip(names, keys, strict=False))

    def _report(self, name: str, key: str, rng: random.Random) -> None:
        if rng.random() < 0.3:
            token = secrets.token_hex(6)
            self._history.note(
                "report",
                {"name": name, "token": token},
                lambda: self._worker.report_task(key, {"token": token}),
                lambda won: {"won": won},
            )

    def _end(self, name: str, key: str, rng: random.Random) -> bool:
        """Try to end a task; return False if the server refuses it."""
        token = secrets.token_hex(6)
        given = {"ends": {name: token}}
        worker, note = self._worker, self._history.note
        how = rng.choice(["finish", "finish many", "finish and fetch", "fail"])
        in_order = rng.random() < 0.3
        calls: dict[str, Callable[[], list[bool]]] = {
            "finish": lambda: [worker.finish_task(key, {"token": token})],
            "finish many": lambda: worker.finish_tasks([key], [{"token": token}]),
            "fail": lambda: [worker.fail_task(key, token)],
        }
        try:
            if how == "finish and fetch":
                note(
                    "finish",
                    {
                        **given,
                        "reader": self._history.name,
                        **({} if in_order else {"ahead": name}),
                    },
                    lambda: worker.finish_and_fetch_new(key, {"token": token}, in_order=in_order),
                    lambda reply: {"won": [reply[0]], "new": _names(reply[1])},
                )
            else:
                kind = how.split()[0]
                note(kind, given, calls[how], lambda won: {"won": won})
        except ServerRefusedError:
            return False
        return True

    def _read(self, timeout_s: float) -> None:
        self._history.note(
            "read",
            {"reader": self._history.name},
            lambda: self._worker.fetch_new_tasks(timeout_s=timeout_s),
            lambda new: {"new": _names(new)},
        )


def evaluating(worker: Worker, limit: int, folder: Path, seed: int) -> None:
    """Take and end tasks, half of the workers from two threads: a worker loop."""
    rng = random.Random(f"{seed} {worker.worker_id}")
    evaluator = Evaluator(worker, limit, folder)
    n_threads = rng.choice([1, 2])
    rngs = [random.Random(rng.random()) for _ in range(n_threads)]
    _run_all([partial(evaluator.run, rng) for rng in rngs])


class Manager:
    """Pushes, counts, reads and clears, with one network that its threads share."""

    def __init__(self, network: Network, folder: Path) -> None:
        self._network = network
        self._history = History(folder, "manager")

    def run(self, rng: random.Random, actions: Actions) -> None:
        """Do actions until the process is killed."""
        while True:
            try:
                rng.choice(actions)(rng)
            except ServerRefusedError:
                time.sleep(_PAUSE_S)

    def push(self, rng: random.Random) -> None:
        """Push some tasks, unless many are queued."""
        network = self._network
        if network.count_tasks().queued > _MOST_QUEUED:
            self.read(rng)
            return
        names = [secrets.token_hex(6) for _ in range(rng.choice([1, 2, 5]))]
        configs = [{"name": name} for name in names]
        place = rng.choices(["queued", "finished", "failed"], [8, 1, 1])[0]
        pushes: dict[str, Callable[[], object]] = {
            "queued": lambda: network.push_tasks(configs),
            "finished": lambda: network.push_finished_tasks(configs, [{"token": n} for n in names]),
            "failed": lambda: network.push_failed_tasks(configs, names),
        }
        self._history.note("push", {"place": place, "names": names}, pushes[place])

    def clear(self, rng: random.Random) -> None:
        """Clear the queue, seldom."""
        if rng.random() < 0.02:
            self._history.note("clear", {}, self._network.clear_queue)

    def read(self, _: random.Random) -> None:
        """Fetch what is new, and wait for it for a moment."""
        self._history.note(
            "read",
            {"reader": self._history.name},
            lambda: self._network.fetch_new_tasks(timeout_s=0.1),
            lambda new: {"new": _names(new)},
        )

    def look(self, _: random.Random) -> None:
        """Fetch all finished tasks."""
        self._history.note(
            "look",
            {},
            self._network.fetch_finished_tasks,
            lambda table: {"n": len(table), "digest": digest(_names(table))},
        )

    def count(self, _: random.Random) -> None:
        """Count the tasks."""
        self._history.note(
            "count", {}, self._network.count_tasks, lambda counts: {"counts": list(counts)}
        )


def managing(network_id: str, url: str, folder: Path, seed: int) -> None:
    """Push from one thread and read from another one, until the process is killed."""
    try:
        network = Network(network_id, url)
    except ServerUnreachableError:
        return  # its first connection was cut: another manager is started
    with network:
        manager = Manager(network, folder)
        changes: Actions = (manager.push, manager.clear)
        reads: Actions = (manager.read, manager.look, manager.count)
        rng = random.Random(seed)
        _run_all([partial(manager.run, random.Random(rng.random()), a) for a in (changes, reads)])


def _names(table: TaskTable) -> list[str]:
    return [str(task.config["name"]) for task in table]


def _run_all(calls: Sequence[Callable[[], None]]) -> None:
    """Run calls at the same time; raise the first exception of one when all have ended."""
    errors: list[BaseException] = []

    def run(call: Callable[[], None]) -> None:
        try:
            call()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(call,), daemon=True) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
