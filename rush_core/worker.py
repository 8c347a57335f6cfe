"""The public `Worker`: the kernel's worker, joined to the rooms around the kernel.

The kernel does not import these rooms. Here they meet: this module gives the kernel the two
functions that it needs from them.
"""

from __future__ import annotations

from collections.abc import Callable

from rush_core.kernel.heartbeat import Heartbeat
from rush_core.kernel.surroundings import Heart, Surroundings, install
from rush_core.kernel.worker import Worker
from rush_core.keys import NetworkKeys
from rush_core.membership.heartbeat import HeartbeatThread
from rush_core.membership.heartbeat_process import HeartbeatProcess
from rush_core.servers.locate import resolve_url

__all__ = ["Worker"]


def _start_heart(
    heartbeat: Heartbeat,
    url: str,
    keys: NetworkKeys,
    worker_id: str,
    on_killed: Callable[[], None],
) -> Heart:
    """Send a worker's heartbeats, from a thread or from a separate process."""
    if heartbeat.own_process:
        return HeartbeatProcess(url, keys.network_id, worker_id, heartbeat)
    return HeartbeatThread(url, keys, worker_id, heartbeat, on_killed)


install(Surroundings(resolve_url=resolve_url, start_heart=_start_heart))
