"""Commands that run in the processes of workers: the worker itself, and its heartbeats."""

from __future__ import annotations

import argparse
import traceback

from rush_core.commands.command_line import CommandLine
from rush_core.connection.connection import Connection
from rush_core.errors import RushError
from rush_core.kernel.heartbeat import Heartbeat
from rush_core.keys import check_identifier
from rush_core.launching.worker_process import run_worker
from rush_core.membership.heartbeat_process import send_for_parent
from rush_core.membership.log_levels import LogLevels
from rush_core.servers.locate import resolve_running_url

__all__ = ["add_worker_commands"]


def add_worker_commands(command_line: CommandLine) -> None:
    """Add the commands that run in the processes of workers."""
    worker = command_line.add_command(
        "worker", _worker, "join a network and run a worker loop that was shipped to it"
    )
    worker.add_argument("network_id", help="the name of the network")
    worker.add_argument(
        "--loop", required=True, metavar="DIGEST", help="which loop; worker_command() prints it"
    )
    worker.add_argument("--worker-id", help="the name of the worker; by default a random one")
    worker.add_argument("--url", help="the server; by default RUSH_REDIS_URL or REDIS_URL")
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
    # For managers that start workers as their children: see rush_core.launching.local.
    worker.add_argument("--orphan-check", action="store_true", help=argparse.SUPPRESS)

    beat = command_line.add_command("beat", _beat, None)
    beat.add_argument("network_id")
    beat.add_argument("worker_id")
    beat.add_argument("pid", type=int)
    beat.add_argument("period_s", type=float)
    beat.add_argument("expire_s", type=float)


def _worker(given: argparse.Namespace) -> int:
    url = resolve_running_url(given.url, given.network_id)
    heartbeat = _heartbeat(given)
    # Here, so that they are reported as errors of the command line.
    LogLevels.of(given.log_level)
    Connection(url)
    check_identifier("network_id", given.network_id)
    if given.worker_id is not None:
        check_identifier("worker_id", given.worker_id)
    try:
        received = run_worker(
            given.network_id,
            url=url,
            loop_digest=given.loop,
            worker_id=given.worker_id,
            orphan_check=given.orphan_check,
            heartbeat=heartbeat,
            log_level=given.log_level,
        )
    except (ValueError, OSError) as error:
        if isinstance(error, RushError):
            raise
        traceback.print_exc()  # raised by the worker loop: its author needs the traceback
        return 1
    # As a shell reports a signal. A batch job that ended in order is no failure.
    return 128 + received if given.orphan_check and received else 0


def _heartbeat(given: argparse.Namespace) -> Heartbeat | None:
    """Return the heartbeat that was asked for; by default one, unless a manager watches."""
    if given.heartbeat is None:
        return None if given.orphan_check else Heartbeat(own_process=given.heartbeat_process)
    period_s, expire_s = given.heartbeat
    return Heartbeat(period_s, expire_s, own_process=given.heartbeat_process)


def _beat(given: argparse.Namespace) -> int:
    heartbeat = Heartbeat(given.period_s, given.expire_s)
    url = resolve_running_url(None)
    send_for_parent(given.pid, url, given.network_id, given.worker_id, heartbeat)
    return 0
