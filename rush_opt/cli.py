"""The ``rush`` command: the commands of the core, and those that know about searches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from rush_core import core_command_line
from rush_opt.commands.status import add_status_commands
from rush_opt.commands.trials import add_trial_commands

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command; raises `SystemExit`."""
    command_line = core_command_line()
    add_status_commands(command_line)
    add_trial_commands(command_line)
    command_line.main(arguments)
