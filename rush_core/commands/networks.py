"""Commands about a network: status, logs, stop and reset.

The server is the one of ``--url``, `RUSH_REDIS_URL` or `REDIS_URL`, else the embedded server of the
network, if it runs. No command starts a server.
"""

from __future__ import annotations

import argparse
import functools
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from rush_core.commands.command_line import CommandLine, add_server_options, print_json
from rush_core.kernel.workers import WorkerInfo
from rush_core.network import Network
from rush_core.servers.locate import resolve_running_url
from rush_core.terminal import printable

__all__ = ["WorkerColumn", "add_network_commands"]

_FOLLOW_TIMEOUT_S = 86_400.0  # `rush logs --follow` ends after a day without a record


@dataclass(frozen=True)
class WorkerColumn:
    """A further column in the list of workers that ``rush status`` prints.

    Attributes
    ----------
    name : str
        The name of the value in the JSON output.
    fetch : callable
        ``fetch(network, workers)`` returns one value per worker, in the same order; the values must
        be fit for JSON.
    """

    name: str
    fetch: Callable[[Network, Sequence[WorkerInfo]], Sequence[Any]]


def add_network_commands(
    command_line: CommandLine, worker_columns: Sequence[WorkerColumn] = ()
) -> None:
    """Add the commands about a network."""
    run_status = functools.partial(_status, worker_columns)
    status = _add(command_line, "status", run_status, "count tasks and list workers")
    status.add_argument("--watch", type=float, metavar="SECONDS", help="print again and again")

    logs = _add(command_line, "logs", _logs, "print the log records of workers")
    logs.add_argument("-n", type=int, help="only the last N")
    logs.add_argument("--follow", action="store_true", help="also print new ones as they come")

    stop = _add(command_line, "stop", _stop, "ask workers to stop after their task")
    stop.add_argument("worker_ids", nargs="*", help="by default all")
    stop.add_argument("--kill", action="store_true", help="remove them at once; their tasks fail")

    _add(command_line, "reset", _reset, "delete all tasks and forget all workers")


def _add(
    command_line: CommandLine, name: str, run: Callable[[argparse.Namespace], int], help: str
) -> argparse.ArgumentParser:
    """Add one command about a network."""
    parser = command_line.add_command(name, run, help)
    parser.add_argument("network_id", help="the name of the network")
    add_server_options(parser)
    return parser


def _open(given: argparse.Namespace) -> Network:
    return Network(given.network_id, resolve_running_url(given.url, given.network_id))


def _status(worker_columns: Sequence[WorkerColumn], given: argparse.Namespace) -> int:
    if given.watch is not None and not 0 <= given.watch < 1e9:
        raise ValueError(f"--watch must be between 0 and 1e9 seconds, got {given.watch}")
    with _open(given) as network:
        while True:
            _print_status(network, worker_columns, as_json=given.json)
            if given.watch is None:
                return 0
            sys.stdout.flush()
            time.sleep(given.watch)


def _print_status(
    network: Network, worker_columns: Sequence[WorkerColumn], *, as_json: bool
) -> None:
    counts, workers = network.count_tasks()._asdict(), network.fetch_workers()
    columns = {column.name: column.fetch(network, workers) for column in worker_columns}
    further = [{name: values[i] for name, values in columns.items()} for i in range(len(workers))]
    if as_json:
        rows = [
            msgspec.to_builtins(worker) | values
            for worker, values in zip(workers, further, strict=True)
        ]
        print_json({"tasks": counts, "workers": rows})
        return
    print("  ".join(f"{name} {n}" for name, n in counts.items()))
    for worker, values in zip(workers, further, strict=True):
        cells = [f"{worker.number:4} {worker.worker_id:12} {worker.state.value:9}"]
        cells += [f"{worker.host}:{worker.pid}", *map(str, values.values()), *worker.task_keys]
        print(printable(" ".join(cells)))


def _logs(given: argparse.Namespace) -> int:
    with _open(given) as network:
        if given.follow:
            records = network.follow_log(timeout_s=_FOLLOW_TIMEOUT_S, n=given.n)
        else:
            records = iter(network.read_log(given.n))
        for record in records:
            if given.json:
                print_json(record.__dict__)
            else:
                print(record, flush=True)
    return 0


def _stop(given: argparse.Namespace) -> int:
    with _open(given) as network:
        network.stop_workers(given.worker_ids or None, kill=given.kill)
    return 0


def _reset(given: argparse.Namespace) -> int:
    with _open(given) as network:
        network.reset()
    return 0
