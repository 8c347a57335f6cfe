"""Commands that run in the processes of workers: the worker itself, and its heartbeats."""

from __future__ import annotations

import argparse
import functools
import traceback
from collections.abc import Callable
from pathlib import Path

from rush_core.commands.command_line import CommandLine
from rush_core.connection.connection import Connection
from rush_core.connection.script import PATIENCE_S
from rush_core.errors import RushError
from rush_core.kernel.heartbeat import Heartbeat
from rush_core.kernel.shared_log import SharedLogs
from rush_core.keys import check_identifier
from rush_core.launching.current_loop import fetch_current_digest
from rush_core.launching.forking_process import fork_workers
from rush_core.launching.host import Hosting, run_workers
from rush_core.launching.node_reader import ForkedReader
from rush_core.launching.places import check_start_method
from rush_core.launching.room import usable_cpus
from rush_core.launching.shipping import ShippedLoop, fetch_loop
from rush_core.launching.worker_process import run_worker
from rush_core.membership.heartbeat_process import send_for_parent
from rush_core.membership.log_levels import LogLevels
from rush_core.node.reader_process import run_reader
from rush_core.servers.locate import resolve_running_url

__all__ = ["add_worker_commands"]

# A machine that is taken away, and a batch system, give about half a minute between two signals.
_GRACE_S = 30.0


def add_worker_commands(command_line: CommandLine) -> None:
    """Add the commands that run in the processes of workers."""
    worker = command_line.add_command(
        "worker", _worker, "join a network and run a worker loop that was shipped to it"
    )
    _add_worker_options(worker)
    worker.add_argument(
        "--workers",
        type=_count_of_workers,
        metavar="N",
        help="run N workers as processes that are replaced when they are lost; "
        "auto for one per usable CPU",
    )
    worker.add_argument(
        "--grace",
        type=float,
        metavar="SECONDS",
        help="with --workers: how long tasks may go on after SIGTERM (30)",
    )
    worker.add_argument(
        "--log-folder", type=Path, help="with --workers: where what the workers print is kept"
    )
    worker.add_argument(
        "--start-method",
        choices=["fork", "spawn"],
        help="with --workers: by default they are forked where that is safe",
    )
    worker.add_argument(
        "--max-retries",
        type=int,
        choices=range(128),
        default=0,
        metavar="N",
        help="with --workers: how often a task of a lost worker is queued again (0)",
    )
    worker.add_argument("--worker-id", help="the name of the worker; by default a random one")
    worker.add_argument("--url", help="the server; by default RUSH_REDIS_URL or REDIS_URL")
    # For managers that start workers as their children: see rush_core.launching.local.
    worker.add_argument("--orphan-check", action="store_true", help=argparse.SUPPRESS)

    node = command_line.add_command("node", _node, None)
    _add_worker_options(node)
    node.add_argument("--channel", type=int, required=True)

    beat = command_line.add_command("beat", _beat, None)
    beat.add_argument("network_id")
    beat.add_argument("worker_id")
    beat.add_argument("pid", type=int)
    beat.add_argument("period_s", type=float)
    beat.add_argument("expire_s", type=float)


def _add_worker_options(worker: argparse.ArgumentParser) -> None:
    """Add what the workers that one process forks have in common."""
    worker.add_argument("network_id", help="the name of the network")
    worker.add_argument(
        "--loop",
        metavar="DIGEST",
        help="which loop; by default the one that was shipped last, which needs RUSH_SECRET or an "
        "embedded server",
    )
    worker.add_argument(
        "--heartbeat",
        type=float,
        nargs=2,
        metavar=("PERIOD_S", "EXPIRE_S"),
        help="seconds between heartbeats, and until a silent worker counts as lost (3 15)",
    )
    worker.add_argument(
        "--heartbeat-process",
        action="store_true",
        help="send heartbeats from a process, for objectives that hold the interpreter's lock",
    )
    worker.add_argument(
        "--log-level",
        default="INFO",
        help="the least severe log records that are sent, also by logger: INFO,study=DEBUG",
    )


def _count_of_workers(text: str) -> int:
    """Return the number that was given for ``--workers``."""
    if text == "auto":
        return usable_cpus()
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"must be a count >= 1, or auto, got {text!r}")
    return int(text)


def _worker(given: argparse.Namespace) -> int:
    url = resolve_running_url(given.url, given.network_id)
    # Here, so that they are reported as errors of the command line.
    LogLevels.of(given.log_level)
    Connection(url)
    check_identifier("network_id", given.network_id)
    if given.worker_id is not None:
        check_identifier("worker_id", given.worker_id)
    loop_digest = given.loop or fetch_current_digest(url, given.network_id)
    if given.workers is not None:
        return _run_workers(given, url, loop_digest)
    for name in ("grace", "log_folder", "start_method"):
        if getattr(given, name) is not None:
            raise ValueError(f"--{name.replace('_', '-')} needs --workers")
    # A manager that names a worker has just used the server, so a server that is away will come
    # back. A command line can have a wrong URL or password, and must say so at once.
    patience_s = PATIENCE_S if given.worker_id else 0.0
    load = functools.partial(fetch_loop, url, given.network_id, loop_digest, patience_s)
    return _run(given, url, load, given.worker_id, is_owned=given.orphan_check)


def _run_workers(given: argparse.Namespace, url: str, loop_digest: str) -> int:
    """Run several workers under the supervision of this process; return the exit code."""
    if given.worker_id is not None:
        raise ValueError("--worker-id names one worker: leave it out, or leave out --workers")
    if given.grace is not None and not 0 <= given.grace < 1e6:
        raise ValueError(f"--grace must be between 0 and 1e6 seconds, got {given.grace:g}")
    heartbeat = _heartbeat(given, is_owned=False)
    assert heartbeat is not None
    hosting = Hosting(
        n_workers=given.workers,
        loop_digest=loop_digest,
        heartbeat=heartbeat,
        log_level=given.log_level,
        log_folder=given.log_folder,
        start_method=check_start_method(given.start_method, None),
        max_retries=given.max_retries,
        grace_s=_GRACE_S if given.grace is None else given.grace,
    )
    return run_workers(given.network_id, url, hosting)


def _node(given: argparse.Namespace) -> int:
    url = resolve_running_url(None)
    load = functools.partial(fetch_loop, url, given.network_id, given.loop, PATIENCE_S)
    heartbeat = _heartbeat(given, is_owned=True)
    forked = fork_workers(load, given.channel, sends_heartbeats=heartbeat is not None)
    if forked is None:
        return 0
    if isinstance(forked, ForkedReader):
        run_reader(
            url,
            given.network_id,
            forked.node_id,
            forked.shared,
            heartbeat,
            forked.channel.fileno(),
            forked.report_removed,
        )
        return 0
    return _run(given, url, forked.load, forked.worker_id, is_owned=True, shared=forked.shared)


def _run(
    given: argparse.Namespace,
    url: str,
    load: Callable[[], ShippedLoop],
    worker_id: str | None,
    *,
    is_owned: bool,
    shared: SharedLogs | None = None,
) -> int:
    """Run a worker in this process; return the exit code."""
    heartbeat = _heartbeat(given, is_owned=is_owned)
    try:
        received = run_worker(
            given.network_id,
            url=url,
            load=load,
            worker_id=worker_id,
            orphan_check=is_owned,
            heartbeat=heartbeat,
            log_level=given.log_level,
            shared=shared,
        )
    except (ValueError, OSError) as error:
        if isinstance(error, RushError):
            raise
        traceback.print_exc()  # raised by the worker loop: its author needs the traceback
        return 1
    # As a shell reports a signal. A batch job that ended in order is no failure.
    return 128 + received if is_owned and received else 0


def _heartbeat(given: argparse.Namespace, *, is_owned: bool) -> Heartbeat | None:
    """Return the heartbeat that was asked for; by default one, unless a manager watches."""
    if given.heartbeat is None:
        return None if is_owned else Heartbeat(own_process=given.heartbeat_process)
    period_s, expire_s = given.heartbeat
    return Heartbeat(period_s, expire_s, own_process=given.heartbeat_process)


def _beat(given: argparse.Namespace) -> int:
    heartbeat = Heartbeat(given.period_s, given.expire_s)
    url = resolve_running_url(None)
    send_for_parent(given.pid, url, given.network_id, given.worker_id, heartbeat)
    return 0
