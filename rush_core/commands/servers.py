"""Commands about a server: run one, and check one."""

from __future__ import annotations

import argparse

from rush_core.commands.command_line import CommandLine, add_server_options, print_json
from rush_core.servers.doctor import Level, examine
from rush_core.servers.locate import resolve_running_url
from rush_core.servers.serve import serve_forever
from rush_core.terminal import printable

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


def _serve(given: argparse.Namespace) -> int:
    serve_forever(given.folder, given.host, given.port)


def _doctor(given: argparse.Namespace) -> int:
    findings = examine(resolve_running_url(given.url))
    for finding in findings:
        if given.json:
            print_json(finding.__dict__)
        else:
            line = f"{finding.level.value:6} {finding.subject}: {finding.text}"
            print(printable(line, indent="    "))
    return 1 if any(finding.level is Level.FAULT for finding in findings) else 0
