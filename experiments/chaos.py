"""Does anything get lost, doubled or stuck when everything fails at once?

Asked: workers of all three launch kinds start, claim, finish and fail tasks with retries while a
manager pushes, and meanwhile processes are killed and stopped, the server is killed and restarted
on its append-only file, connections are cut, and memory runs out. Every operation that the server
acknowledged is noted by its client in a file of its own. Expected: an acknowledged end is in its
log exactly once, an acknowledged start or push is somewhere, a refused one is nowhere, the budget
is used up exactly, and no process and no running task is left over.

A run is a row of rounds. Each is a network with a budget of its own; when its faults are over, it
has to end by itself. Which faults come, and when, follows from the seed.

Run from the project's root: ``python -m experiments.chaos --minutes 20 --seed 1``
"""

from __future__ import annotations

import argparse
import contextlib
import heapq
import itertools
import multiprocessing
import os
import random
import secrets
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import psutil

from experiments.provenance import RAW, TABLES, append_rows, provenance
from rush_core import (
    Heartbeat,
    Network,
    RushError,
    ServerRefusedError,
    ServerUnreachableError,
    Worker,
    WorkerInfo,
    WorkerLostError,
    WorkerState,
)
from rush_core.connection import Connection, pack
from rush_core.invariants import find_violations
from rush_core.keys import NetworkKeys
from rush_core.server import find_server_binary
from tests.core.proxy import BreakingProxy

PATIENCE_S = 90.0  # a round that has not ended so long after its last fault never will
QUICK = Heartbeat(period_s=0.2, expire_s=2.0)
BESIDE = Heartbeat(period_s=0.2, expire_s=2.0, own_process=True)
N_WORKERS = {"local": 2, "command": 2, "pool": 1}
MAX_RETRIES = 3

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
    "several reapers at once": 4,
    "kill the server": 2,
    "cut before the request": 4,
    "cut after the work": 4,
    "deliver a request late": 2,
    "lose all connections": 2,
    "run out of memory": 2,
    "forget all scripts": 1,
    "kill who pushes": 1,
    "stop who pushes": 1,
}
VERDICTS = ("lost", "doubled", "refused_but_there", "stuck", "budget", "crashed", "impossible")


# -- what the clients do ----------------------------------------------------------------------


class Notes:
    """What one client was told, in a file of its own that outlives the client."""

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
    """Claim a task, or start some; wait for a change if there is none."""
    if rng.random() < 0.5:
        task = worker.claim_task(timeout_s=rng.choice([0.0, 0.3]), limit=limit)
        keys = [] if task is None else [task.key]
        for key in keys:
            notes.add("there", key)
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


# -- what they are exposed to -----------------------------------------------------------------


class Server:
    """A server on an append-only file and a unix socket, to be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.url = f"unix://{folder / 'server.sock'}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, and wait until it answers."""
        options = {"port": "0", "dir": str(self._folder), "appendonly": "yes", "save": ""}
        options["unixsocket"] = self.url.removeprefix("unix://")
        arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
        self._process = subprocess.Popen(
            [str(find_server_binary()), *arguments], stdout=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 30.0
        while not self.answers():
            if time.monotonic() > deadline:
                raise RuntimeError("the server did not come back within 30 s")
            time.sleep(0.01)

    def answers(self) -> bool:
        """Tell whether it can be used."""
        with contextlib.suppress(RushError), contextlib.closing(Connection(self.url)) as probe:
            return bool(probe.execute(pack(("PING",))) == b"PONG")
        return False

    def kill(self) -> None:
        """Kill it; what it wrote stays."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def tell(self, *command: str) -> Any:
        """Execute one command, on a connection for it alone."""
        with contextlib.closing(Connection(self.url)) as connection:
            return connection.execute(pack(command))


class Round:
    """One network with its budget, its processes and its faults."""

    def __init__(self, server: Server, folder: Path, seed: int, limit: int) -> None:
        self.network_id = f"chaos-{secrets.token_hex(4)}"
        self.server, self.seed, self.limit = server, seed, limit
        self.folder = folder / self.network_id
        self.folder.mkdir()
        self.rng = random.Random(seed)
        self.faults: Counter[str] = Counter()
        self.proxy = BreakingProxy(server.url)
        # One manager's connections can be cut, and those of its workers.
        self.far = Network(self.network_id, self.proxy.url, max_retries=MAX_RETRIES)
        self.near = Network(self.network_id, server.url, max_retries=MAX_RETRIES)
        self.pool: ProcessPoolExecutor | None = None
        self.kinds: dict[str, str] = {}
        self.commands: list[subprocess.Popen[bytes]] = []
        self.later: list[tuple[float, int, Callable[[], object]]] = []
        self._order = itertools.count()
        self.n_looks = self.n_reaped = 0
        self.impossible: list[str] = []
        self.pusher = self._start_pushing()
        self.processes: set[psutil.Process] = set()

    # -- processes --

    def _start_pushing(self) -> Any:
        context = multiprocessing.get_context("spawn")
        arguments = (self.network_id, self.proxy.url, self.folder, self.rng.getrandbits(32))
        process = context.Process(target=pushing, args=arguments, daemon=True)
        process.start()
        return process

    def replenish(self) -> None:
        """Start as many workers of each kind as there have to be."""
        args = (self.limit, self.folder, self.seed)
        live = {worker.worker_id for worker in self.near.fetch_workers() if worker.ended_at is None}
        n_local = sum(self.kinds.get(name) == "local" for name in live)
        starting = [name for name in self.far._crew._processes.running() if name not in live]
        for _ in range(N_WORKERS["local"] - n_local - len(starting)):
            for name in self.far.start_workers(evaluating, 1, args=args, log_level="CRITICAL"):
                self.kinds[name] = "local"
        self.commands = [process for process in self.commands if process.poll() is None]
        for _ in range(N_WORKERS["command"] - len(self.commands)):
            beat = self.rng.choice([QUICK, BESIDE])
            command = self.near.worker_command(
                evaluating, args=args, heartbeat=beat, log_level="CRITICAL"
            )
            self.commands.append(
                subprocess.Popen(
                    ["/bin/sh", "-c", command],
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,
                )
            )
        pooled = [name for name in live if self.kinds.get(name) == "pool"]
        calls = self.far._crew._submitted.running()
        if not pooled and not calls:
            if self.pool is not None:
                self.pool.shutdown(wait=False, cancel_futures=True)
            context = multiprocessing.get_context("spawn")
            self.pool = ProcessPoolExecutor(N_WORKERS["pool"], mp_context=context)
            for name in self.far.start_workers(
                evaluating, 1, args=args, executor=self.pool, heartbeat=QUICK, log_level="CRITICAL"
            ):
                self.kinds[name] = "pool"
        if not self.pusher.is_alive():
            self.pusher = self._start_pushing()
        self.processes.update(psutil.Process().children(recursive=True))

    def some_worker(self, *kinds: str) -> WorkerInfo | None:
        """Choose a worker that takes part; its process is a child of this one."""
        children = {process.pid for process in psutil.Process().children(recursive=True)}
        workers = [
            worker
            for worker in self.near.fetch_workers()
            if worker.ended_at is None
            and worker.pid in children
            and (not kinds or self.kinds.get(worker.worker_id, "command") in kinds)
        ]
        return self.rng.choice(workers) if workers else None

    # -- faults --

    def inject(self, fault: str) -> None:
        """Do one thing that should not happen; it counts if there was somebody to do it to."""
        self.faults[fault] += self._inject(fault)

    def _inject(self, fault: str) -> bool:
        rng, tell = self.rng, self.server.tell
        if fault.startswith("kill a"):
            words = {"local": "local", "command": "command", "pool": "pool"}
            return self._signal(signal.SIGKILL, next(k for k in words if k in fault))
        if fault.startswith("stop a worker"):
            moment_s = rng.uniform(0.1, 1.0)
            long_s = 65.0 if "minute" in fault else rng.uniform(2.5, 4.0)
            return self._stop(moment_s if "moment" in fault else long_s)
        if fault == "put a worker out":
            worker = self.some_worker()
            if worker is not None:
                self.near.stop_workers([worker.worker_id], kill=True)
            return worker is not None
        if fault == "ask a worker to stop":
            worker = self.some_worker()
            if worker is not None:
                self.near.stop_workers([worker.worker_id])
            return worker is not None
        if fault == "several reapers at once":
            self.reap(4)
        elif fault == "kill the server":
            self.server.kill()
            time.sleep(rng.uniform(0.0, 0.5))
            self.server.start()
        elif fault == "cut before the request":
            self.proxy.cut_before_request()
        elif fault == "cut after the work":
            self.proxy.cut_before_reply()
        elif fault == "deliver a request late":
            self.proxy.hold_request()
            self.after(rng.uniform(0.05, 3.0), self._deliver)
        elif fault == "lose all connections":
            tell("CLIENT", "KILL", "TYPE", "normal")
        elif fault == "run out of memory":
            tell("CONFIG", "SET", "maxmemory", "1")
            self.after(rng.uniform(0.1, 0.5), lambda: tell("CONFIG", "SET", "maxmemory", "0"))
        elif fault == "forget all scripts":
            tell("SCRIPT", "FLUSH")
        elif fault == "kill who pushes":
            self.pusher.kill()
        elif fault == "stop who pushes":
            return self._stop_process(self.pusher.pid, rng.uniform(0.1, 3.0))
        return True

    def _signal(self, number: int, kind: str) -> bool:
        worker = self.some_worker(kind)
        if worker is None:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker.pid, number)
        return True

    def _stop(self, for_s: float) -> bool:
        worker = self.some_worker()
        return worker is not None and self._stop_process(worker.pid, for_s)

    def _stop_process(self, pid: int, for_s: float) -> bool:
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)  # knows a process from a later one of the same number
            process.suspend()
            self.after(for_s, process.resume)
            return True
        return False

    def _deliver(self) -> None:
        if self.proxy._held:
            with contextlib.suppress(OSError):
                self.proxy.deliver_held_request()
            self.proxy._held = b""

    def reap(self, n: int) -> None:
        """Let several managers look for lost workers at once."""

        def look() -> None:
            with (
                contextlib.suppress(RushError),
                Network(self.network_id, self.server.url, max_retries=MAX_RETRIES) as reaper,
            ):
                self.n_reaped += len(reaper.detect_lost_workers())

        threads = [threading.Thread(target=look) for _ in range(n)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.n_reaped += len(self.far.detect_lost_workers())

    def after(self, delay_s: float, call: Callable[[], object]) -> None:
        """Do something later: what a fault began has to end."""
        heapq.heappush(self.later, (time.monotonic() + delay_s, next(self._order), call))

    def due(self, *, all_of_them: bool = False) -> None:
        """Do what is due."""
        while self.later and (all_of_them or self.later[0][0] <= time.monotonic()):
            call = heapq.heappop(self.later)[2]
            with contextlib.suppress(RushError, psutil.NoSuchProcess):
                call()

    # -- the round --

    def look(self) -> None:
        """Ask the judge, who may be asked at any moment."""
        with contextlib.suppress(RushError), contextlib.closing(Connection(self.server.url)) as c:
            self.impossible += find_violations(c, NetworkKeys(self.network_id))
            self.n_looks += 1

    def n_ended(self) -> int:
        """Count the tasks that took a place of the budget and have ended."""
        tasks = self.near.fetch_tasks("finished", "failed")
        return sum(task.worker_id != "" and "lost" not in task.result_extra for task in tasks)

    def run(self, faults: Iterator[str], for_s: float) -> None:
        """Inject faults for some time, and let the network come to its end."""
        deadline = time.monotonic() + for_s
        while time.monotonic() < deadline:
            self._try(self.replenish)
            self._try(lambda: self.inject(next(faults)))
            self.look()
            wait_until_s = time.monotonic() + self.rng.expovariate(3.0)
            while time.monotonic() < wait_until_s:
                self.due()
                time.sleep(0.01)
        self.due(all_of_them=True)
        self._try(lambda: self.server.tell("CONFIG", "SET", "maxmemory", "0"))
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline and self.n_ended() < self.limit:
            self._try(self.replenish)
            self._try(lambda: self.reap(1))
            self.look()
            time.sleep(0.2)

    def _try(self, call: Callable[[], object]) -> None:
        with contextlib.suppress(RushError, RuntimeError):  # a broken pool is a RuntimeError
            call()

    def close(self) -> int:
        """End all processes politely; return how many did not, which are killed then."""
        self.due(all_of_them=True)
        self.pusher.kill()
        self.pusher.join()
        left: list[psutil.Process] = []
        try:
            self.near.stop_workers()
            ended = self.far.join_workers(PATIENCE_S)
            deadline = time.monotonic() + PATIENCE_S
            for process in self.commands:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(max(deadline - time.monotonic(), 0.1))
            if self.pool is not None:
                self.pool.shutdown(wait=ended, cancel_futures=True)
            self.reap(1)
            own = {process for process in self.processes if "rush_core" in command_of(process)}
            _, left = psutil.wait_procs(own, timeout=10.0)
        finally:
            for process in self.processes:
                # Python's own tracker of resources ends with this process.
                spared = is_server(process) or "resource_tracker" in command_of(process)
                if process.is_running() and command_of(process) and not spared:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        process.kill()
            for network in (self.far, self.near):
                network.close()
            self.proxy.close()
        return len(left)

    def judge(self) -> tuple[Counter[str], list[str]]:
        """Compare what the clients were told with what is there; return counts and sentences."""
        found = judge(self.near, self.folder, self.limit)
        crashes = [
            worker.reason
            for worker in self.near.fetch_workers()
            if worker.state is WorkerState.STOPPED and worker.reason
        ]
        found["crashed"] += len(crashes)
        violations = [f"a look found: {text}" for text in sorted(set(self.impossible))]
        violations += [f"a worker loop ended with {reason}" for reason in crashes]
        with contextlib.closing(Connection(self.server.url)) as connection:
            violations += find_violations(connection, NetworkKeys(self.network_id))
        return found, violations


def command_of(process: psutil.Process) -> str:
    """Return the command line of a process; empty if there is none any more."""
    with contextlib.suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""


def is_server(process: psutil.Process) -> bool:
    return "unixsocket" in command_of(process)


def judge(network: Network, folder: Path, limit: int) -> Counter[str]:
    """Count what contradicts the notes of the clients."""
    tasks = list(network.fetch_tasks())
    n_of = Counter(task.key for task in tasks)
    n_named = Counter(task.config["name"] for task in tasks)
    finished = Counter((t.key, t.result["name"]) for t in tasks if t.result is not None)
    failed = Counter((t.key, t.error) for t in tasks if t.error is not None)
    found: Counter[str] = Counter()
    found["doubled"] += sum(n > 1 for n in (n_of | n_named | finished).values())
    for path in folder.iterdir():
        for line in path.read_text().splitlines():
            what, *names = line.split()
            if what == "there":
                found["lost"] += sum(n_of[name] == 0 for name in names)
            elif what == "nowhere":
                found["refused_but_there"] += sum(n_named[name] > 0 for name in names)
            elif what == "discarded":
                pair = (names[0], names[1])
                found["refused_but_there"] += finished[pair] + failed[pair]
            else:
                ends = finished if what == "finished" else failed
                found["lost"] += ends[names[0], names[1]] == 0
            found["acknowledged"] += 1
    taken = sum(t.worker_id != "" and "lost" not in t.result_extra for t in tasks if t.ended_at)
    found["budget"] += abs(taken - limit)
    found["stuck"] += sum(task.state == "running" for task in tasks)
    found["finished"] += sum(finished.values())
    found["failed"] += sum(failed.values())
    found["lost_tasks"] += sum("lost" in task.result_extra for task in tasks if task.ended_at)
    return found


# -- the run ----------------------------------------------------------------------------------


def run_chaos(
    seed: int, for_s: float, round_s: float, limit: int
) -> tuple[Counter[str], Counter[str], list[str]]:
    """Run rounds one after the other; return the faults, the counts and what was impossible."""
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
                round_.run(sequence, min(round_s, max(left_s, 1.0)))
            finally:
                n_left = round_.close()
            faults += round_.faults
            counts, impossible = round_.judge()
            found += counts
            found["stuck"] += n_left
            found["impossible"] += len(impossible) - counts["crashed"]
            found["rounds"] += 1
            found["looks"] += round_.n_looks
            found["reaped"] += round_.n_reaped
            sentences += [f"{round_.network_id}: {text}" for text in impossible]
            verdict = {name: counts[name] for name in VERDICTS if counts[name]}
            print(
                f"{time.monotonic() - began:6.0f} s  network {number}: "
                f"{counts['finished']} finished, {counts['failed']} failed, "
                f"{sum(round_.faults.values())} faults, "
                f"{n_left} processes left, {verdict or 'sound'}",
                *impossible[:5],
                sep="\n  ",
                flush=True,
            )
    finally:
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)
    return faults, found, sentences


def fault_sequence(seed: int, *, minute_at: int | None) -> Iterator[str]:
    """Yield which fault comes next, for ever; at one place the stop of over a minute."""
    rng = random.Random(seed)
    for i in itertools.count():
        chosen = rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        yield "stop a worker for over a minute" if i == minute_at else chosen


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--round-s", type=float, default=75.0, help="seconds of faults per network")
    parser.add_argument("--limit", type=int, default=10_000, help="budget of each network")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: exit(1))  # so that everything is cleaned up
    origin = provenance()
    began = time.monotonic()
    faults, found, sentences = run_chaos(
        given.seed, 60.0 * given.minutes, given.round_s, given.limit
    )
    rows = [
        {
            "fault": fault,
            "n_injected": faults[fault],
            "minutes": round((time.monotonic() - began) / 60.0, 1),
            **{name: found[name] for name in ("rounds", "acknowledged", "finished", "failed")},
            **{name: found[name] for name in ("lost_tasks", "reaped", "looks", *VERDICTS)},
            "seed": given.seed,
            "server": server_version(),
            **origin,
        }
        for fault in WEIGHTS
    ]
    append_rows(RAW / "chaos.csv", rows)
    table = as_markdown(rows, sentences)
    print(table)
    (TABLES / "chaos.md").write_text(table)
    raise SystemExit(any(found[name] for name in VERDICTS))


def server_version() -> str:
    """Return name and version of the server that such a run starts."""
    words = subprocess.run([find_server_binary(), "--version"], capture_output=True, text=True)
    return " ".join(words.stdout.split()[:3])


def as_markdown(rows: list[dict[str, Any]], sentences: list[str]) -> str:
    """Make the table of the last run."""
    row = rows[0]
    lines = [
        "# Everything fails at once",
        "",
        f"{row['minutes']} minutes, seed {row['seed']}, commit {row['commit']}, {row['server']}, "
        f"Python {row['python']}, {row['machine']}. {row['rounds']} networks one after the other, "
        f"{row['acknowledged']:,} acknowledged operations, {row['finished']:,} finished and "
        f"{row['failed']:,} failed tasks, {row['reaped']} workers found lost; the whole state was "
        f"checked {row['looks']:,} times meanwhile. Rows: `results/raw/chaos.csv`, made by "
        "`python -m experiments.chaos`.",
        "",
        "| what was found | how often |",
        "|---|---:|",
        f"| acknowledged, but not there | {row['lost']} |",
        f"| there more than once | {row['doubled']} |",
        f"| refused, but there | {row['refused_but_there']} |",
        f"| tasks or processes left over | {row['stuck']} |",
        f"| places of the budget overshot or fallen short | {row['budget']} |",
        f"| workers ended by an error | {row['crashed']} |",
        f"| impossible states | {row['impossible']} |",
        "",
        "| fault | injected |",
        "|---|---:|",
    ]
    lines += [f"| {row['fault']} | {row['n_injected']} |" for row in rows]
    lines += ["", *sentences] if sentences else []
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
