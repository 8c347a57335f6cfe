"""The life of a worker: load the loop, join the network, run the loop, leave."""

from __future__ import annotations

import contextlib
import logging
import signal
from collections.abc import Callable

from rush_core.connection.script import retry_unreachable
from rush_core.errors import WorkerInterrupt
from rush_core.kernel.heartbeat import Heartbeat
from rush_core.kernel.shared_log import SharedLogs
from rush_core.keys import NetworkKeys
from rush_core.launching.output import write_lines_at_once
from rush_core.launching.process_exit import limit_exit
from rush_core.launching.shipping import ShippedLoop
from rush_core.launching.signals import StopSignals, stop_signals_held_back
from rush_core.membership.log_handler import log_to_network
from rush_core.owned_process import take_owner_pipe
from rush_core.worker import Worker

__all__ = ["run_worker"]

_logger = logging.getLogger(__name__)


def run_worker(
    network_id: str,
    *,
    url: str,
    load: Callable[[], ShippedLoop],
    worker_id: str | None,
    heartbeat: Heartbeat | None,
    log_level: str,
    owns_process: bool = True,
    orphan_check: bool = False,
    shared: SharedLogs | None = None,
) -> signal.Signals | None:
    """Load the shipped loop, join the network, run the loop and leave.

    Parameters
    ----------
    network_id, url : str
    load : callable
        Returns the loop: `functools.partial` of `fetch_loop`, for example.
    worker_id : str or None
        None for a random one.
    heartbeat : Heartbeat or None
        None if the manager watches this process.
    log_level : str
        The least severe log records that are sent to the network.
    owns_process : bool
        Whether this process runs only the worker, so that its signals and its exit belong to the
        worker; False inside an executor.
    orphan_check : bool
        Whether the manager owns this process, so that the worker must leave when the manager ends
        (see `rush_core.owned_process`).
    shared : SharedLogs, optional
        What the node of this process reads for all its workers; it also sends their heartbeats.

    Returns
    -------
    signal.Signals or None
        The signal from outside that stopped the worker, if one did.

    Raises
    ------
    LoopError
        If the loop is missing, altered, not signed or cannot be unpickled; the worker has not
        joined.
    """
    keys = NetworkKeys(network_id)
    pipe = take_owner_pipe() if orphan_check else None
    if owns_process:
        write_lines_at_once()
    loop, args, kwargs = load()
    signals = StopSignals()
    # A signal that arrives between the registration and the handlers would end a registered worker.
    with stop_signals_held_back() if owns_process else contextlib.nullcontext():
        worker = retry_unreachable(
            lambda: Worker(
                network_id,
                url=url,
                worker_id=worker_id,
                heartbeat=heartbeat,
                on_killed=signals.leave_now if owns_process else None,
                shared=shared,
            )
        )
        if owns_process:
            signals.stop_worker(worker)
    try:
        with worker, log_to_network(url, keys, worker.worker_id, log_level):
            if pipe is not None:
                signals.leave_with_owner(pipe)
            try:
                loop(worker, *args, **kwargs)
            except Exception:
                _logger.exception("the worker loop failed")
                raise
    except WorkerInterrupt:
        # Two signals from outside: the manager that owns this process learns it from the exit code.
        if not (orphan_check and signals.received):
            raise
    finally:
        if owns_process:
            limit_exit()
    return signals.received
