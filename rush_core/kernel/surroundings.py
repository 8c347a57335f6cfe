"""What a worker needs from the rooms around the kernel: the URL of a server, and a heart.

The kernel does not import these rooms. `rush_core.worker` imports both sides and calls `install`.
This happens while the package is imported, so it is done before a worker can be made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from rush_core.kernel.heartbeat import Heartbeat
from rush_core.keys import NetworkKeys

__all__ = ["Heart", "Surroundings", "install", "surroundings"]


class Heart(Protocol):
    """Sends the heartbeats of one worker until it is closed."""

    def close(self) -> None:
        """Send no more heartbeats."""


@dataclass(frozen=True)
class Surroundings:
    """The functions that the rooms around the kernel provide.

    Parameters
    ----------
    resolve_url : callable
        ``resolve_url(url, network_id)`` returns the URL of the server to connect to. If `url` is
        None it reads the environment, or starts an embedded server.
    start_heart : callable
        ``start_heart(heartbeat, url, keys, worker_id, on_killed)`` begins to send the worker's
        heartbeats and returns its `Heart`. The heart calls ``on_killed()`` when it finds that a
        manager has killed the worker.
    """

    resolve_url: Callable[[str | None, str], str]
    start_heart: Callable[[Heartbeat, str, NetworkKeys, str, Callable[[], None]], Heart]


_installed: list[Surroundings] = []


def install(provided: Surroundings) -> None:
    """Use these functions for all workers that are made from now on."""
    _installed[:] = [provided]


def surroundings() -> Surroundings:
    """Return the installed functions."""
    return _installed[0]
