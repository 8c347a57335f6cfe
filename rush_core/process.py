"""What a worker process is: join, run the worker loop, leave whatever happens.

The first SIGTERM or SIGINT makes the worker stop after its task, the second at once; then the task
is failed on the way out. A worker started as a local child also ends when its manager does.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from types import FrameType
from typing import Any

from rush_core.connection import Connection
from rush_core.errors import WorkerInterrupt
from rush_core.keys import NetworkKeys
from rush_core.shipping import load_loop
from rush_core.worker import Worker

__all__ = ["run_worker"]

# How long an orphaned worker may take to fail its task before it is ended the hard way.
_LAST_WORDS_S = 5.0


def run_worker(
    network_id: str, *, url: str, loop_digest: str, worker_id: str | None, orphan_check: bool
) -> None:
    """Fetch the shipped loop, join the network, run the loop and leave.

    Parameters
    ----------
    network_id, url : str
    loop_digest : str
        Which loop, as `store_loop` returned it.
    worker_id : str or None
    orphan_check : bool
        Whether standard input is a pipe from the manager whose end means that it is gone.

    Raises
    ------
    LoopError
        If there is no such loop, or not one to be trusted; nothing was joined.
    """
    connection = Connection(url)
    loop, args, kwargs = load_loop(connection, NetworkKeys(network_id), loop_digest)
    connection.close()
    with Worker(network_id, url=url, worker_id=worker_id) as worker:
        signals = _Signals(worker)
        signal.signal(signal.SIGTERM, signals.handle)
        signal.signal(signal.SIGINT, signals.handle)
        if orphan_check:
            threading.Thread(target=signals.watch_manager, daemon=True).start()
        loop(worker, *args, **kwargs)


class _Signals:
    """Turns signals into stopping after the task, and then into leaving at once."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._leave_at_next = False

    def handle(self, number: int, frame: FrameType | None) -> Any:
        if not self._leave_at_next:
            self._leave_at_next = True
            self._worker.stop_after_task()
            return
        # From here on the worker is busy failing its task: nothing may interrupt that.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        raise WorkerInterrupt(f"stopped at once by {signal.Signals(number).name}")

    def watch_manager(self) -> None:
        while os.read(0, 1):
            pass
        self._leave_at_next = True
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_LAST_WORDS_S)  # the main thread leaves meanwhile, unless foreign code holds it
        os._exit(1)
