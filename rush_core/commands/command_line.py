"""A program with commands: it parses the command line, runs one command and reports errors."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any, NamedTuple, NoReturn

from rush_core.errors import NetworkNotFoundError, RushError
from rush_core.existing import list_networks
from rush_core.terminal import printable

__all__ = ["CommandLine", "add_network_options", "add_server_options", "print_json"]


class _Command(NamedTuple):
    """A command: its help text, None if only programs use it, and the parser of its arguments."""

    help: str | None
    parser: argparse.ArgumentParser


class CommandLine:
    """The ``rush`` program and its commands.

    Exit codes: 0, it worked; 1, it did not, and standard error says why; 2, the command line is
    wrong, or names a network that does not exist; 130, interrupted by Ctrl-C.
    """

    def __init__(self) -> None:
        self._commands: dict[str, _Command] = {}

    def add_command(
        self, name: str, run: Callable[[argparse.Namespace], int], help: str | None
    ) -> argparse.ArgumentParser:
        """Add a command. It replaces an earlier one of the same name.

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
            For the arguments of the command.
        """
        parser = argparse.ArgumentParser(add_help=False)
        parser.set_defaults(run=run)
        self._commands[name] = _Command(help, parser)
        return parser

    def main(self, arguments: Sequence[str] | None = None) -> NoReturn:
        """Run one command, by default that of this process; raises `SystemExit`."""
        parser = self._parser()
        _complete(parser)
        given = parser.parse_args(arguments)
        try:
            code = given.run(given)
            sys.stdout.flush()
            sys.exit(code)
        except BrokenPipeError:  # the reader of a pipe, such as head, has closed it
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        except NetworkNotFoundError as error:
            print(f"rush: {printable(str(error))}", file=sys.stderr)
            sys.exit(2)
        except (RushError, ValueError, OSError, ImportError) as error:
            sys.exit(f"rush: {printable(str(error), indent='    ')}")
        except KeyboardInterrupt:
            sys.exit(130)

    def _parser(self) -> argparse.ArgumentParser:
        """Return the parser of the whole command line."""
        parser = argparse.ArgumentParser(
            prog="rush", description="Networks of workers that share tasks through Redis."
        )
        parser.add_argument("--version", action="version", version=f"rush {version('rush-hpo')}")
        commands = parser.add_subparsers(required=True, metavar="COMMAND")
        for name, command in self._commands.items():
            if command.help is None:  # the list of commands leaves out those without a help text
                commands.add_parser(name, parents=[command.parser])
            else:
                commands.add_parser(
                    name,
                    help=command.help,
                    description=f"{command.help[0].upper()}{command.help[1:]}.",
                    parents=[command.parser],
                )
        return parser


def _complete(parser: argparse.ArgumentParser) -> None:
    """Answer a shell that asks how a command line goes on, and exit; else do nothing."""
    if "_ARGCOMPLETE" in os.environ:
        with contextlib.suppress(ImportError):
            import argcomplete

            argcomplete.autocomplete(parser)


def add_network_options(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of a command about one network: its name, the server, how to print."""
    argument = parser.add_argument("network_id", metavar="NETWORK", help="the name of the network")
    argument.completer = _network_names  # type: ignore[attr-defined]  # argcomplete reads it
    add_server_options(parser)


def _network_names(**_: object) -> list[str]:
    """Return what a shell offers for the name of a network: those on this machine."""
    return list_networks()


def add_server_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a command that looks at a server: which one, and how to print."""
    parser.add_argument("--url", help="the server; by default RUSH_REDIS_URL or REDIS_URL")
    parser.add_argument("--json", action="store_true", help="print one JSON value per line")


def print_json(value: Any) -> None:
    """Print one JSON value on a line, at once."""
    print(json.dumps(value), flush=True)
