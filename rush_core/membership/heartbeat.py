"""Heartbeats: how a worker shows that it lives.

A heartbeat adds one to a number in the server. Managers see whether the number changes, and measure
by their own monotonic clocks how long it has not changed. No other clock plays a role.

A thread of the worker's process sends the heartbeats over a connection of its own. If the objective
holds the interpreter's lock for long, the thread cannot run; then a process does it (see
`rush_core.membership.heartbeat_process`).
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable

from rush_core.connection.connection import Connection
from rush_core.connection.script import Script
from rush_core.errors import RushError
from rush_core.kernel.heartbeat import Heartbeat
from rush_core.keys import NetworkKeys

__all__ = ["HeartbeatThread", "beat", "send_heartbeats"]


def beat(
    connection: Connection,
    keys: NetworkKeys,
    worker_ids: Iterable[str],
    node_id: str = "",
    host: bytes = b"",
) -> dict[str, str]:
    """Send one heartbeat of each of some workers; one round trip.

    Parameters
    ----------
    connection : Connection
    keys : NetworkKeys
    worker_ids : iterable of str
    node_id : str
        The node that looks after the workers; empty if there is none.
    host : bytes
        What the node writes about its host, see `rush_core.kernel.hosts.host_record`.

    Returns
    -------
    dict of str to str
        Those that are not registered, and the state in which each has ended; empty if it is not
        known, because the worker has not joined, or the network was reset.

    Raises
    ------
    RushError
        If the server cannot be reached, or refuses the script.
    """
    names = [worker_id.encode() for worker_id in worker_ids]
    reply = Script("beat", keys).run(connection, node_id.encode(), host, *names)
    out = [text.decode() for text in reply]
    return dict(zip(out[::2], out[1::2], strict=True))


def send_heartbeats(
    wait_for_stop: Callable[[float], bool],
    connection: Connection,
    keys: NetworkKeys,
    worker_id: str,
    heartbeat: Heartbeat,
) -> str | None:
    """Send heartbeats until ``wait_for_stop(period_s)`` returns True or the worker is removed.

    Returns
    -------
    str or None
        The worker's state if it was killed or forgotten, else None. A worker that counts as lost
        goes on sending: it may come back.
    """
    while not wait_for_stop(heartbeat.period_s):
        # If the server cannot be reached, the next heartbeat is the next try.
        with contextlib.suppress(RushError):
            state = beat(connection, keys, (worker_id,)).get(worker_id, "lost")
            if state != "lost":
                return state
    return None


class HeartbeatThread:
    """Sends a worker's heartbeats from a thread.

    Parameters
    ----------
    url : str
    keys : NetworkKeys
    worker_id : str
    heartbeat : Heartbeat
    on_killed : callable
        Called in the thread when another process has removed the worker from the network.
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
            target=self._run, args=(keys, worker_id, heartbeat, on_killed), daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop sending."""
        self._stop.set()
        # After a kill the thread waits in `on_killed` for the end of this process: joining it here
        # would be a deadlock.
        if not self._killed:
            self._thread.join()
        self._connection.close()

    def _run(
        self,
        keys: NetworkKeys,
        worker_id: str,
        heartbeat: Heartbeat,
        on_killed: Callable[[], None],
    ) -> None:
        state = send_heartbeats(self._stop.wait, self._connection, keys, worker_id, heartbeat)
        if state is not None:
            self._killed = True
            on_killed()
