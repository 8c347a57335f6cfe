"""The reader process of a node, as the forking process sees it.

It is forked when a worker first wants the logs, or when the first worker that has heartbeats is
forked. If it ends, it is forked again. What it does is in `rush_core.node.reader_process`.
"""

from __future__ import annotations

import contextlib
import math
import select
import socket
import time
from typing import NamedTuple

from rush_core.kernel.shared_log import SharedLogs
from rush_core.launching.forked_children import ForkedChildren

__all__ = ["ForkedReader", "NodeReader"]

# The name of the reader among the children: no worker can have it.
_NAME = ""

# How long after its last start it is forked again, seconds: its end may have a lasting cause.
_PAUSE_S = 1.0


class ForkedReader(NamedTuple):
    """What a process has that was forked to be the reader.

    Attributes
    ----------
    shared : SharedLogs
    channel : socket
        From it come the names and process numbers of the workers; to it go the names of those that
        were removed.
    """

    shared: SharedLogs
    channel: socket.socket

    def report_removed(self, worker_id: str) -> None:
        """Tell the forking process that the process of a worker should end."""
        self.channel.sendall(worker_id.encode() + b"\n")


class NodeReader:
    """Starts the reader process and talks with it.

    Parameters
    ----------
    children : ForkedChildren
    shared : SharedLogs or None
        None if the workers do without a reader.
    sends_heartbeats : bool
        Whether it sends the heartbeats of the workers.
    """

    def __init__(
        self, children: ForkedChildren, shared: SharedLogs | None, *, sends_heartbeats: bool
    ) -> None:
        self._children = children
        self._shared = shared
        self._sends_heartbeats = sends_heartbeats
        self._channel: socket.socket | None = None
        self._start_at = -math.inf
        self._named: list[str] = []
        self._rest = b""

    def sources(self) -> list[int]:
        """Return the descriptors that become readable when `look_after` has something to do."""
        if self._channel is not None:
            return [self._channel.fileno()]
        if self._shared is None or time.monotonic() < self._start_at:
            return []
        return [self._shared.wanted] if len(self._children.names()) > 1 else []

    def seconds_left(self) -> float | None:
        """Return after how many seconds `look_after` has to be called; None for never."""
        left_s = self._start_at - time.monotonic()
        return left_s if self._channel is None and left_s > 0 else None

    def take_end(self, ended: dict[str, int]) -> None:
        """Take the reader out of the children that have ended, if it is among them."""
        if ended.pop(_NAME, None) is not None:
            self.close()

    def look_after(self) -> ForkedReader | None:
        """Start the process if it is needed, and talk with it.

        Returns
        -------
        ForkedReader or None
            None unless this process is the new reader.
        """
        if self._channel is None and self._shared is not None and self._is_needed(self._shared):
            forked = self._start(self._shared)
            if forked is not None:
                return forked
        if self._channel is not None:
            self._kill_removed(self._channel)
            self._send_names(self._channel)
        return None

    def close(self) -> None:
        """Let the process end."""
        if self._channel is not None:
            self._children.keep_closed.discard(self._channel)
            self._channel.close()
            self._channel = None
            self._named, self._rest = [], b""

    def _is_needed(self, shared: SharedLogs) -> bool:
        if time.monotonic() < self._start_at:
            return False
        names = self._children.names()
        if self._sends_heartbeats and names:
            return True
        # A single worker can as well read the server.
        return len(names) > 1 and bool(select.select([shared.wanted], [], [], 0)[0])

    def _start(self, shared: SharedLogs) -> ForkedReader | None:
        """Fork the process; return None in this one, also if the system has no room for it."""
        self._start_at = time.monotonic() + _PAUSE_S
        ours, others = socket.socketpair()
        self._channel = ours
        self._children.keep_closed.add(ours)
        try:
            if self._children.fork(_NAME):
                return ForkedReader(shared, others)
        except OSError:
            self.close()
        else:
            ours.setblocking(False)
        others.close()
        return None

    def _kill_removed(self, channel: socket.socket) -> None:
        """Kill the workers that somebody has removed from the network."""
        with contextlib.suppress(BlockingIOError, ConnectionError):
            *names, self._rest = (self._rest + channel.recv(65536)).split(b"\n")
            for name in names:
                self._children.kill(name.decode())

    def _send_names(self, channel: socket.socket) -> None:
        """Tell the reader for which workers it reads and sends heartbeats, if this has changed."""
        named = [f"{name}/{pid}" for name, pid in self._children.pids().items()]
        if named == self._named:
            return
        self._named = named
        try:
            channel.sendall(" ".join(named).encode() + b"\n")
        except ConnectionError:
            pass  # it has ended, which is noticed
        except BlockingIOError:  # it hangs, and half a line may have been sent
            self._children.kill(_NAME)
