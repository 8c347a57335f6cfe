"""The commands ``list`` and ``status``: which networks there are, and where one stands."""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Sequence

from rush_core import (
    CommandLine,
    ExistingNetwork,
    RushError,
    add_network_options,
    add_server_options,
    duration_text,
    list_networks,
    open_existing,
    print_json,
    printable,
    status_lines,
    status_values,
    table_lines,
)
from rush_opt.commands.standing import Standing, values_text
from rush_opt.results.plain import to_plain
from rush_opt.results.stored import RunReader, has_search
from rush_opt.results.summary import best_trials

__all__ = ["add_status_commands"]

_WATCH_EVERY_S = 1.0
_LONGEST_WATCH_S = 1e9


def add_status_commands(command_line: CommandLine) -> None:
    """Add the commands that show where networks stand."""
    listed = command_line.add_command("list", _list, "list the networks that there are")
    add_server_options(listed)
    status = command_line.add_command("status", _status, "show where a run stands")
    add_network_options(status)
    status.add_argument(
        "--watch",
        type=float,
        nargs="?",
        const=_WATCH_EVERY_S,
        metavar="SECONDS",
        help="show it again every so often, in place, until the run ends (every second)",
    )


def _list(given: argparse.Namespace) -> int:
    rows: list[Sequence[str]] = [("NETWORK", "STATE", "TRIALS", "BEST", "CHANGED")]
    for network_id in list_networks(given.url):
        try:
            with open_existing(network_id, given.url) as found:
                row = _row(found, as_json=given.json)
        except (RushError, ValueError) as error:  # the others are listed all the same
            print(f"rush: {printable(f'{network_id}: {error}')}", file=sys.stderr)
            continue
        if row is not None:
            rows.append(row)
    if not given.json:
        _print_lines(table_lines(rows, right=[3]) if rows[1:] else ["no networks"])
    return 0


def _row(found: ExistingNetwork, *, as_json: bool) -> Sequence[str] | None:
    """Return the row of a network in the list; with JSON, print it and return None."""
    network = found.network
    if not has_search(network):  # of a program with `rush_core` alone
        counts = network.count_tasks()
        if as_json:
            print_json({"network": network.network_id, **status_values(network)})
            return None
        ended = counts.finished + counts.failed
        return (network.network_id, "no search", f"{ended} of {sum(counts)} tasks", "", "")
    run = RunReader(network).fetch()
    standing = Standing(run, is_stored=found.is_stored)
    if as_json:
        print_json(to_plain(standing.to_plain() | status_values(network)))
        return None
    best = best_trials(run.record)
    several = len(run.record.goals) > 1
    value = (
        f"{len(best)} on front"
        if several
        else values_text(best[0], run.record.metrics)
        if best
        else ""
    )
    ago = f"{duration_text(max(run.now - standing.changed_at, 0.0))} ago"
    failed = f", {run.counts.failed} failed" if run.counts.failed else ""
    trials = f"{standing.ended_text()}{failed}"
    return (network.network_id, standing.state, trials, value, ago)


def _status(given: argparse.Namespace) -> int:
    if given.watch is not None and not 0 <= given.watch < _LONGEST_WATCH_S:
        raise ValueError(f"--watch must be between 0 and 1e9 seconds, got {given.watch}")
    with open_existing(given.network_id, given.url) as found:
        reader, screen = RunReader(found.network), _Screen()
        is_search = has_search(found.network)
        while True:
            standing = _standing(found, reader) if is_search else None
            if given.json:
                values = {} if standing is None else standing.to_plain()
                print_json(to_plain(values | status_values(found.network)))
            else:
                lines = status_lines(found.network) if standing is None else standing.lines()
                screen.show(lines, again=given.watch is not None)
            if given.watch is None or (standing is not None and standing.is_over):
                return 0
            time.sleep(given.watch)


def _standing(found: ExistingNetwork, reader: RunReader) -> Standing:
    return Standing(reader.fetch(), found.is_stored, found.network.fetch_hosts())


class _Screen:
    """Shows lines; in a terminal the next ones replace them, elsewhere they follow."""

    def __init__(self) -> None:
        self._n_shown = 0

    def show(self, lines: Sequence[str], *, again: bool) -> None:
        """Show lines; with `again`, they are replaced by later ones, so they are cut to fit."""
        if again and sys.stdout.isatty():
            columns, rows = shutil.get_terminal_size()
            lines = [line[: columns - 1] for line in lines[: rows - 1]]
            if self._n_shown:
                print(f"\x1b[{self._n_shown}F\x1b[J", end="")
        elif self._n_shown:
            print()
        self._n_shown = len(lines)
        _print_lines(lines)
        sys.stdout.flush()


def _print_lines(lines: Sequence[str]) -> None:
    for line in lines:
        print(line)
