"""Commands about a server: run one, ask whether one answers, and check one."""

from __future__ import annotations

import argparse
import time

from rush_core.arguments import check_timeout
from rush_core.commands.command_line import CommandLine, add_server_options, print_json
from rush_core.connection.connection import Connection
from rush_core.connection.fitness import check_server
from rush_core.connection.url import redact
from rush_core.errors import ServerUnreachableError
from rush_core.servers.doctor import Level, examine
from rush_core.servers.locate import resolve_running_url
from rush_core.servers.serve import serve_forever
from rush_core.terminal import printable

# How often `rush ping --wait` asks, seconds: a server that does not run yet announces nothing.
_PING_EVERY_S = 0.2

__all__ = ["add_server_commands"]


def add_server_commands(command_line: CommandLine) -> None:
    """Add the commands about a server."""
    serve = command_line.add_command(
        "serve", _serve, "run a server until interrupted, and print its URL"
    )
    serve.add_argument("folder", help="where the server keeps its data")
    serve.add_argument(
        "--host",
        help="listen on this address, which needs RUSH_REDIS_PASSWORD; "
        "by default on a unix socket in the folder",
    )
    serve.add_argument("--port", type=int, default=6379, help="by default 6379")

    doctor = command_line.add_command(
        "doctor", _doctor, "check a server, and say what to do; fails if it has a fault"
    )
    add_server_options(doctor)

    ping = command_line.add_command(
        "ping", _ping, "ask whether the server answers, and can be used; fails if not"
    )
    ping.add_argument("--url", help="the server; by default RUSH_REDIS_URL or REDIS_URL")
    ping.add_argument(
        "--wait",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="for how long to ask again; by default once",
    )


def _serve(given: argparse.Namespace) -> int:
    serve_forever(given.folder, given.host, given.port)


def _ping(given: argparse.Namespace) -> int:
    url = resolve_running_url(given.url)
    deadline = time.monotonic() + check_timeout(given.wait, "--wait")
    while True:
        try:
            _check_once(url)
        except ServerUnreachableError:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise
            time.sleep(min(_PING_EVERY_S, left_s))
        else:
            print(f"{redact(url)} answers")
            return 0


def _check_once(url: str) -> None:
    """Raise unless a server answers at `url` and can be used; two round trips."""
    connection = Connection(url)
    try:
        check_server(connection)
    finally:
        connection.close()


def _doctor(given: argparse.Namespace) -> int:
    findings = examine(resolve_running_url(given.url))
    for finding in findings:
        if given.json:
            print_json(finding.__dict__)
        else:
            line = f"{finding.level.value:6} {finding.subject}: {finding.text}"
            print(printable(line, indent="    "))
    return 1 if any(finding.level is Level.FAULT for finding in findings) else 0
