"""A program with commands: it parses the command line, runs one command and reports errors."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from rush_core.errors import RushError
from rush_core.terminal import printable

__all__ = ["CommandLine", "add_server_options", "print_json"]


class CommandLine:
    """The ``rush`` program and its commands.

    Exit codes: 0, it worked; 1, it did not, and standard error says why; 2, the command line is
    wrong; 130, interrupted by Ctrl-C.
    """

    def __init__(self) -> None:
        self._parser = argparse.ArgumentParser(
            prog="rush", description="Networks of workers that share tasks through Redis."
        )
        self._commands = self._parser.add_subparsers(required=True, metavar="COMMAND")

    def add_command(
        self, name: str, run: Callable[[argparse.Namespace], int], help: str | None
    ) -> argparse.ArgumentParser:
        """Add a command.

        Parameters
        ----------
        name : str
        run : callable
            Called with the parsed arguments; returns the exit code.
        help : str or None
            One line for ``rush --help``; None for a command that only programs use.

        Returns
        -------
        argparse.ArgumentParser
            The parser of the command, for its arguments.
        """
        if help is None:  # the list of commands leaves out those without a help text
            parser = self._commands.add_parser(name)
        else:
            parser = self._commands.add_parser(name, help=help, description=help)
        parser.set_defaults(run=run)
        return parser

    def main(self, arguments: Sequence[str] | None = None) -> NoReturn:
        """Run one command, by default that of this process; raises `SystemExit`."""
        given = self._parser.parse_args(arguments)
        try:
            code = given.run(given)
            sys.stdout.flush()
            sys.exit(code)
        except BrokenPipeError:  # the reader of a pipe, such as head, has closed it
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        except (RushError, ValueError, OSError) as error:
            sys.exit(f"rush: {printable(str(error), indent='    ')}")
        except KeyboardInterrupt:
            sys.exit(130)


def add_server_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a command that looks at a server: which one, and how to print."""
    parser.add_argument("--url", help="the server; by default RUSH_REDIS_URL or REDIS_URL")
    parser.add_argument("--json", action="store_true", help="print one JSON value per line")


def print_json(value: Any) -> None:
    """Print one JSON value on a line, at once."""
    print(json.dumps(value), flush=True)
