"""A process that sends the heartbeats of its parent, a worker that may hold the interpreter's lock.

The worker starts it as ``python -m rush_core beat ...``, which calls `send_for_parent`.
"""

from __future__ import annotations

import itertools
import os
import select
import signal
import subprocess
import sys
import threading

from rush_core.connection.connection import Connection
from rush_core.connection.url import environment_of
from rush_core.errors import RushError
from rush_core.kernel.heartbeat import Heartbeat
from rush_core.keys import NetworkKeys
from rush_core.membership.heartbeat import send_heartbeats
from rush_core.owned_process import OwnedProcess, wait_for_owner

__all__ = ["HeartbeatProcess", "send_for_parent"]

_BEGUN = b"begun"  # the process writes this to its standard output just before the first heartbeat


class HeartbeatProcess:
    """Sends a worker's heartbeats from a process, which also kills a worker that was removed.

    The process needs some tenths of a second to start. Until then, the constructor sends.

    Parameters
    ----------
    url, network_id, worker_id : str
    heartbeat : Heartbeat

    Raises
    ------
    RushError
        If the process ends before its first heartbeat.
    """

    def __init__(self, url: str, network_id: str, worker_id: str, heartbeat: Heartbeat) -> None:
        times = [str(heartbeat.period_s), str(heartbeat.expire_s)]
        command = [sys.executable, "-P", "-m", "rush_core", "beat", network_id, worker_id]
        self._process = OwnedProcess(
            [*command, str(os.getpid()), *times],
            stdout=subprocess.PIPE,
            env={**os.environ, **environment_of(url)},
        )
        assert self._process.stdout is not None
        with self._process.stdout as output:

            def wait_for_output(timeout_s: float) -> bool:
                return bool(select.select([output], [], [], timeout_s)[0])

            connection, keys = Connection(url), NetworkKeys(network_id)
            send_heartbeats(wait_for_output, connection, keys, worker_id, heartbeat)
            connection.close()
            if output.read(len(_BEGUN)) != _BEGUN:
                raise RushError(
                    f"the heartbeat process of worker {worker_id!r} ended with exit code "
                    f"{self._process.close()} before its first heartbeat; see its standard error",
                    key=worker_id,
                )

    def close(self) -> None:
        """Stop sending."""
        self._process.close()


def send_for_parent(
    pid: int, url: str, network_id: str, worker_id: str, heartbeat: Heartbeat
) -> None:
    """Send heartbeats for the parent process `pid` until it ends or closes the pipe.

    If another process removes the worker from the network, the parent is ended by SIGKILL: while it
    holds its interpreter's lock, it would not see another signal.
    """
    owner_ended = threading.Event()

    def watch_owner() -> None:
        wait_for_owner()
        owner_ended.set()

    def wait_for_end(timeout_s: float) -> bool:
        # Foreign code can fork without Python's hooks; such a child keeps the pipe open. Then the
        # end of the parent shows in the parent's id.
        return owner_ended.wait(timeout_s) or os.getppid() != pid

    threading.Thread(target=watch_owner, daemon=True).start()
    os.write(1, _BEGUN)
    waits = itertools.chain([0.0], itertools.repeat(heartbeat.period_s))  # first: at once

    def wait_for_stop(period_s: float) -> bool:
        return wait_for_end(next(waits))

    connection, keys = Connection(url), NetworkKeys(network_id)
    state = send_heartbeats(wait_for_stop, connection, keys, worker_id, heartbeat)
    if state is not None and not wait_for_end(0.0):
        os.kill(pid, signal.SIGKILL)
