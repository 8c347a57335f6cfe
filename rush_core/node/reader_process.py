"""The process that reads the logs and sends heartbeats for all workers of a node.

The process that forks the workers forks it, too, and forks it again if it has died. Nothing is
wrong meanwhile: workers read the server themselves.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import select
import threading
import time
from collections.abc import Callable

from rush_core.connection.connection import Connection, pack
from rush_core.errors import RushError
from rush_core.kernel.heartbeat import Heartbeat
from rush_core.kernel.hosts import host_record
from rush_core.kernel.shared_log import SharedLogs
from rush_core.keys import NetworkKeys
from rush_core.membership.clients import remove_client
from rush_core.membership.heartbeat import beat
from rush_core.node.log_follower import LogFollower
from rush_core.node.usage import UsageMeter

__all__ = ["READER_NAME", "run_reader"]

READER_NAME = "rush-reader"  # at most 15 characters


def run_reader(
    url: str,
    network_id: str,
    shared: SharedLogs,
    heartbeat: Heartbeat | None,
    names: int,
    on_removed: Callable[[str], object],
) -> None:
    """Read the logs and send heartbeats until the pipe `names` is closed at its other end.

    Parameters
    ----------
    url, network_id : str
    shared : SharedLogs
        Where the logs are put as soon as a worker wants them, and there is another worker.
    heartbeat : Heartbeat or None
        None if nobody watches for heartbeats.
    names : int
        The descriptor of a pipe. Each line that comes has ``ID/PID`` of all workers from then on,
        with spaces between them.
    on_removed : callable
        Called as ``on_removed(worker_id)`` when somebody has killed a worker in the network, or
        has reset the network: the process of the worker should end.
    """
    _name_process()
    keys = NetworkKeys(network_id)
    client_id = f"node-{secrets.token_hex(4)}"
    follower: threading.Thread | None = None
    meter = UsageMeter(shared)
    sender = _HeartbeatSender(url, keys, client_id, heartbeat, meter, on_removed)
    lines = _LastLine(names)
    while lines.wait(sender.left_s()):
        names_and_pids = [word.split("/") for word in lines.last.split()]
        sender.workers = {name: int(pid) for name, pid in names_and_pids}
        sender.send_if_due()
        if follower is None and len(sender.workers) > 1:
            arguments = (url, keys, client_id, shared)
            follower = threading.Thread(target=_follow, args=arguments, daemon=True)
            follower.start()
    connection = Connection(url, timeout_s=1.0)
    with contextlib.suppress(RushError):  # what it leaves is dropped when the network changes
        connection.execute(pack((b"HDEL", keys.hosts, client_id)))
        remove_client(connection, keys, client_id)
    connection.close()


def _name_process() -> None:
    """Give this process a name of its own in lists of processes."""
    with contextlib.suppress(OSError), open("/proc/self/comm", "w") as file:
        file.write(READER_NAME)


def _follow(url: str, keys: NetworkKeys, client_id: str, shared: SharedLogs) -> None:
    """Wait until a worker wants the logs; then follow them to the end of this process."""
    select.select([shared.wanted], [], [])
    if shared.is_closed:
        return
    try:
        follower = LogFollower(Connection(url), keys, client_id, shared)
    except OSError:
        shared.close()
        return
    follower.run(_pause)


def _pause(seconds: float) -> bool:
    time.sleep(seconds)
    return False


class _LastLine:
    """The last whole line that came through a pipe.

    Parameters
    ----------
    pipe : int
        The descriptor.
    """

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe
        self._rest = b""
        self.last = ""

    def wait(self, timeout_s: float | None) -> bool:
        """Wait for something to come; return False if the pipe was closed at its other end."""
        if not select.select([self._pipe], [], [], timeout_s)[0]:
            return True
        received = os.read(self._pipe, 65536)
        *lines, self._rest = (self._rest + received).split(b"\n")
        if lines:
            self.last = lines[-1].decode()
        return bool(received)


class _HeartbeatSender:
    """Sends the heartbeats of all workers of a node in one call.

    Parameters
    ----------
    url : str
    keys : NetworkKeys
    node_id : str
    heartbeat : Heartbeat or None
    meter : UsageMeter
    on_removed : callable

    Attributes
    ----------
    workers : dict of str to int
        The process number of each worker.
    """

    def __init__(
        self,
        url: str,
        keys: NetworkKeys,
        node_id: str,
        heartbeat: Heartbeat | None,
        meter: UsageMeter,
        on_removed: Callable[[str], object],
    ) -> None:
        self._node_id = node_id
        self._meter = meter
        self._period_s = None if heartbeat is None else heartbeat.period_s
        self._connection = Connection(url, timeout_s=max(self._period_s or 0.0, 1.0))
        self._keys = keys
        self._on_removed = on_removed
        self._next_at = time.monotonic()
        self._have_joined: set[str] = set()
        self._reported: set[str] = set()
        self.workers: dict[str, int] = {}

    def left_s(self) -> float | None:
        """Return the seconds until the next heartbeat; None if none is sent."""
        if self._period_s is None:
            return None
        return max(self._next_at - time.monotonic(), 0.0)

    def send_if_due(self) -> None:
        """Send a heartbeat of each worker if it is time; find those that were removed.

        What the host uses goes along in the same round trip.
        """
        now = time.monotonic()
        if self._period_s is None or now < self._next_at:
            return
        self._next_at = now + self._period_s
        if not self.workers:
            return
        usage = self._meter.measure(self.workers.values())
        host = host_record(len(self.workers), usage, self._period_s)
        try:
            out = beat(self._connection, self._keys, self.workers, self._node_id, host)
        except RushError:
            return  # the next heartbeat is the next try
        self._have_joined.update(set(self.workers) - set(out))
        for worker_id, state in out.items():
            # A lost worker may come back, and one that has left ends by itself.
            is_removed = state == "killed" or (not state and worker_id in self._have_joined)
            if is_removed and worker_id not in self._reported:
                self._reported.add(worker_id)
                self._on_removed(worker_id)
