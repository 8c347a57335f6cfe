"""The server's time, from a process's own monotonic clock."""

from __future__ import annotations

import time

from rush_core.connection.connection import Connection, pack

__all__ = ["ServerClock"]

_TIME = pack(("TIME",))


class ServerClock:
    """Tells the server's time without asking it each time; one round trip when made.

    The offset to this process's monotonic clock is measured when it is made: differences of two
    readings are exact durations, and readings of several hosts agree to about half a round trip.
    That clock stands still while its machine is suspended: `fetch` sets this one right again.

    Parameters
    ----------
    connection : Connection
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.fetch()

    def fetch(self) -> float:
        """Ask the server for the time, and tell it by that from now on; one round trip."""
        before = time.monotonic()
        seconds, microseconds = self._connection.execute(_TIME)
        after = time.monotonic()
        self._offset = int(seconds) + int(microseconds) / 1e6 - (before + after) / 2
        return self.now()

    def now(self) -> float:
        """Return the time, seconds since 1970."""
        return time.monotonic() + self._offset
