"""Prove life, from beside the worker loop.

A sign of life is a key that expires by the server's clock. The worker renews it in a background
thread with a connection of its own, which a long objective does not disturb as long as it releases
the interpreter's lock; for one that does not, the same runs in a process of its own.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable

from rush_core.connection.connection import Connection
from rush_core.connection.script import Script
from rush_core.connection.url import environment_of
from rush_core.errors import RushError
from rush_core.kernel.heartbeat import Heartbeat
from rush_core.keys import NetworkKeys

__all__ = ["Heart", "HeartProcess", "Heartbeat", "beat_for", "beat_until"]

_BEGUN = b"begun"  # what the process that gives the signs writes just before the first


def beat_until(
    stopped: Callable[[float], bool],
    connection: Connection,
    keys: NetworkKeys,
    worker_id: str,
    heartbeat: Heartbeat,
) -> str | None:
    """Give signs of life until ``stopped(period_s)``, which waits, returns True.

    Returns
    -------
    str or None
        How the worker ended if it was killed or forgotten meanwhile. One that was lost goes on
        giving signs: it may come back.
    """
    script = Script("beat", keys, worker_id)
    expire_ms = b"%d" % round(heartbeat.expire_s * 1000)
    while not stopped(heartbeat.period_s):
        # While the server is away there is nobody to prove anything to.
        with contextlib.suppress(RushError):
            state: str = script.run(connection, worker_id.encode(), expire_ms).decode()
            if state not in ("running", "stopping", "lost"):
                return state
    return None


class Heart:
    """Gives a worker's signs of life from a thread.

    Parameters
    ----------
    url : str
    keys : NetworkKeys
    worker_id : str
    heartbeat : Heartbeat
    on_killed : callable
        Called in the thread when the worker was removed from the network from elsewhere.
    """

    def __init__(
        self,
        url: str,
        keys: NetworkKeys,
        worker_id: str,
        heartbeat: Heartbeat,
        on_killed: Callable[[], None],
    ) -> None:
        self._connection = Connection(url, timeout_s=max(heartbeat.period_s, 1.0))
        self._stop = threading.Event()
        self._killed = False
        self._thread = threading.Thread(
            target=self._beat, args=(keys, worker_id, heartbeat, on_killed), daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Give no more signs."""
        self._stop.set()
        # A thread that makes this process leave waits for its end: it must not be waited for.
        if not self._killed:
            self._thread.join()
        self._connection.close()

    def _beat(
        self,
        keys: NetworkKeys,
        worker_id: str,
        heartbeat: Heartbeat,
        on_killed: Callable[[], None],
    ) -> None:
        ended = beat_until(self._stop.wait, self._connection, keys, worker_id, heartbeat)
        if ended is not None:
            self._killed = True
            on_killed()


class HeartProcess:
    """Gives a worker's signs of life from a process of its own, and kills the worker if told to.

    The process takes some tenths of a second to come up; until then the caller gives the signs.

    Parameters
    ----------
    url, network_id, worker_id : str
    heartbeat : Heartbeat

    Raises
    ------
    RushError
        If the process ends before it has begun.
    """

    def __init__(self, url: str, network_id: str, worker_id: str, heartbeat: Heartbeat) -> None:
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "rush_core", "beat", network_id, worker_id),
                *(str(os.getpid()), str(heartbeat.period_s), str(heartbeat.expire_s)),
            ],
            stdin=subprocess.PIPE,  # closes when the worker ends, however it ends
            stdout=subprocess.PIPE,
            env={**os.environ, **environment_of(url)},
            start_new_session=True,
        )
        assert self._process.stdout is not None
        with self._process.stdout as begins:
            connection = Connection(url)
            beat_until(
                lambda period_s: bool(select.select([begins], [], [], period_s)[0]),
                *(connection, NetworkKeys(network_id), worker_id, heartbeat),
            )
            connection.close()
            if begins.read(len(_BEGUN)) != _BEGUN:
                self.close()
                raise RushError(
                    f"the process that gives the signs of life of worker {worker_id!r} ended with "
                    f"exit code {self._process.returncode} before it had begun; see its standard "
                    "error",
                    key=worker_id,
                )

    def close(self) -> None:
        """Give no more signs."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def beat_for(pid: int, url: str, network_id: str, worker_id: str, heartbeat: Heartbeat) -> None:
    """Give signs of life for the parent process until it ends or standard input is closed.

    If the worker is killed from elsewhere meanwhile, its process is ended by SIGKILL: it may hold
    its interpreter and never see a gentler signal.
    """
    worker_gone = threading.Event()

    def watch() -> None:
        while os.read(0, 1):
            pass
        worker_gone.set()

    def is_gone(after_s: float) -> bool:
        # A child that the worker forked holds the pipe open, too: then the parent tells.
        return worker_gone.wait(after_s) or os.getppid() != pid

    threading.Thread(target=watch, daemon=True).start()
    os.write(1, _BEGUN)
    waits = itertools.chain([0.0], itertools.repeat(heartbeat.period_s))  # the first sign at once

    def stopped(period_s: float) -> bool:
        return is_gone(next(waits))

    ended = beat_until(stopped, Connection(url), NetworkKeys(network_id), worker_id, heartbeat)
    if ended is not None and not is_gone(0.0):
        os.kill(pid, signal.SIGKILL)
