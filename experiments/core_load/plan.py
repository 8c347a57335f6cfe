"""What a load consists of."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class HostPlan:
    """What the workers of a host share.

    Parameters
    ----------
    n_workers : int
        Of one host.
    read_pause_s : float
        From the end of a read of the host's reader to the next one.
    write_pause_s : float or None
        Least time between two sends of a host. None if each worker writes for itself.
    heartbeat_s : float
        From one heartbeat of all workers of a host to the next.
    """

    n_workers: int
    read_pause_s: float
    write_pause_s: float | None = None
    heartbeat_s: float = 3.0


@dataclass(frozen=True)
class LoadPlan:
    """What the simulated workers do.

    Parameters
    ----------
    n_workers : int
    read_every : int or None
        In which of its steps a worker reads what is new: every so many; None for never.
    warm_up_s, window_s : float
        What is measured begins after the one and lasts as long as the other.
    period_s : float
        Between two steps of one worker.
    hosts : HostPlan, optional
        None if each worker is on its own.
    """

    n_workers: int
    read_every: int | None
    warm_up_s: float
    window_s: float
    period_s: float = 1.0
    hosts: HostPlan | None = None
