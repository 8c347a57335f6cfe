"""The operations of the clients. Each client writes its replies into its own file."""

from __future__ import annotations

import os
import random
import secrets
import time
from pathlib import Path

from rush_core import (
    DuplicateTaskError,
    Network,
    ServerRefusedError,
    ServerUnreachableError,
    Worker,
    WorkerLostError,
)

# Of a network's 10,000 tasks or so a fifth would have one: enough for others to be in the way.
N_MARKS = 2_000


class Notes:
    """The replies to one client, in its own file, which stays after the client has ended."""

    def __init__(self, folder: Path, client: str) -> None:
        flags = os.O_CREAT | os.O_APPEND | os.O_WRONLY
        self._file = os.open(
            folder / f"{client}-{os.getpid()}-{secrets.token_hex(4)}", flags, 0o600
        )

    def add(self, what: str, *names: str) -> None:
        """Note one reply; written by one call, so that a note is there as a whole or not at all."""
        os.write(self._file, f"{' '.join((what, *names))}\n".encode())


def evaluating(worker: Worker, limit: int, folder: Path, seed: int) -> None:
    """Start or claim tasks and end them, until asked to stop: a worker loop."""
    notes, rng = Notes(folder, worker.worker_id), random.Random(f"{seed} {worker.worker_id}")
    while True:
        try:
            if worker.is_lost:
                if not worker.rejoin():
                    return
            elif worker.should_stop():
                return
            for key in take(worker, limit, notes, rng):
                time.sleep(rng.expovariate(200.0))  # the objective
                end(worker, key, notes, rng)
        except WorkerLostError:
            pass
        except ServerRefusedError:
            time.sleep(0.05)  # until there is memory again


def take(worker: Worker, limit: int, notes: Notes, rng: random.Random) -> list[str]:
    """Claim a task, start one that is to be the only one of its kind, or start some others.

    If there is none to be had, wait for a change.
    """
    how = rng.random()
    if how < 0.5:
        task = worker.claim_task(timeout_s=rng.choice([0.0, 0.3]), limit=limit)
        keys = [] if task is None else [task.key]
        for key in keys:
            notes.add("there", key)
    elif how < 0.7:
        keys = start_only_one(worker, limit, notes, rng)
    else:
        names = [secrets.token_hex(6) for _ in range(rng.choice([1, 1, 3]))]
        try:
            keys = worker.start_tasks([{"name": name} for name in names], limit=limit)
        except ServerRefusedError:
            notes.add("nowhere", *names)
            raise
        for key in keys:
            notes.add("there", key)
        if names[len(keys) :]:
            notes.add("nowhere", *names[len(keys) :])
    if not keys:
        worker.fetch_new_tasks(timeout_s=0.2)
    return keys


def start_only_one(worker: Worker, limit: int, notes: Notes, rng: random.Random) -> list[str]:
    """Start a task with a mark that others choose, too: of these, one is to be started."""
    name, mark = secrets.token_hex(6), rng.randrange(N_MARKS)
    key = None
    try:
        key = worker.start_task(
            {"name": name, "mark": mark}, limit=limit, unique=mark.to_bytes(2, "big")
        )
    except DuplicateTaskError:
        pass
    except ServerRefusedError:
        notes.add("nowhere", name)
        raise
    notes.add(*("nowhere", name) if key is None else ("there", key))
    return [] if key is None else [key]


def end(worker: Worker, key: str, notes: Notes, rng: random.Random) -> None:
    """Finish or fail a task, again and again while the server refuses that."""
    name, how = secrets.token_hex(6), rng.choice(["finish", "finish", "finish and fetch", "fail"])
    while True:
        try:
            if how == "fail":
                won = worker.fail_task(key, name)
            elif how == "finish":
                won = worker.finish_task(key, {"name": name})
            else:
                won, _ = worker.finish_and_fetch_new(key, {"name": name})
        except ServerRefusedError:
            time.sleep(0.05)
        else:
            break
    notes.add(("failed" if how == "fail" else "finished") if won else "discarded", key, name)


def pushing(network_id: str, url: str, folder: Path, seed: int) -> None:
    """Push tasks of all kinds as long as the network has not too many of them."""
    rng = random.Random(f"{seed} pushing")
    notes = Notes(folder, "pushing")
    try:
        network = Network(network_id, url)
    except ServerUnreachableError:
        return  # already its first connection was cut: another one takes its place
    with network:
        while True:
            names = [secrets.token_hex(6) for _ in range(rng.choice([1, 2, 5]))]
            configs = [{"name": name} for name in names]
            try:
                if network.count_tasks().queued > 40:
                    network.fetch_new_tasks(timeout_s=0.2)
                    continue
                if rng.random() < 0.1:
                    keys = network.push_finished_tasks(configs, [{"name": n} for n in names])
                elif rng.random() < 0.1:
                    keys = network.push_failed_tasks(configs, names)
                else:
                    keys = network.push_tasks(configs)
            except ServerRefusedError:
                notes.add("nowhere", *names)
                time.sleep(0.05)
            else:
                for key in keys:
                    notes.add("there", key)
