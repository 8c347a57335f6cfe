"""The time by the server's clock, without a round trip for each reading."""

from __future__ import annotations

import time

from rush_core.connection.connection import Connection, pack

__all__ = ["ServerClock"]

_TIME = pack(("TIME",))


class ServerClock:
    """Tells the time by the server's clock.

    It measures the difference between the server's clock and this process's monotonic clock once,
    in one round trip, and adds it to each reading of the monotonic clock. So differences of two
    readings are exact durations, and readings on several machines agree to about half a round trip.

    The monotonic clock stops while the machine is suspended. `fetch` measures the difference again.

    Parameters
    ----------
    connection : Connection
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.fetch()

    def fetch(self) -> float:
        """Measure the difference again and return the time, seconds since 1970; one round trip."""
        before = time.monotonic()
        seconds, microseconds = self._connection.execute(_TIME)
        after = time.monotonic()
        self._offset = int(seconds) + int(microseconds) / 1e6 - (before + after) / 2
        return self.now()

    def now(self) -> float:
        """Return the time, seconds since 1970; no round trip."""
        return time.monotonic() + self._offset
