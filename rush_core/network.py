"""The network as its manager sees it: push and fetch tasks, start and stop workers."""

from __future__ import annotations

import contextlib
import secrets
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, Self

from rush_core.arguments import check_count, check_timeout, error_text, line_up
from rush_core.connection.clock import ServerClock
from rush_core.connection.connection import Connection
from rush_core.connection.fitness import check_server
from rush_core.connection.fork import renew_in_child
from rush_core.connection.script import Script, retry_not_now, retry_unreachable
from rush_core.connection.url import redact
from rush_core.errors import RushError, ServerUnreachableError
from rush_core.kernel.description import (
    describe,
    fetch_description,
    fetch_notes,
    store_note,
)
from rush_core.kernel.format import check_format
from rush_core.kernel.heartbeat import Heartbeat
from rush_core.kernel.hosts import HostInfo, fetch_hosts
from rush_core.kernel.presence import is_there
from rush_core.kernel.reader import TaskReader
from rush_core.kernel.report import Report
from rush_core.kernel.table import TaskTable
from rush_core.kernel.task import (
    TaskCounts,
    ended_record,
    failed_end,
    key_sequence,
    queued_records,
)
from rush_core.kernel.transitions import Transitions
from rush_core.kernel.workers import WorkerInfo, fetch_workers
from rush_core.keys import NetworkKeys
from rush_core.launching.command import worker_command
from rush_core.launching.local import StartMethod
from rush_core.launching.places import check_place, check_start_method
from rush_core.launching.shipping import ship_loop
from rush_core.launching.started_workers import StartedWorkers
from rush_core.launching.warm_up import with_warm_up
from rush_core.membership.clients import remove_client
from rush_core.membership.log import LogReader, LogRecord
from rush_core.membership.log_levels import LogLevels
from rush_core.membership.registry import Registry
from rush_core.servers.locate import explicit_url, resolve_url, variable_of

__all__ = ["Network"]


class Network:
    """A network of tasks and workers, as its manager uses it.

    Any number of these objects, in any number of processes, can use one network. The data stay in
    the server when one is closed.

    Without a `url`, a named network has an embedded server of its own. The server ends with the
    process that started it and leaves the data in a folder (see `data_folder_of`). The next process
    that opens the network finds its tasks and results there.

    Threads may share one object: each new task or report is returned to one of them. A forked child
    may use its parent's object: there it counts as another client, which has started no workers.

    An object can be pickled. What is loaded from it is another client of the same network, which
    has started no workers and to which everything is new. It connects when it is loaded. The
    pickle has the URL with its password; an embedded server of a named network is found again, or
    started on its data.

    Parameters
    ----------
    network_id : str, optional
        The name: all that use the same name in one server share tasks, workers and logs. By default
        a random one, and then an embedded server keeps no data.
    url : str, optional
        ``redis://``, ``rediss://``, ``unix://`` or ``redis+sentinel://``; by default
        `RUSH_REDIS_URL`, `REDIS_URL` or an embedded server.
    max_retries : int
        How often a task whose worker is found lost by this object is queued again before it is
        failed, 0 to 127.

    Raises
    ------
    TypeError, ValueError
        If `network_id`, `max_retries` or `url` cannot be used.
    ServerUnreachableError
        If no server answers at `url`, or it refuses the password.
    ServerRefusedError
        If the server is too old, deletes data when its memory is used up or runs no scripts, or if
        a newer version of this package made the network. The message says what to do.
    ServerNotFoundError
        If no URL was given and there is no server program to start.

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
        variable = None if url else variable_of(self.url)
        is_own_server = network_id is not None and explicit_url(url) is None
        self._reopen = (self.network_id, None if is_own_server else self.url, max_retries)
        self._connection = Connection(self.url)
        try:
            retry_not_now(lambda: check_format(self._connection, self._keys))
            check_server(self._connection)
            self._clock = ServerClock(self._connection)
        except ServerUnreachableError as error:
            self._connection.close()
            if variable is None:
                raise
            raise ServerUnreachableError(
                f"{error} (the URL is that of the environment variable {variable})"
            ) from None
        except BaseException:
            self._connection.close()
            raise
        # A call that waits in the server has a connection of its own, so that threads that watch
        # workers can use the first one meanwhile.
        self._waiting_connection = Connection(self.url)
        self._registry = Registry(self._connection, self._keys, max_retries)
        self._set_identity()
        self._reader = TaskReader(
            self._connection, self._keys, self._client_id, waiting=self._waiting_connection
        )
        renew_in_child(self, Network._renew_identity)

    def __repr__(self) -> str:
        return f"<Network {self.network_id!r} at {redact(self.url)}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _open, self._reopen

    # -- tasks --------------------------------------------------------------------------------

    def push_tasks(
        self,
        configs: Sequence[dict[str, Any]],
        *,
        extras: Sequence[dict[str, Any] | None] | None = None,
    ) -> list[str]:
        """Append tasks to the queue; one round trip, all or none.

        More than 2,000 tasks, or 16 MiB of them, are sent in batches of at most so many, with one
        round trip each. A batch is pushed as a whole or not at all. Until the last one, others see
        only the first tasks, in order. If a batch is refused, or this process ends, the batches
        before it stay; a note of the error says how many tasks these are.

        Parameters
        ----------
        configs : sequence of dict
            The configurations to evaluate.
        extras : sequence of dict, optional
            Stored with each task.

        Returns
        -------
        list of str
            The tasks' keys.

        Raises
        ------
        TypeError, ValueError
            If a value cannot be stored; nothing was written.
        ServerRefusedError
            If the server is out of memory, for example.
        """
        rows = line_up(configs=configs, extras=extras)
        keys, records = queued_records(self._keys_of_tasks, rows)
        if records:
            self._transitions.push(records)
        return keys

    def push_finished_tasks(
        self,
        configs: Sequence[dict[str, Any]],
        results: Sequence[dict[str, Any]],
        *,
        extras: Sequence[dict[str, Any] | None] | None = None,
        result_extras: Sequence[dict[str, Any] | None] | None = None,
    ) -> list[str]:
        """Append finished tasks that were evaluated elsewhere; otherwise like `push_tasks`.

        Parameters
        ----------
        configs, results : sequence of dict
            What was evaluated, and what the evaluations returned.
        extras, result_extras : sequence of dict, optional
            Stored with each configuration, and with each result: the `extra` and the `result_extra`
            of the tasks.

        Returns
        -------
        list of str
            The tasks' keys.

        Raises
        ------
        TypeError, ValueError
            If a value cannot be stored; nothing was written.
        """
        rows = line_up(configs=configs, results=results, extras=extras, result_extras=result_extras)
        ended = [
            (config, extra, result, None, result_extra)
            for config, result, extra, result_extra in rows
        ]
        return self._push_ended(self._transitions.push_finished, ended)

    def push_failed_tasks(
        self,
        configs: Sequence[dict[str, Any]],
        errors: Sequence[str | BaseException],
        *,
        extras: Sequence[dict[str, Any] | None] | None = None,
    ) -> list[str]:
        """Append failed tasks that were evaluated elsewhere; otherwise like `push_tasks`."""
        rows = line_up(configs=configs, errors=errors, extras=extras)
        ended = [(config, extra, None, error_text(error), None) for config, error, extra in rows]
        return self._push_ended(self._transitions.push_failed, ended)

    def clear_queue(self) -> int:
        """Make all queued tasks failed and return how many.

        The queue is cleared from its front, 2,000 tasks in one round trip. Each round trip is
        atomic, the whole is not: while a long queue is cleared, others see a part of it, and
        workers may claim tasks from it. If this process ends, what was cleared stays cleared, and
        another call clears the rest.
        """
        end = failed_end(self._clock.now(), "taken out of the queue", None)
        return self._transitions.clear_queue(end)

    def fetch_tasks(self, *states: str) -> TaskTable:
        """Fetch the tasks in `states` (default: all) as they were at one moment; one round trip.

        If there are more than 2,000 queued, finished or failed tasks, they are read in slices of
        2,000, with one round trip each. Then each task is in the table once, in a state that it had
        during the call. Tasks that were added during the call may be missing.

        Parameters
        ----------
        *states : str or TaskState
            Any of queued, running, finished, failed; the table has them in this order.

        Raises
        ------
        ValueError
            If there is no such state.
        """
        return self._reader.fetch(states)

    def fetch_finished_tasks(self) -> TaskTable:
        """Fetch all finished tasks; one round trip that transfers only what is new.

        More than 2,000 new tasks take one round trip for each 2,000.
        """
        return self._reader.fetch_finished()

    def fetch_new_tasks(self, *, timeout_s: float = 0.0) -> TaskTable:
        """Fetch the tasks finished since the last call of this method; one round trip.

        More than 2,000 new tasks take one round trip for each 2,000.

        If there is none, the server holds its reply back until a task ends, a worker joins or
        leaves, or `timeout_s` seconds have passed; the table can then be empty.
        """
        return self._reader.fetch_new(timeout_s)

    def wait_for_tasks(self, keys: Sequence[str], *, timeout_s: float | None = None) -> None:
        """Wait until these tasks are finished or failed; the server wakes this process.

        The first call transfers all tasks that have ended, later calls only new ones. If a task
        runs under a worker on another machine that is lost, it ends only when somebody calls
        `detect_lost_workers`.

        Parameters
        ----------
        keys : sequence of str
            As `push_tasks` returned them.
        timeout_s : float, optional
            Longest wait, seconds.

        Raises
        ------
        ValueError
            If the network has no task with one of the keys.
        TimeoutError
            If the tasks have not ended by then.
        RushError
            If the network is reset meanwhile.
        """
        self._reader.wait_for_tasks(keys, timeout_s)

    def fetch_new_reports(self) -> list[Report]:
        """Fetch what workers reported since the last call of this method, in order.

        One round trip.
        """
        return self._reader.fetch_new_reports()

    def count_tasks(self) -> TaskCounts:
        """Count the tasks in each state at one moment; one round trip."""
        return self._reader.count()

    def describe(self, description: dict[str, Any]) -> dict[str, Any]:
        """Store the description unless there is one; return the stored one; two round trips.

        A description says what the tasks of this network have in common. It stays until `reset`.

        Raises
        ------
        TypeError, ValueError
            If a value cannot be stored; nothing was written.
        """
        return describe(self._connection, self._keys, description)

    def fetch_description(self) -> dict[str, Any] | None:
        """Return the description that `describe` stored, or None; one round trip."""
        return fetch_description(self._connection, self._keys)

    def push_note(self, name: str, note: dict[str, Any]) -> None:
        """Store a note, in place of an earlier one of the same name; one round trip.

        A note says what changes while a network is used, such as the budget of a run. It stays
        until another one replaces it, or until `reset`.

        Parameters
        ----------
        name : str
        note : dict

        Raises
        ------
        TypeError, ValueError
            If a value cannot be stored; nothing was written.
        """
        store_note(self._connection, self._keys, name, note)

    def fetch_notes(self) -> dict[str, dict[str, Any]]:
        """Return all notes by name; one round trip."""
        return fetch_notes(self._connection, self._keys)

    def exists(self) -> bool:
        """Tell whether the server holds anything of this network; one round trip.

        False for a new name, until tasks, workers, a description or a note are stored.
        """
        return is_there(self._connection, self._keys)

    def push_about(self, about: dict[str, Any]) -> dict[str, Any]:
        """Call `describe`; the old name, which goes with the next release."""
        warnings.warn("push_about() is now describe()", DeprecationWarning, stacklevel=2)
        return self.describe(about)

    def now(self) -> float:
        """Return the server's time, seconds since 1970; no round trip."""
        return self._clock.now()

    def fetch_time(self) -> float:
        """Ask the server for its time, seconds since 1970; one round trip.

        From then on, `now` uses this answer. After this machine was suspended, `now` is late until
        this method is called.
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
        log_level: str | Mapping[str, str] = "INFO",
        shared_folder: str | Path | None = None,
        start_method: StartMethod | None = None,
        warm_up: Callable[..., object] | None = None,
        is_default: bool = True,
    ) -> list[str]:
        """Start workers that run ``loop(worker, *args, **kwargs)``.

        By default the workers are processes on this machine, with one thread per numerical library,
        and end when this process does. When such a worker is killed or crashes, its running tasks
        become failed at once. When a loop has returned, the threads and processes that it left
        behind have 5 s each to end.

        On Linux the workers are forked by a process that has imported the modules of the loop. So
        they start at once and share memory. What a module makes while it is imported (an open file,
        a temporary folder) exists once for all of them; the global random generators of Python,
        NumPy and PyTorch are seeded anew in each.

        Parameters
        ----------
        loop : callable
            Closures and functions of notebooks are shipped by value.
        n_workers : int
        args, kwargs : sequence, mapping, optional
            Further arguments of the loop.
        executor : concurrent.futures.Executor, optional
            Runs the workers instead: a process pool, Dask's ``client.get_executor()`` or
            ``mpi4py.futures``, for example. Each worker occupies one place of the executor until it
            ends, and must reach the server. For a batch system such as Slurm, submit the line of
            `worker_command` instead.
        heartbeat : Heartbeat, optional
            How the workers show other managers that they live; by default ``Heartbeat()``.
            Processes on this machine need none if the network ends with this program, as a network
            without a name and a URL does. This object does not count them as lost while they run.
        log_folder : path, optional
            Where the output of processes on this machine is kept: for each worker one file
            ``WORKER_ID.out`` and one ``WORKER_ID.err``, its standard output and standard error. By
            default in a temporary folder, which `close` removes.
        log_level : str or mapping of str to str
            The least severe records of `logging` that workers send to the network (`read_log`). A
            mapping has a level for each named logger and those below it, and one for all others
            under the name ``""``: ``{"": "WARNING", "study": "DEBUG"}``.
        shared_folder : path, optional
            A folder, at the same path on all machines, through which the loop and its arguments go.
            By default they go through the server, which takes up to 64 MiB. The file stays there.
        start_method : {"fork", "spawn"}, optional
            With ``"spawn"`` each process on this machine is a new Python interpreter, which imports
            the modules of the loop itself. By default the workers are forked, unless this is not
            Linux, or the import of the modules starts a thread or a process: then they are new
            interpreters, too, and the log says why.
        warm_up : callable, optional
            Called once as ``warm_up(*args, **kwargs)`` in the process from which the workers are
            forked, before the first of them. It can import what the loop needs later. It must leave
            no thread and no connection. An exception is printed to the standard error of the first
            worker. It is not called where workers are not forked.
        is_default : bool
            Whether the command ``rush worker NETWORK`` runs this loop from now on.

        Returns
        -------
        list of str
            The ids of the workers, which join soon (see `wait_for_workers`).

        Raises
        ------
        TypeError, ValueError
            If `executor` is no executor, `n_workers` is no count, or an option is given that has no
            effect here; nothing was started.
        LoopError
            If the loop or its arguments cannot be pickled, or are too large for the server; nothing
            was started.
        WorkersFailedError
            If the executor refuses a call, for example because its pool is broken.
        """
        n_workers = check_count("n_workers", n_workers, least=1)
        check_place(executor, log_folder)
        start_method = check_start_method(start_method, executor)
        level = str(LogLevels.of(log_level))
        warmed = with_warm_up(loop, warm_up)
        digest = self._ship(warmed, args, kwargs, shared_folder, is_default=is_default)
        if executor is not None:
            heartbeat = heartbeat or Heartbeat()
            return self._started.submit(executor, n_workers, digest, heartbeat, level)
        folder = None if log_folder is None else Path(log_folder)
        return self._started.start_processes(
            n_workers, digest, heartbeat, folder, level, start_method
        )

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
            How many in all; by default those that this object started.
        worker_ids : sequence of str, optional
            Which ones, instead of how many.
        timeout_s : float, optional
            Longest wait, seconds.

        Raises
        ------
        TimeoutError
            If they have not joined by then.
        WorkersFailedError
            If one of `worker_ids`, by default any that this object started, ended before it joined.
            The message has the last lines that a process printed.
        """
        self._started.wait_until_joined(n, worker_ids, timeout_s, self._reader.changes.wait)

    def fetch_workers(self) -> list[WorkerInfo]:
        """Fetch all workers that ever joined, in the order of joining; one round trip."""
        return fetch_workers(self._connection, self._keys)

    def fetch_hosts(self) -> list[HostInfo]:
        """Fetch what the nodes of this network wrote about their hosts; one round trip.

        A node looks after the workers that were forked on one host. It writes with each heartbeat,
        so workers without heartbeats and those that executors run have no node here. What a node
        wrote that has died stays until `reset`; its `is_silent` is True.
        """
        return fetch_hosts(self._connection, self._keys)

    def stop_workers(self, worker_ids: Sequence[str] | None = None, *, kill: bool = False) -> None:
        """Stop workers (default: all, also those that join later; see `allow_workers`).

        Parameters
        ----------
        worker_ids : sequence of str, optional
        kill : bool
            If False, the workers are asked to stop after their task; this method does not wait. If
            True, the processes that this object started are ended at once. All other workers are
            removed from the network, which they learn at their next call. The running tasks of
            killed workers become failed.

        Warns
        -----
        UserWarning
            If no worker with one of the ids has joined: it was not asked to stop.
        """
        if worker_ids is not None:
            unknown = self._registry.find_unknown(worker_ids)
            if kill:
                unknown = [name for name in unknown if name not in self._started.ids()]
            if unknown:
                shown = ", ".join(map(repr, unknown[:3])) + (", ..." if len(unknown) > 3 else "")
                warnings.warn(
                    f"no worker with the id {shown} has joined network {self.network_id!r}, so it "
                    "was not stopped; fetch_workers() lists all that have joined",
                    stacklevel=2,
                )
        self._registry.request_stop(worker_ids)
        if kill:
            self._started.kill(worker_ids)

    def allow_workers(self) -> None:
        """Let workers that join later run, after `stop_workers` stopped all; one round trip.

        `start_workers` and `worker_command` do this too; the constructor of `Worker` does not.
        """
        self._registry.allow_workers()

    def join_workers(
        self, timeout_s: float | None = None, *, worker_ids: Sequence[str] | None = None
    ) -> bool:
        """Wait until the workers that this object started have ended; return whether they have.

        Their lost tasks are failed by then and can be fetched. No round trip. The traceback of the
        first loop that fails is logged as soon as its process or call has ended.

        Parameters
        ----------
        timeout_s : float, optional
            Longest wait, seconds.
        worker_ids : sequence of str, optional
            Which ones; workers that this object did not start are ignored. By default all, also
            those whose call an executor has not begun, or does not end although they are lost.

        Raises
        ------
        LoopFailedError
            If they have ended, and the loop of one of them raised an exception. The error names the
            worker and has the traceback.
        """
        return self._started.join(timeout_s, worker_ids)

    def detect_lost_workers(self) -> list[str]:
        """Find workers that send no heartbeats any more and remove them; two round trips.

        Their tasks become failed, or are queued again (see `max_retries`). If several processes do
        this at a time, each lost worker is found by one of them.

        Call it again and again: this object measures by its own monotonic clock for how long it has
        seen no new heartbeat of a worker. So no clock that is set can make a live worker lost, and
        the first call finds nobody. After the server was away, the time counts anew.

        The end of a process that this object started is noticed at once, without this method.

        Returns
        -------
        list of str
            The workers that this object found lost since the last call, in either way. Among them
            are processes of this object that a signal from outside stopped after their task: their
            tasks are not lost, but they may need a replacement.
        """
        return self._started.find_lost()

    def worker_command(
        self,
        loop: Callable[..., Any],
        *,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        heartbeat: Heartbeat = Heartbeat(),  # noqa: B008  # frozen
        log_level: str | Mapping[str, str] = "INFO",
        shared_folder: str | Path | None = None,
        warm_up: Callable[..., object] | None = None,
    ) -> str:
        """Return a shell command that starts a worker on any machine that reaches the server.

        With ``--workers 8`` or ``--workers auto`` appended, it starts 8 workers, or one for each
        usable CPU, as processes that are forked where that is safe. It then replaces those that are
        lost, and ends when all have ended in order. SIGTERM lets them end their tasks.

        The command can be run any number of times and at any time: in a batch script, in a
        container or over ssh. It contains no password. If the server needs one, set
        `RUSH_REDIS_PASSWORD` in the environment of the workers; if `RUSH_SECRET` is set here, set
        it there too.

        Parameters
        ----------
        loop, args, kwargs
            As for `start_workers`.
        heartbeat : Heartbeat
            How the workers show that they live.
        log_level
            As for `start_workers`.
        shared_folder, warm_up
            As for `start_workers`.

        Raises
        ------
        LoopError
            If the loop or its arguments cannot be pickled, or are too large for the server.

        Examples
        --------
        Workers on all CPUs of ten nodes of a Slurm cluster:

        >>> command = network.worker_command(loop) + " --workers auto"
        >>> options = ["--array=1-10", "--exclusive", "--wrap", command]
        >>> subprocess.run(["sbatch", *options], check=True)
        """
        level = str(LogLevels.of(log_level))
        warmed = with_warm_up(loop, warm_up)
        digest = self._ship(warmed, args, kwargs, shared_folder, is_default=True)
        max_retries = self._reopen[-1]
        return worker_command(self.network_id, self.url, digest, heartbeat, level, max_retries)

    def read_log(self, n: int | None = None) -> list[LogRecord]:
        """Return the last `n` log records of all workers (default: all kept); one round trip.

        An exception that ended a worker's loop is among them, with its traceback.
        """
        return LogReader(self._connection, self._keys).read(n)

    def follow_log(self, *, timeout_s: float, n: int | None = 0) -> Iterator[LogRecord]:
        """Yield the last `n` log records of all workers (None: all kept), then each new one.

        Ends when no record came for `timeout_s` seconds.
        """
        timeout_s = check_timeout(timeout_s)
        return LogReader(self._waiting_connection, self._keys).follow(timeout_s, n)

    # -- the whole ------------------------------------------------------------------------------

    def reset(self, *, workers: bool = True) -> None:
        """Delete all tasks and, unless `workers` is False, kill and forget all workers.

        One round trip, atomic. The network can be used further. Workers on other machines learn at
        their next call that they were removed.
        """
        if workers:
            self._started.forget()
        reset = Script("reset_network", self._keys)
        everything = b"1" if workers else b""
        retry_unreachable(lambda: reset.run(self._connection, everything))

    def close(self) -> None:
        """Kill the workers that this object started and disconnect; the data stay."""
        try:
            self._started.close()
            with contextlib.suppress(RushError):
                remove_client(self._connection, self._keys, self._client_id)
        finally:  # also if Ctrl-C ends the wait for the workers
            self._waiting_connection.close()
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _set_identity(self) -> None:
        """Make what two processes must not share: client id, new task keys, started workers."""
        self._client_id = f"network-{secrets.token_hex(6)}"
        self._keys_of_tasks = key_sequence()
        self._transitions = Transitions(self._connection, self._keys, self._client_id, epoch=0)
        self._started = StartedWorkers(
            self._connection,
            self._keys,
            self._registry,
            self._clock,
            self._client_id,
        )

    def _renew_identity(self) -> None:
        """Become another client, without the parent's workers; runs in a forked child."""
        self._set_identity()
        self._reader.changes.rename_client(self._client_id)

    def _push_ended(
        self,
        push: Callable[[Sequence[bytes]], None],
        ended: Sequence[tuple[Any, Any, Any, str | None, Any]],
    ) -> list[str]:
        """Push tasks that have ended: the arguments of `ended_record` but the key and the time."""
        keys, records, now = [], [], self._clock.now()
        for config, extra, result, error, result_extra in ended:
            keys.append(next(self._keys_of_tasks))
            records.append(ended_record(keys[-1], config, extra, now, result, error, result_extra))
        if records:
            push(records)
        return keys

    def _ship(
        self,
        loop: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any] | None,
        shared_folder: str | Path | None,
        *,
        is_default: bool,
    ) -> str:
        """Store a worker loop in the network, and let new workers run; return its digest."""
        if isinstance(args, str | bytes) or not isinstance(args, Sequence):
            raise TypeError(
                f"args must be a sequence of the loop's further arguments, such as args=({args!r},)"
                f", got {args!r:.80}"
            )
        folder = None if shared_folder is None else Path(shared_folder)
        parts = (loop, args, kwargs or {}, folder)
        digest = ship_loop(self._connection, self._keys, *parts, is_current=is_default)
        self.allow_workers()
        return digest


def _open(network_id: str, url: str | None, max_retries: int) -> Network:
    """Open a network that was pickled."""
    return Network(network_id, url, max_retries=max_retries)
