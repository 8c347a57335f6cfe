"""The command about log records."""

from __future__ import annotations

import argparse

from rush_core.commands.command_line import CommandLine, add_network_options, print_json
from rush_core.existing import open_existing

__all__ = ["add_log_command"]

_FOLLOW_TIMEOUT_S = 86_400.0  # `rush logs --follow` ends after a day without a record


def add_log_command(command_line: CommandLine) -> None:
    """Add the command that prints log records."""
    logs = command_line.add_command("logs", _logs, "print the log records of workers")
    add_network_options(logs)
    logs.add_argument("-n", type=int, help="only the last N")
    logs.add_argument("--follow", action="store_true", help="also print new ones as they come")


def _logs(given: argparse.Namespace) -> int:
    with open_existing(given.network_id, given.url) as found:
        if given.follow:
            records = found.network.follow_log(timeout_s=_FOLLOW_TIMEOUT_S, n=given.n)
        else:
            records = iter(found.network.read_log(given.n))
        for record in records:
            if given.json:
                print_json(record.__dict__)
            else:
                print(record, flush=True)
    return 0
