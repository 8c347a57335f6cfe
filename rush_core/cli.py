"""The ``rush`` command: workers, and a look at a network from a terminal.

The server is the one in ``--url``, `RUSH_REDIS_URL` or `REDIS_URL`, else the embedded one of the
network, if that runs. A password belongs into the environment (`RUSH_REDIS_PASSWORD`), where
process lists do not show it.

Exit codes: 0, all is well; 1, it is not, and standard error says why; 2, the command line is wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import traceback
from collections.abc import Sequence
from typing import Any

import msgspec

from rush_core.errors import RushError
from rush_core.launching.worker_process import run_worker
from rush_core.membership.heartbeat import Heartbeat
from rush_core.membership.heartbeat_process import send_for_parent
from rush_core.network import Network
from rush_core.servers.doctor import Level, examine
from rush_core.servers.locate import resolve_running_url
from rush_core.servers.serve import serve_forever

__all__ = ["main"]

_FOLLOW_S = 86_400.0  # a day without a log record ends even a patient reader


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; raises `SystemExit`."""
    given = _parser().parse_args(arguments)
    try:
        code = given.run(given)
        sys.stdout.flush()
        sys.exit(code)
    except BrokenPipeError:  # who reads the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (RushError, ValueError, OSError) as error:
        sys.exit(f"rush: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="rush", description="Networks of workers in Redis.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    serve = commands.add_parser("serve", help="run a server until interrupted, and print its URL")
    serve.add_argument("folder", help="where its data are kept")
    serve.add_argument("--host", help="listen on this address; needs RUSH_REDIS_PASSWORD")
    serve.add_argument("--port", type=int, default=6379)
    serve.set_defaults(run=_serve)

    worker = commands.add_parser(
        "worker", help="join a network and run a worker loop shipped to it"
    )
    worker.add_argument("network_id")
    worker.add_argument("--loop", required=True, help="digest of the worker loop")
    worker.add_argument("--worker-id", help="name of the worker; by default a random one")
    worker.add_argument("--url")
    worker.add_argument(
        "--heartbeat", type=float, nargs=2, metavar=("PERIOD_S", "EXPIRE_S"), default=(3.0, 15.0)
    )
    worker.add_argument("--heartbeat-process", action="store_true")
    worker.add_argument("--log-level", default="INFO")
    worker.add_argument("--orphan-check", action="store_true", help=argparse.SUPPRESS)
    worker.set_defaults(run=_worker)

    beat = commands.add_parser("beat", help=argparse.SUPPRESS)
    beat.add_argument("network_id")
    beat.add_argument("worker_id")
    beat.add_argument("pid", type=int)
    beat.add_argument("period_s", type=float)
    beat.add_argument("expire_s", type=float)
    beat.set_defaults(run=_beat)

    for name, run, text in (
        ("status", _status, "count tasks and list workers"),
        ("logs", _logs, "print the log records of workers"),
        ("stop", _stop, "ask workers to stop after their task"),
        ("reset", _reset, "delete all tasks and forget all workers"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("network_id")
        command.set_defaults(run=run)
        _add_common(command)
        if name == "status":
            command.add_argument(
                "--watch", type=float, metavar="SECONDS", help="print again and again"
            )
        if name == "logs":
            command.add_argument("-n", type=int, help="only the last N")
            command.add_argument("--follow", action="store_true", help="go on with new ones")
        if name == "stop":
            command.add_argument("worker_ids", nargs="*", help="by default all")
            command.add_argument("--kill", action="store_true", help="remove them at once")

    doctor = commands.add_parser("doctor", help="examine the server, and say what to do")
    doctor.set_defaults(run=_doctor)
    _add_common(doctor)
    return parser


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--url", help="the server; by default RUSH_REDIS_URL or REDIS_URL")
    parser.add_argument("--json", action="store_true", help="one JSON value per line")


def _serve(given: argparse.Namespace) -> int:
    return serve_forever(given.folder, given.host, given.port)


def _worker(given: argparse.Namespace) -> int:
    period_s, expire_s = given.heartbeat
    heartbeat = Heartbeat(period_s, expire_s, own_process=given.heartbeat_process)
    url = resolve_running_url(given.url, given.network_id)
    try:
        run_worker(
            given.network_id,
            url=url,
            loop_digest=given.loop,
            worker_id=given.worker_id,
            orphan_check=given.orphan_check,
            heartbeat=None if given.orphan_check else heartbeat,
            log_level=given.log_level,
        )
    except (ValueError, OSError) as error:
        if isinstance(error, RushError):
            raise
        traceback.print_exc()  # out of somebody's worker loop
        return 1
    return 0


def _beat(given: argparse.Namespace) -> int:
    heartbeat = Heartbeat(given.period_s, given.expire_s)
    url = resolve_running_url(None)
    send_for_parent(given.pid, url, given.network_id, given.worker_id, heartbeat)
    return 0


def _status(given: argparse.Namespace) -> int:
    with Network(given.network_id, resolve_running_url(given.url, given.network_id)) as network:
        while True:
            counts, workers = network.count_tasks(), network.fetch_workers()
            if given.json:
                rows = [msgspec.to_builtins(worker) for worker in workers]
                _print_json({"tasks": counts._asdict(), "workers": rows})
            else:
                print("  ".join(f"{name} {n}" for name, n in counts._asdict().items()))
                for worker in workers:
                    print(
                        f"{worker.number:4} {worker.worker_id:12} {worker.state.value:9} "
                        f"{worker.host}:{worker.pid} {' '.join(worker.task_keys)}".rstrip()
                    )
            if given.watch is None:
                return 0
            sys.stdout.flush()
            time.sleep(given.watch)


def _logs(given: argparse.Namespace) -> int:
    def show(record: Any) -> None:
        if given.json:
            _print_json(record.__dict__)
        else:
            print(record, flush=True)

    with Network(given.network_id, resolve_running_url(given.url, given.network_id)) as network:
        if given.follow:
            records = network.follow_log(timeout_s=_FOLLOW_S, n=given.n)
        else:
            records = iter(network.read_log(given.n))
        for record in records:
            show(record)
    return 0


def _stop(given: argparse.Namespace) -> int:
    with Network(given.network_id, resolve_running_url(given.url, given.network_id)) as network:
        network.stop_workers(given.worker_ids or None, kill=given.kill)
    return 0


def _reset(given: argparse.Namespace) -> int:
    with Network(given.network_id, resolve_running_url(given.url, given.network_id)) as network:
        network.reset()
    return 0


def _doctor(given: argparse.Namespace) -> int:
    findings = examine(resolve_running_url(given.url))
    for finding in findings:
        if given.json:
            _print_json(finding.__dict__)
        else:
            print(f"{finding.level.value:6} {finding.subject}: {finding.text}")
    return 1 if any(finding.level is Level.FAULT for finding in findings) else 0


def _print_json(value: Any) -> None:
    print(json.dumps(value), flush=True)
