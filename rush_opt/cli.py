"""The ``rush`` command: the commands of the core, and those that know about searches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from rush_core import core_command_line

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command; raises `SystemExit`."""
    core_command_line().main(arguments)
