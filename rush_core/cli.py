"""The command line of the core: ``python -m rush_core``, and the base of the ``rush`` command.

A password belongs into the environment variable `RUSH_REDIS_PASSWORD`: other users of a machine can
see command lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from rush_core.commands.command_line import CommandLine
from rush_core.commands.networks import WorkerColumn, add_network_commands
from rush_core.commands.servers import add_server_commands
from rush_core.commands.workers import add_worker_commands

__all__ = ["core_command_line", "main"]


def core_command_line(*, worker_columns: Sequence[WorkerColumn] = ()) -> CommandLine:
    """Return a command line with the commands of the core; a package above it can add its own.

    Parameters
    ----------
    worker_columns : sequence of WorkerColumn
        Further columns of ``rush status``.

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
    add_network_commands(command_line, worker_columns)
    return command_line


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command of the core; raises `SystemExit`."""
    core_command_line().main(arguments)
