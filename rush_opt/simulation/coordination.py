"""What the coordination of the workers costs in virtual time: requests, the server, reading."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

__all__ = ["ALONE", "ON_NODES", "Coordination", "VirtualServer"]


@dataclass(frozen=True)
class Coordination:
    """What a step costs: the end of a trial, learning of new results, the start of the next one.

    Parameters
    ----------
    step_s : float
        What a worker takes for its own requests, while the server has nothing else to do, seconds.
    record_s : float
        What a worker takes to read one record, seconds. To add it to the archive comes on top.
    server_step_s, server_record_s : float
        How long the server is busy with the requests of one step, and with one record that is
        read, seconds.
    workers_per_reader : int
        How many workers share one that reads the server.
    """

    step_s: float
    record_s: float
    server_step_s: float
    server_record_s: float
    workers_per_reader: int

    def server_s(self, n_followers: int) -> float:
        """Return how long each step keeps the server busy: its record is read by all readers.

        Parameters
        ----------
        n_followers : int
            How many workers follow the results of all.
        """
        n_readers = math.ceil(n_followers / self.workers_per_reader)
        return self.server_step_s + self.server_record_s * n_readers


# On nodes, one process of each host reads for all workers of this host.
# Measured on one machine: see results/tables/core_load.md, core_load_hosts.md and record_cost.md. A
# busy server takes less time for a step than one that is woken for each request: with 16,384
# workers it took 55 µs per task, in which each record was read by 128 hosts.
ON_NODES = Coordination(
    step_s=0.3e-3,
    record_s=0.46e-6,
    server_step_s=37e-6,
    server_record_s=0.145e-6,
    workers_per_reader=128,
)
# Each worker reads for itself.
ALONE = replace(ON_NODES, record_s=0.47e-6, workers_per_reader=1)


class VirtualServer:
    """A server that handles the steps of all workers one after another.

    Parameters
    ----------
    step_s : float
        How long a step keeps it busy, seconds.
    """

    def __init__(self, step_s: float) -> None:
        self._step_s = step_s
        self._free_at = 0.0

    def handle(self, now: float) -> float:
        """Handle a step that begins now; return the seconds until it is done."""
        self._free_at = max(self._free_at, now) + self._step_s
        return self._free_at - now
