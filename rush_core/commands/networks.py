"""Commands about networks: list, status, stop, reset and remove."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from rush_core.arguments import check_timeout
from rush_core.commands.command_line import (
    CommandLine,
    add_network_options,
    add_server_options,
    print_json,
)
from rush_core.commands.hosts import host_lines
from rush_core.errors import RushError
from rush_core.existing import list_networks, open_existing, remove_network
from rush_core.kernel.workers import WorkerInfo
from rush_core.network import Network
from rush_core.terminal import printable, table_lines

__all__ = ["add_network_commands", "status_lines", "status_values"]


def add_network_commands(command_line: CommandLine) -> None:
    """Add the commands about networks."""
    listed = command_line.add_command("list", _list, "list the networks that there are")
    add_server_options(listed)

    status = command_line.add_command("status", _status, "count tasks and list workers")
    add_network_options(status)
    status.add_argument("--watch", type=float, metavar="SECONDS", help="print again and again")

    stop = command_line.add_command("stop", _stop, "ask workers to stop after their task")
    add_network_options(stop)
    stop.add_argument("worker_ids", nargs="*", metavar="WORKER", help="by default all")
    stop.add_argument("--kill", action="store_true", help="remove them at once; their tasks fail")

    reset = command_line.add_command("reset", _reset, "delete all tasks and forget all workers")
    add_network_options(reset)

    remove = command_line.add_command("remove", _remove, "delete a network and its data for good")
    add_network_options(remove)
    remove.add_argument("--yes", action="store_true", help="do not ask")


def _list(given: argparse.Namespace) -> int:
    rows: list[Sequence[str]] = [("queued", "running", "finished", "failed", "network")]
    for network_id in list_networks(given.url):
        try:
            with open_existing(network_id, given.url) as found:
                counts = found.network.count_tasks()
        except RushError as error:  # the others are listed all the same
            print(f"rush: {printable(f'{network_id}: {error}')}", file=sys.stderr)
            continue
        if given.json:
            print_json({"network": network_id, "tasks": counts._asdict()})
        rows.append((*map(str, counts), network_id))
    if not given.json:
        _print_lines(table_lines(rows, right=range(4)) if rows[1:] else ["no networks"])
    return 0


def _status(given: argparse.Namespace) -> int:
    if given.watch is not None:
        check_timeout(given.watch, "--watch")
    with open_existing(given.network_id, given.url) as found:
        while True:
            if given.json:
                print_json(status_values(found.network))
            else:
                _print_lines(status_lines(found.network))
            if given.watch is None:
                return 0
            sys.stdout.flush()
            time.sleep(given.watch)


def status_values(network: Network) -> dict[str, Any]:
    """Return counts of tasks, all workers and hosts of a network for JSON; three round trips."""
    workers = [msgspec.to_builtins(worker) for worker in network.fetch_workers()]
    hosts = [msgspec.to_builtins(info) for info in network.fetch_hosts()]
    return {"tasks": network.count_tasks()._asdict(), "workers": workers, "hosts": hosts}


def status_lines(network: Network) -> list[str]:
    """Return counts of tasks, then a line for each host and each worker; three round trips."""
    counts = network.count_tasks()._asdict()
    workers = network.fetch_workers()
    return [
        "  ".join(f"{name} {n}" for name, n in counts.items()),
        *host_lines(workers, network.fetch_hosts()),
        *map(_worker_line, workers),
    ]


def _worker_line(worker: WorkerInfo) -> str:
    cells = [f"{worker.number:4} {worker.worker_id:12} {worker.state.value:9}"]
    return printable(" ".join([*cells, f"{worker.host}:{worker.pid}", *worker.task_keys]))


def _print_lines(lines: Iterable[str]) -> None:
    for line in lines:
        print(line)


def _stop(given: argparse.Namespace) -> int:
    with open_existing(given.network_id, given.url) as found:
        found.network.stop_workers(given.worker_ids or None, kill=given.kill)
    return 0


def _reset(given: argparse.Namespace) -> int:
    with open_existing(given.network_id, given.url) as found:
        found.network.reset()
    return 0


def _remove(given: argparse.Namespace) -> int:
    with open_existing(given.network_id, given.url) as found:
        counts = found.network.count_tasks()
    if not given.yes and not _confirms(f"delete network {given.network_id!r}", sum(counts)):
        print("nothing was deleted", file=sys.stderr)
        return 1
    remove_network(given.network_id, given.url)
    return 0


def _confirms(what: str, n_tasks: int) -> bool:
    """Ask the user, and return the answer; no if nobody can answer."""
    print(f"{what} with its {n_tasks} tasks for good? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
