"""The network as its manager sees it: push, fetch, count, look after workers."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rush_core.arguments import check_count, check_timeout, error_text, line_up
from rush_core.connection.clock import ServerClock
from rush_core.connection.connection import Connection, check_server, pack
from rush_core.connection.fork import renew_in_child
from rush_core.connection.script import Script, execute_on, retry_unreachable
from rush_core.connection.url import redact
from rush_core.errors import CorruptRecordError, RushError
from rush_core.kernel.codec import decode, encode_record
from rush_core.kernel.reader import TaskReader
from rush_core.kernel.report import Report
from rush_core.kernel.table import TaskTable
from rush_core.kernel.task import TaskCounts, ended_record, failed_end, key_sequence, queued_records
from rush_core.kernel.transitions import Transitions
from rush_core.kernel.workers import WorkerInfo, fetch_workers
from rush_core.keys import NetworkKeys
from rush_core.launching.shipping import MOST_BYTES, pack_loop, store_loop
from rush_core.launching.started_workers import Crew
from rush_core.membership.heartbeat import Heartbeat
from rush_core.membership.log import LogReader, LogRecord
from rush_core.membership.registry import Registry
from rush_core.servers.embedded import resolve_url

__all__ = ["Network"]


class Network:
    """A network of tasks and workers, from the outside.

    Any number of these may look at one network. The data stay in the server when one is closed.
    Without a `url`, a named network has an embedded server of its own, which ends with the process
    that started it and leaves the data in a folder (see `data_folder_of`): whoever opens the
    network again finds its tasks and results.

    Threads may share it: what one of them is given as new no other is. A forked child may use its
    parent's object, too: there it counts as another one, which has started no workers.

    Parameters
    ----------
    network_id : str, optional
        All that share it in one server share tasks, workers and logs; by default a random name,
        and then an embedded server keeps nothing.
    url : str, optional
        ``redis://``, ``rediss://``, ``unix://`` or ``redis+sentinel://``; by default
        `RUSH_REDIS_URL`, `REDIS_URL` or an embedded server.
    max_retries : int
        How often a task whose worker this object finds lost is queued again before it is failed,
        0 to 127.

    Raises
    ------
    TypeError, ValueError
        If `network_id`, `max_retries` or `url` cannot be used.
    ServerUnreachableError
        If no server answers at `url`, or it refuses the password.
    ServerRefusedError
        If the server is too old.
    ServerNotFoundError
        If none was given and none can be started.

    Examples
    --------
    >>> with Network("my-run") as network:
    ...     network.push_tasks([{"x": 1}, {"x": 2}])
    ...     network.start_workers(loop, 4)
    """

    def __init__(
        self, network_id: str | None = None, url: str | None = None, *, max_retries: int = 0
    ) -> None:
        if isinstance(max_retries, bool) or not isinstance(max_retries, int):
            raise TypeError(f"max_retries must be a whole number, got {max_retries!r}")
        if not 0 <= max_retries <= 127:
            raise ValueError(f"max_retries must be between 0 and 127, got {max_retries}")
        self.network_id = f"private-{secrets.token_hex(6)}" if network_id is None else network_id
        self._keys = NetworkKeys(self.network_id)
        self.url = resolve_url(url, network_id)
        self._connection = Connection(self.url)
        try:
            check_server(self._connection)
            self._clock = ServerClock(self._connection)
        except BaseException:
            self._connection.close()
            raise
        # Threads that watch processes use the other connection while this one waits.
        self._waiting_connection = Connection(self.url)
        self._registry = Registry(self._connection, self._keys, max_retries)
        self._become_one()
        self._reader = TaskReader(
            self._connection, self._keys, self._client_id, waiting=self._waiting_connection
        )
        renew_in_child(self, Network._become_another)

    def __repr__(self) -> str:
        return f"<Network {self.network_id!r} at {redact(self.url)}>"

    # -- tasks --------------------------------------------------------------------------------

    def push_tasks(
        self,
        configs: Sequence[dict[str, Any]],
        *,
        extras: Sequence[dict[str, Any] | None] | None = None,
    ) -> list[str]:
        """Append tasks to the queue; one round trip, all or none.

        Parameters
        ----------
        configs : sequence of dict
            The configurations to evaluate.
        extras : sequence of dict, optional
            Kept with each task.

        Returns
        -------
        list of str
            The tasks' keys.

        Raises
        ------
        TypeError, ValueError
            If a value cannot be stored; nothing was written.
        """
        given = line_up(configs=configs, extras=extras)
        keys, records = queued_records(self._keys_of_tasks, given)
        if records:
            self._transitions.push(records)
        return keys

    def push_finished_tasks(
        self,
        configs: Sequence[dict[str, Any]],
        results: Sequence[dict[str, Any]],
        *,
        extras: Sequence[dict[str, Any] | None] | None = None,
    ) -> list[str]:
        """Append tasks that were evaluated elsewhere as finished; otherwise as `push_tasks`."""
        ended = [
            (config, extra, result, None)
            for config, result, extra in line_up(configs=configs, results=results, extras=extras)
        ]
        return self._push_ended(self._transitions.push_finished, ended)

    def push_failed_tasks(
        self,
        configs: Sequence[dict[str, Any]],
        errors: Sequence[str | BaseException],
        *,
        extras: Sequence[dict[str, Any] | None] | None = None,
    ) -> list[str]:
        """Append tasks that failed elsewhere; otherwise as `push_tasks`."""
        ended = [
            (config, extra, None, error_text(error))
            for config, error, extra in line_up(configs=configs, errors=errors, extras=extras)
        ]
        return self._push_ended(self._transitions.push_failed, ended)

    def clear_queue(self) -> int:
        """Make all queued tasks failed; one round trip, atomic. Returns how many."""
        end = failed_end(self._clock.now(), "taken out of the queue", None)
        return self._transitions.clear_queue(end)

    def fetch_tasks(self, *states: str) -> TaskTable:
        """Fetch the tasks in `states` (default: all) as one consistent look; one round trip.

        Parameters
        ----------
        *states : str or TaskState
            Any of queued, running, finished, failed; the table has them in this order.
        """
        return self._reader.fetch(states)

    def fetch_finished_tasks(self) -> TaskTable:
        """Fetch all finished tasks; one round trip that transfers only what is new."""
        return self._reader.fetch_finished()

    def fetch_new_tasks(self, *, timeout_s: float = 0.0) -> TaskTable:
        """Fetch the tasks finished since the last such call, and keep none of them.

        One round trip. If nothing is new, the server keeps its reply back until a task ends, a
        worker joins or leaves, or `timeout_s` seconds are over; the table can then be empty.
        """
        return self._reader.fetch_new(timeout_s)

    def fetch_new_reports(self) -> list[Report]:
        """Fetch what workers reported since the last such call, in order, and keep none of it.

        One round trip.
        """
        return self._reader.fetch_new_reports()

    def count_tasks(self) -> TaskCounts:
        """Count the tasks in each place as one look; one round trip."""
        return self._reader.count()

    def push_about(self, about: dict[str, Any]) -> dict[str, Any]:
        """Say what the tasks of this network are about, unless somebody has; two round trips.

        Returns
        -------
        dict
            What was said first, by this call or another: it stays until `reset`.

        Raises
        ------
        TypeError, ValueError
            If a value cannot be stored; nothing was written.
        """
        k, connection = self._keys, self._connection
        first = pack((b"SET", k.about, encode_record((about,), ("about",), about, None), b"NX"))
        retry_unreachable(lambda: connection.execute(first))
        said = retry_unreachable(lambda: execute_on(connection, k.about, pack((b"GET", k.about))))
        try:
            (found,) = decode(said)
        except (ValueError, TypeError) as error:
            raise CorruptRecordError(
                f"{k.about.decode()} holds bytes that say nothing ({error})", key=k.about.decode()
            ) from None
        return dict(found)

    def now(self) -> float:
        """Return the server's time, seconds since 1970; no round trip."""
        return self._clock.now()

    def fetch_time(self) -> float:
        """Ask the server for its time, seconds since 1970; one round trip.

        `now` goes by this answer from here on. Without asking again it falls behind when this
        machine is suspended.
        """
        return retry_unreachable(self._clock.fetch)

    # -- workers ------------------------------------------------------------------------------

    def start_workers(
        self,
        loop: Callable[..., Any],
        n_workers: int,
        *,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        executor: Executor | None = None,
        heartbeat: Heartbeat | None = None,
        log_folder: str | Path | None = None,
        log_level: str = "INFO",
        shared_folder: str | Path | None = None,
    ) -> list[str]:
        """Start workers that run ``loop(worker, *args, **kwargs)``.

        By default they are processes on this machine: each a fresh interpreter with one thread per
        numerical library, which ends when this process does. When one is killed or crashes, its
        running tasks become failed at once. When a loop has returned, threads and processes that it
        left behind have 5 s to end.

        Parameters
        ----------
        loop : callable
            Closures and functions of notebooks are shipped by value.
        n_workers : int
        args, kwargs : sequence, mapping, optional
            Further arguments of the loop.
        executor : concurrent.futures.Executor, optional
            Where to run the workers instead: a process pool, Dask's ``client.get_executor()``,
            ``mpi4py.futures`` or submitit's executor. Each occupies one of its places until it
            ends, and its processes must reach the server.
        heartbeat : Heartbeat, optional
            How workers of an executor prove that they live; processes on this machine are watched.
        log_folder : path, optional
            Where a file for each process's output is kept, of processes on this machine; by default
            it is removed on `close`.
        log_level : str
            The least severe records of `logging` that workers send to the network (`read_log`).
        shared_folder : path, optional
            A folder, at the same path on all machines, through which the loop and its arguments go
            instead of through the server, which takes up to 64 MiB. The file stays there.

        Returns
        -------
        list of str
            The ids of the workers, which join shortly (see `wait_for_workers`).

        Raises
        ------
        TypeError, ValueError
            If `n_workers` is no count, or an option is given that has no effect here; nothing was
            started.
        LoopError
            If the loop or its arguments cannot be pickled, or are too large for the server; nothing
            was started.
        WorkersFailedError
            If the executor takes no call, or no more: a pool that is broken, for example.
        """
        n_workers = check_count("n_workers", n_workers, least=1)
        if executor is None and heartbeat is not None:
            raise ValueError(
                f"heartbeat={heartbeat!r} is for workers of an executor; processes on this machine "
                "are watched: leave it out"
            )
        if executor is not None and log_folder is not None:
            raise ValueError(
                f"log_folder={str(log_folder)!r} is for processes on this machine; workers of an "
                "executor write where it lets them: leave it out"
            )
        packed = _pack(loop, args, kwargs, shared_folder)
        folder = _path(log_folder)
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        digest = store_loop(self._connection, self._keys, packed, _path(shared_folder))
        self.allow_workers()
        if executor is not None:
            return self._crew.submit(
                executor, n_workers, digest, heartbeat or Heartbeat(), log_level
            )
        return self._crew.start_processes(n_workers, digest, folder, log_level)

    def wait_for_workers(
        self,
        n: int | None = None,
        *,
        worker_ids: Sequence[str] | None = None,
        timeout_s: float | None = None,
    ) -> None:
        """Wait until workers have joined; the server wakes this process when one does.

        Parameters
        ----------
        n : int, optional
            How many in all; by default those this object started.
        worker_ids : sequence of str, optional
            Which ones, instead of how many.
        timeout_s : float, optional
            Longest wait, seconds.

        Raises
        ------
        TimeoutError
            If they have not joined by then.
        WorkersFailedError
            If one of `worker_ids`, by default any that this object started, ended before it joined;
            with the last words of a process.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        wanted = set(worker_ids or ())
        if worker_ids is None and n is None:
            wanted = set(self._crew.started())
        while True:
            ended = self._crew.ends()  # before looking who joined: a loop can be short
            joined = {worker.worker_id for worker in self.fetch_workers()}
            if wanted <= joined and len(joined) >= (n or 0):
                return
            if worker_ids is not None:
                ended = {worker_id: how for worker_id, how in ended.items() if worker_id in wanted}
            self._crew.raise_if_stillborn(ended, joined)
            remaining = 3600.0 if deadline is None else deadline - time.monotonic()
            if remaining <= 0:
                raise TimeoutError(
                    f"waited {timeout_s:g} s for {n or len(wanted)} workers of network "
                    f"{self.network_id!r}; {len(joined)} have joined"
                )
            self._reader.wait(remaining)

    def fetch_workers(self) -> list[WorkerInfo]:
        """Fetch all workers that ever joined, in this order; one round trip."""
        return fetch_workers(self._connection, self._keys)

    def stop_workers(self, worker_ids: Sequence[str] | None = None, *, kill: bool = False) -> None:
        """Stop workers (default: all, also those that would join later; see `allow_workers`).

        Parameters
        ----------
        worker_ids : sequence of str, optional
        kill : bool
            False asks them to stop after their task and does not wait. True ends their processes
            at once; their tasks become failed. A worker that is no child of this process is put
            out of the network and learns it at its next call.
        """
        self._registry.request_stop(worker_ids)
        if kill:
            self._crew.kill(worker_ids)

    def allow_workers(self) -> None:
        """Withdraw the wish of `stop_workers` that those to come stop, too; one round trip.

        `start_workers` and `worker_command` do so themselves; a `Worker` that is made does not.
        """
        self._registry.allow_workers()

    def join_workers(
        self, timeout_s: float | None = None, *, worker_ids: Sequence[str] | None = None
    ) -> bool:
        """Wait for the workers that this object started to end; tell whether all have.

        Their ends have been dealt with then: lost tasks are failed and can be fetched. No round
        trip.

        Parameters
        ----------
        timeout_s : float, optional
            Longest wait, seconds.
        worker_ids : sequence of str, optional
            Which ones; others than this object's are not waited for. By default all: also those
            whose call an executor has not begun, or does not end although they are lost.
        """
        return self._crew.join(timeout_s, worker_ids)

    def detect_lost_workers(self) -> list[str]:
        """Look for workers whose sign of life has expired and remove them.

        Their tasks become failed, or are queued again (see `max_retries`). The end of a process
        that this object started is noticed at once, without this call. Any number of processes may
        look at the same time: each lost worker is found by one of them. After the server was away,
        silence counts from its return on. Two round trips.

        Returns
        -------
        list of str
            The workers that this object found lost since the last call, in either way.
        """
        return self._crew.find_lost()

    def worker_command(
        self,
        loop: Callable[..., Any],
        *,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        heartbeat: Heartbeat = Heartbeat(),  # noqa: B008  # frozen
        log_level: str = "INFO",
        shared_folder: str | Path | None = None,
    ) -> str:
        """Return a shell command that starts a worker, on any machine that reaches the server.

        It can be run any number of times and at any time: one line in a batch script, a container
        or over ssh. A password is not part of it: where the server wants one, set
        `RUSH_REDIS_PASSWORD` in the environment of the workers, and `RUSH_SECRET` if it is set
        here.

        Parameters
        ----------
        loop, args, kwargs
            As for `start_workers`.
        heartbeat : Heartbeat
            How the workers prove that they live; nobody watches their processes.
        log_level : str
            The least severe log records that workers send to the network.
        shared_folder : path, optional
            As for `start_workers`.

        Raises
        ------
        LoopError
            If the loop or its arguments cannot be pickled, or are too large for the server.
        """
        packed = _pack(loop, args, kwargs, shared_folder)
        digest = store_loop(self._connection, self._keys, packed, _path(shared_folder))
        self.allow_workers()
        return self._crew.command(digest, heartbeat, log_level)

    def read_log(self, n: int | None = None) -> list[LogRecord]:
        """Return the last `n` log records of all workers (default: all kept); one round trip.

        An exception that ended a worker's loop is among them, with its traceback.
        """
        return LogReader(self._connection, self._keys).read(n)

    def follow_log(self, *, timeout_s: float, n: int | None = 0) -> Iterator[LogRecord]:
        """Yield the last `n` log records of all workers (None: all kept), then those that come.

        Ends after `timeout_s` seconds without one.
        """
        timeout_s = check_timeout(timeout_s)
        return LogReader(self._waiting_connection, self._keys).follow(timeout_s, n)

    # -- the whole ------------------------------------------------------------------------------

    def reset(self, *, workers: bool = True) -> None:
        """Delete all tasks and, unless `workers` is False, kill and forget all workers.

        The network itself goes on. Workers elsewhere learn at their next call that they are out.
        """
        if workers:
            self._crew.forget()
        reset = Script("reset_network", self._keys)
        everything = b"1" if workers else b""
        retry_unreachable(lambda: reset.run(self._connection, everything))

    def close(self) -> None:
        """Kill the workers that this object started and disconnect; the data stay."""
        try:
            self._crew.close()
            k = self._keys
            with contextlib.suppress(RushError):
                self._connection.execute_many(
                    (
                        pack((b"HDEL", k.clients, self._client_id)),
                        pack((b"SREM", k.waiting, self._client_id)),
                        pack((b"DEL", k.wake(self._client_id))),
                    )
                )
        finally:  # also if an interrupt ends the wait for the workers
            self._waiting_connection.close()
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _become_one(self) -> None:
        """Take what no two processes may have in common: a name, keys to give, own workers."""
        self._client_id = f"network-{secrets.token_hex(6)}"
        self._keys_of_tasks = key_sequence()
        self._transitions = Transitions(self._connection, self._keys, self._client_id, epoch=0)
        self._crew = Crew(
            self._connection,
            self._keys,
            self._registry,
            self._clock,
            self._client_id,
        )

    def _become_another(self) -> None:
        """Go on in a forked child under another name, and without the parent's workers."""
        self._become_one()
        self._reader.rename_client(self._client_id)

    def _push_ended(
        self,
        push: Callable[[Sequence[bytes]], None],
        ended: Sequence[tuple[dict[str, Any], dict[str, Any] | None, Any, str | None]],
    ) -> list[str]:
        keys, records, now = [], [], self._clock.now()
        for config, extra, result, error in ended:
            keys.append(next(self._keys_of_tasks))
            records.append(ended_record(keys[-1], config, extra, now, result, error))
        if records:
            push(records)
        return keys


def _pack(
    loop: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any] | None,
    shared_folder: str | Path | None,
) -> bytes:
    most_bytes = MOST_BYTES if shared_folder is None else None
    return pack_loop(loop, args, kwargs or {}, most_bytes=most_bytes)


def _path(path: str | Path | None) -> Path | None:
    return None if path is None else Path(path)
