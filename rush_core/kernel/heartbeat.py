"""The settings of a worker's heartbeat; `rush_core.membership.heartbeat` sends it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Heartbeat"]


@dataclass(frozen=True)
class Heartbeat:
    """How often a worker proves that it is alive, and after what silence it counts as lost.

    Parameters
    ----------
    period_s : float
        Seconds between two heartbeats.
    expire_s : float
        Seconds of silence after which the worker counts as lost. Choose several periods: a busy
        machine may delay a heartbeat, and the server may be away for a moment.
    own_process : bool
        Whether a separate process sends the heartbeats. Use it for objectives that hold the
        interpreter's lock longer than `expire_s`: they would stop a thread. Forked workers always
        have such a process, one for all of them.

    Raises
    ------
    ValueError
        Unless ``0 < period_s <= expire_s < 1e6``.
    """

    period_s: float = 3.0
    expire_s: float = 15.0
    own_process: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.period_s <= self.expire_s < 1e6:
            raise ValueError(
                f"need 0 < period_s <= expire_s, got {self.period_s!r} and {self.expire_s!r}; a "
                "live worker would count as lost between two heartbeats"
            )
