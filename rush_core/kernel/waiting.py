"""Waiting in the server until a network changes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import hiredis

from rush_core.connection.connection import Connection, pack
from rush_core.connection.script import Script, pack_sleep, retry_unreachable
from rush_core.errors import ServerFullError, ServerUnreachableError
from rush_core.keys import NetworkKeys

__all__ = ["ChangeWaiter"]


class ChangeWaiter:
    """Waits for changes in the name of one client.

    Parameters
    ----------
    connection : Connection
        The connection on which it waits.
    keys : NetworkKeys
    client_id : str
        Scripts push to the wake list of this client.
    """

    def __init__(self, connection: Connection, keys: NetworkKeys, client_id: str) -> None:
        self._connection = connection
        self._keys = keys
        self.rename_client(client_id)
        # The numbers at the end of the last wait: the next one ends at once if they have changed.
        self._n_finished = self._n_failed = self._n_joined = self._n_clients = 0

    def rename_client(self, client_id: str) -> None:
        """Wait in the name of this client from now on."""
        self._wake_list = self._keys.wake(client_id)
        prefix = {"client": client_id.encode()}
        self._script = Script("wait_for_change", self._keys, client_id, prefix)

    def wait(self, timeout_s: float) -> None:
        """Wait until the network changes; return at once if it has changed since the last wait."""
        read = pack((b"LLEN", self._keys.finished))
        (self._n_finished,) = self.wait_and_read(timeout_s, self._n_finished, read)

    def wait_and_read(
        self, timeout_s: float, n_finished: int, *reads: bytes, n_failed: int | None = None
    ) -> list[Any]:
        """Wait until the network changes or the time is over, also if the server goes away.

        Parameters
        ----------
        timeout_s : float
        n_finished : int
            How many finished tasks the caller knows.
        *reads : bytes
            Packed requests that are executed at the end of the wait.
        n_failed : int, optional
            How many failed tasks the caller knows; by default those at the end of the last wait.

        Returns
        -------
        list
            The replies to `reads`.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            left_s = max(deadline - time.monotonic(), 0.0)
            try:
                return self._wait_once(left_s, n_finished, n_failed, reads)
            except ServerFullError:  # a wait needs a little room
                return retry_unreachable(lambda: self._wait_once(0.0, n_finished, n_failed, reads))
            except ServerUnreachableError:
                retry_unreachable(lambda: self._connection.execute(pack((b"PING",))))

    def _wait_once(
        self, timeout_s: float, n_finished: int, n_failed: int | None, reads: Sequence[bytes]
    ) -> list[Any]:
        n_failed = self._n_failed if n_failed is None else n_failed
        known = (n_finished, n_failed, self._n_joined, self._n_clients)
        replies = self._connection.execute_many(
            (
                self._script.pack_source(*known),
                pack_sleep(self._wake_list, timeout_s),
                pack((b"LLEN", self._keys.failed)),
                pack((b"HLEN", self._keys.workers)),
                pack((b"HLEN", self._keys.clients)),  # becomes smaller when a worker leaves
                *reads,  # at the end, so that they include all that was counted
            ),
            block_s=timeout_s,
        )
        for reply in replies:
            if isinstance(reply, hiredis.ReplyError):
                raise self._script.refused(self._connection, reply)
        self._n_failed, self._n_joined, self._n_clients = replies[2:5]
        return replies[5:]
