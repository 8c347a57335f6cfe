"""The clients of a network: workers that were started in three ways, and managers."""

from __future__ import annotations

import contextlib
import multiprocessing
import random
import secrets
import subprocess
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import psutil

from rush_core import Heartbeat, LoopFailedError, Network, RushError, WorkerInfo
from rush_core.node.reader_process import READER_NAME
from tests.core.history.clients import evaluating, managing
from tests.core.history.operations import History
from tests.core.proxy import BreakingProxy

PATIENCE_S = 90.0  # a round that has not ended so long after its last fault never will
QUICK = Heartbeat(period_s=0.2, expire_s=2.0)
BESIDE = Heartbeat(period_s=0.2, expire_s=2.0, own_process=True)
N_WORKERS = {"local": 3, "command": 2, "pool": 1}
MAX_RETRIES = 3


class Participants:
    """The processes of one network.

    Parameters
    ----------
    url : str
        The server.
    folder : Path
        In which their histories get a folder of their own.
    seed : int
    limit : int
        The budget of the network.
    rng : random.Random

    Attributes
    ----------
    network_id : str
    folder : Path
        Where the clients write their histories.
    proxy : BreakingProxy
        Through which the connections go that can be cut: of one manager and of its workers.
    far, near : Network
        The manager behind the proxy, and one that is not.
    manager : multiprocessing.Process
        A manager that pushes and reads.
    n_reaped : int
        How many workers were found lost.
    """

    def __init__(self, url: str, folder: Path, seed: int, limit: int, rng: random.Random) -> None:
        self.network_id = f"chaos-{secrets.token_hex(4)}"
        self._url, self._rng = url, rng
        self.folder = folder / self.network_id
        self.folder.mkdir()
        self._arguments = (limit, self.folder, seed)
        self.proxy = BreakingProxy(url)
        self.far = Network(self.network_id, self.proxy.url, max_retries=MAX_RETRIES)
        self.near = self._connect()
        self.n_reaped = 0
        self._pool: ProcessPoolExecutor | None = None
        self._kinds: dict[str, str] = {}
        self._commands: list[subprocess.Popen[bytes]] = []
        self.manager = self._start_managing()
        self._history = History(self.folder, "reapers")
        self._processes: set[psutil.Process] = set()

    def _connect(self) -> Network:
        return Network(self.network_id, self._url, max_retries=MAX_RETRIES)

    def _start_managing(self) -> Any:
        context = multiprocessing.get_context("spawn")
        arguments = (self.network_id, self.proxy.url, self.folder, self._rng.getrandbits(32))
        process = context.Process(target=managing, args=arguments, daemon=True)
        process.start()
        return process

    def replenish(self) -> None:
        """Start as many workers of each kind as there have to be."""
        live = {worker.worker_id for worker in self.near.fetch_workers() if worker.ended_at is None}
        self._start_local(live)
        self._start_commands()
        self._start_pool(live)
        if not self.manager.is_alive():
            self.manager = self._start_managing()
        self._processes.update(psutil.Process().children(recursive=True))

    def _start_local(self, live: set[str]) -> None:
        n_local = sum(self._kinds.get(name) == "local" for name in live)
        starting = [name for name in self.far._started._local.running() if name not in live]
        for _ in range(N_WORKERS["local"] - n_local - len(starting)):
            started = self.far.start_workers(
                evaluating, 1, args=self._arguments, log_level="CRITICAL"
            )
            self._kinds.update(dict.fromkeys(started, "local"))

    def _start_commands(self) -> None:
        self._commands = [process for process in self._commands if process.poll() is None]
        for _ in range(N_WORKERS["command"] - len(self._commands)):
            command = self.near.worker_command(
                evaluating,
                args=self._arguments,
                heartbeat=self._rng.choice([QUICK, BESIDE]),
                log_level="CRITICAL",
            )
            self._commands.append(
                subprocess.Popen(
                    ["/bin/sh", "-c", command],
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,
                )
            )

    def _start_pool(self, live: set[str]) -> None:
        pooled = [name for name in live if self._kinds.get(name) == "pool"]
        if pooled or self.far._started._submitted.running():
            return
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(N_WORKERS["pool"], mp_context=context)
        started = self.far.start_workers(
            evaluating,
            1,
            args=self._arguments,
            executor=self._pool,
            heartbeat=QUICK,
            log_level="CRITICAL",
        )
        self._kinds.update(dict.fromkeys(started, "pool"))

    def some_worker(self, *kinds: str) -> WorkerInfo | None:
        """Choose a worker that takes part; its process is a child of this one."""
        children = {process.pid for process in psutil.Process().children(recursive=True)}
        workers = [
            worker
            for worker in self.near.fetch_workers()
            if worker.ended_at is None
            and worker.pid in children
            and (not kinds or self._kinds.get(worker.worker_id, "command") in kinds)
        ]
        return self._rng.choice(workers) if workers else None

    def some_reader(self) -> int | None:
        """Return the number of the process that reads for the local workers; None if none does."""
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if process.name() == READER_NAME and process.status() != psutil.STATUS_ZOMBIE:
                    pid: int = process.pid
                    return pid
        return None

    def reap(self, n: int) -> None:
        """Let several managers look for lost workers at once."""

        def look() -> None:
            with contextlib.suppress(RushError), self._connect() as reaper:
                self._detect_lost(reaper)

        threads = [threading.Thread(target=look) for _ in range(n)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self._detect_lost(self.far)

    def _detect_lost(self, network: Network) -> None:
        note, detect = self._history.note, network.detect_lost_workers
        self.n_reaped += len(note("remove", {}, detect, lambda workers: {"workers": workers}))

    def close(self) -> int:
        """End all processes politely; return how many did not, which are killed then."""
        self.manager.kill()
        self.manager.join()
        left: list[psutil.Process] = []
        try:
            self.near.stop_workers()
            try:
                ended = self.far.join_workers(PATIENCE_S)
            except LoopFailedError:  # the round reports the reasons of all workers
                ended = True
            deadline = time.monotonic() + PATIENCE_S
            for process in self._commands:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(max(deadline - time.monotonic(), 0.1))
            if self._pool is not None:
                self._pool.shutdown(wait=ended, cancel_futures=True)
            self.reap(1)
            own = {process for process in self._processes if is_own(process)}
            _, left = psutil.wait_procs(own, timeout=10.0)
            for process in left:
                with contextlib.suppress(psutil.NoSuchProcess):
                    print(f"  left over, {process.status()}: {' '.join(process.cmdline()):.300}")
        finally:
            for process in self._processes:
                # Python's own tracker of resources ends with this process.
                spared = is_server(process) or "resource_tracker" in command_of(process)
                if process.is_running() and command_of(process) and not spared:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        process.kill()
            for network in (self.far, self.near):
                network.close()
            self.proxy.close()
        return len(left)


def command_of(process: psutil.Process) -> str:
    """Return the command line of a process; empty if there is none any more."""
    with contextlib.suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""


def is_own(process: psutil.Process) -> bool:
    """Tell whether a process is one of the package, and not the guard of a server."""
    return "rush_core" in command_of(process) and not is_server(process)


def is_server(process: psutil.Process) -> bool:
    """Tell whether a process is a server or its guard, which has the same arguments."""
    return "unixsocket" in command_of(process)
