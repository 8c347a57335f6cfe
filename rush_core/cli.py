"""The command line of the core: ``python -m rush_core``, and the base of the ``rush`` command.

A password belongs into the environment variable `RUSH_REDIS_PASSWORD`: other users of a machine can
see command lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from rush_core.commands.command_line import CommandLine
from rush_core.commands.logs import add_log_command
from rush_core.commands.networks import add_network_commands
from rush_core.commands.servers import add_server_commands
from rush_core.commands.workers import add_worker_commands

__all__ = ["core_command_line", "main"]


def core_command_line() -> CommandLine:
    """Return a command line with the commands of the core; a package above it can add its own.

    A command that is added replaces one of the same name.

    Examples
    --------
    >>> command_line = core_command_line()
    >>> best = command_line.add_command("best", print_best, "print the best trial")
    >>> best.add_argument("network_id")
    >>> command_line.main()
    """
    command_line = CommandLine()
    add_server_commands(command_line)
    add_worker_commands(command_line)
    add_network_commands(command_line)
    add_log_command(command_line)
    return command_line


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command of the core; raises `SystemExit`."""
    core_command_line().main(arguments)
