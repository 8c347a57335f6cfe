"""How a worker joins its network, leaves it, returns to it after a loss and is asked to stop.

These are the transitions of the worker itself. What others do with a worker is in
`rush_core.membership.registry`.
"""

from __future__ import annotations

from rush_core.connection.connection import Connection, pack
from rush_core.connection.script import Script, execute_on, retry_unreachable
from rush_core.errors import RushError, WorkerLostError
from rush_core.kernel.workers import WorkerState, registration, removal
from rush_core.keys import NetworkKeys

__all__ = ["Participation"]

# Replies of register_worker.lua that are no number of a worker.
_NOT_LOST, _UNWANTED = -2, -3

# How long a worker that leaves tries to reach the server, seconds: it should not delay the end of
# its process.
_LEAVE_PATIENCE_S = 5.0


class Participation:
    """The registration of one worker in its network.

    Parameters
    ----------
    connection : Connection
    keys : NetworkKeys
    worker_id : str
    heartbeat_s : float or None
        Seconds without a heartbeat after which the worker counts as lost; None if it sends none.
    """

    def __init__(
        self,
        connection: Connection,
        keys: NetworkKeys,
        worker_id: str,
        heartbeat_s: float | None,
    ) -> None:
        self._connection = connection
        self._keys = keys
        self._worker_id = worker_id
        self._heartbeat_s = heartbeat_s
        self._read_epoch = pack((b"HGET", keys.clients, worker_id))

    def join(self, at: float, epoch: int) -> int:
        """Register the worker; one round trip, atomic.

        A registration whose reply was lost is sent again; the server recognises it.

        Parameters
        ----------
        at : float
            Seconds since 1970 by the server's clock.
        epoch : int
            Higher than every epoch that the worker used before.

        Returns
        -------
        int
            The worker's number in the network.

        Raises
        ------
        RushError
            If a worker of this name is registered.
        WorkerLostError
            If the manager that named this worker no longer wants it.
        """
        return self._register(at, epoch, is_return=False)

    def rejoin(self, at: float, epoch: int) -> int:
        """Register the worker again after it was declared lost; otherwise like `join`.

        Raises
        ------
        WorkerLostError
            If it was not lost: a manager killed it, or the network was reset.
        """
        return self._register(at, epoch, is_return=True)

    def leave(
        self, at: float, reason: str | None, state: WorkerState = WorkerState.STOPPED
    ) -> None:
        """Remove the worker, and fail the tasks that it is running; one round trip, atomic."""
        arguments = removal(
            self._worker_id,
            state,
            at=at,
            reason=reason or "",
            task_error=reason or "the worker left the network before the task ended",
        )
        script = Script("remove_worker", self._keys, self._worker_id)
        retry_unreachable(lambda: script.run(self._connection, *arguments), _LEAVE_PATIENCE_S)

    def fetch_epoch(self) -> bytes | None:
        """Fetch the worker's epoch, which ends with "s" if it was asked to stop; one round trip.

        Returns
        -------
        bytes or None
            None if the worker is no longer registered.
        """
        epoch: bytes | None = retry_unreachable(
            lambda: execute_on(self._connection, self._keys.clients, self._read_epoch)
        )
        return epoch

    def request_stop(self, connection: Connection) -> None:
        """Ask the worker to stop, over another connection than its own; one round trip.

        A claim that waits in the server then returns.
        """
        Script("request_stop", self._keys).run(connection, self._worker_id.encode())

    def _register(self, at: float, epoch: int, *, is_return: bool) -> int:
        arguments = (
            self._worker_id.encode(),
            b"%d" % epoch,
            registration(self._worker_id, at, self._heartbeat_s),
            b"" if self._heartbeat_s is None else b"1",
            b"1" if is_return else b"",
        )
        script = Script("register_worker", self._keys, self._worker_id)
        number: int = retry_unreachable(lambda: script.run(self._connection, *arguments))
        if number < 0:
            raise self._refusal(number)
        return number

    def _refusal(self, reply: int) -> RushError:
        worker_id, network_id = self._worker_id, self._keys.network_id
        if reply == _UNWANTED:
            return WorkerLostError(
                f"worker {worker_id!r} may not join network {network_id!r}: its manager was "
                "closed, or no longer waits for it; start new workers",
                key=worker_id,
            )
        if reply == _NOT_LOST:
            return WorkerLostError(
                f"worker {worker_id!r} cannot return to network {network_id!r}: it was killed, or "
                "the network was reset; make a new Worker to go on",
                key=worker_id,
            )
        return RushError(
            f"network {network_id!r} has a worker named {worker_id!r} already; choose another "
            "worker_id, or give none to have one made",
            key=worker_id,
        )
