"""The commands about trials: the best ones, all of them, one of them, and a new one."""

from __future__ import annotations

import argparse
import io
import json
import math
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from rush_core import (
    CommandLine,
    LogRecord,
    Network,
    add_network_options,
    local_time,
    open_existing,
    print_json,
    printable,
)
from rush_opt.commands.standing import trial_plain, values_text
from rush_opt.results.files import write_parquet
from rush_opt.results.plain import to_plain
from rush_opt.results.stored import RunReader
from rush_opt.results.summary import best_trials, params_lines
from rush_opt.results.table import trials_table
from rush_opt.results.trials import FrozenTrial
from rush_opt.space import Space

__all__ = ["add_trial_commands"]


def add_trial_commands(command_line: CommandLine) -> None:
    """Add the commands about trials."""
    best = command_line.add_command("best", _best, "print the best trial, or the Pareto front")
    add_network_options(best)

    trials = command_line.add_command("trials", _trials, "print a table of all trials that ended")
    add_network_options(trials)
    trials.add_argument(
        "--format", choices=["csv", "json", "parquet"], default="csv", help="by default csv"
    )

    show = command_line.add_command("show", _show, "print all that is known of one trial")
    add_network_options(show)
    show.add_argument("trial", metavar="TRIAL", help="its number, or its key")

    enqueue = command_line.add_command(
        "enqueue", _enqueue, "let the workers evaluate a configuration next"
    )
    add_network_options(enqueue)
    enqueue.add_argument("config", metavar="CONFIG", help="""JSON, such as '{"x": 0.5}'""")


def _best(given: argparse.Namespace) -> int:
    with open_existing(given.network_id, given.url) as found:
        run = RunReader(found.network).fetch()
    trials, metrics = best_trials(run.record), run.record.metrics
    if not trials:
        raise ValueError(f"network {given.network_id!r} has no best trial: none has finished")
    for trial in trials:
        if given.json:
            print_json(to_plain(trial_plain(trial, metrics)))
            continue
        print(f"{values_text(trial, metrics)} (trial {trial.number}, key {trial.key})")
        for line in params_lines(trial.params):
            print(line)
    return 0


def _trials(given: argparse.Namespace) -> int:
    with open_existing(given.network_id, given.url) as found:
        record = RunReader(found.network).fetch().record
    table = trials_table(record.trials, record.metrics)
    if given.json or given.format == "json":
        for row in table.to_dict("records"):
            print_json({name: _json_cell(value) for name, value in row.items()})
    elif given.format == "parquet":
        if sys.stdout.isatty():
            raise ValueError("Parquet is no text: write it to a file, rush trials ... > FILE")
        file = io.BytesIO()
        write_parquet(table, file)
        sys.stdout.buffer.write(file.getvalue())
    else:
        text = table.to_csv(index=False)
        print(printable(text, indent="") if sys.stdout.isatty() else text, end="")
    return 0


def _json_cell(value: Any) -> Any:
    """Return a cell of the table as a value of JSON; None for an empty one."""
    if hasattr(value, "isoformat"):  # a time, or the time that is none
        return value.isoformat() if value == value else None
    return None if isinstance(value, float) and math.isnan(value) else to_plain(value)


def _show(given: argparse.Namespace) -> int:
    with open_existing(given.network_id, given.url) as found:
        record = RunReader(found.network).fetch().record
        trial = _find(given.trial, record.trials, given.network_id)
        log = _log_of(trial, found.network)
    if given.json:
        print_json(to_plain(vars(trial) | {"intermediate": [*trial.intermediate.items()]}))
        return 0
    for line in _trial_lines(trial):
        print(line)
    for entry in log:
        print(entry)
    return 0


def _find(wanted: str, trials: list[FrozenTrial], network_id: str) -> FrozenTrial:
    for trial in trials:
        if wanted in (str(trial.number), trial.key):
            return trial
    raise ValueError(
        f"network {network_id!r} has no trial {wanted!r} that has ended; "
        f"`rush trials {network_id}` lists their numbers"
    )


def _log_of(trial: FrozenTrial, network: Network) -> list[LogRecord]:
    """Return what the worker of a trial logged while the trial ran; two round trips."""
    worker_ids = {w.worker_id for w in network.fetch_workers() if w.number == trial.worker}
    if trial.started_at is None:
        return []
    return [
        entry
        for entry in network.read_log()
        if entry.worker_id in worker_ids and trial.started_at <= entry.time <= trial.ended_at
    ]


def _trial_lines(trial: FrozenTrial) -> Iterator[str]:
    stopped = "" if trial.stopped_at is None else f", stopped early at step {trial.stopped_at:g}"
    yield f"trial {trial.number}, key {trial.key}: {'lost' if trial.lost else trial.state}{stopped}"
    if trial.started_at is not None:
        seconds = trial.ended_at - trial.started_at
        yield f"worker {trial.worker}, {local_time(trial.started_at)}, {seconds:.3g} s"
    for name, values in (
        ("parameters", trial.params),
        ("result", trial.result),
        ("reports, by step", {f"{step:g}": value for step, value in trial.intermediate.items()}),
        ("notes", trial.notes),
    ):
        if values:
            yield name
            yield from params_lines(values)
    if trial.error is not None:
        yield "error"
        yield f"  {printable(trial.error, indent='  ')}"


def _enqueue(given: argparse.Namespace) -> int:
    try:
        config = json.loads(given.config)
    except ValueError as error:
        raise ValueError(f"the configuration must be JSON, but {error}: {given.config!r}") from None
    if not isinstance(config, dict):
        raise ValueError(f"the configuration must be a JSON object, got {given.config!r}")
    with open_existing(given.network_id, given.url) as found:
        run = RunReader(found.network).fetch()
        _check(config, run.record.space, found.network)
        (key,) = found.network.push_tasks([config])
    if given.json:
        print_json({"key": key})
    else:
        print(f"queued as {key}")
    return 0


def _check(config: Mapping[str, Any], space: Space | None, network: Network) -> None:
    """Raise if a configuration is not in the space; one round trip if the space has functions."""
    if space is not None:
        space.validate(config)
        return
    names = set((network.fetch_description() or {}).get("space", ()))
    if unknown := sorted(set(config) - names):
        raise ValueError(f"the space has no parameters {unknown}; it has {sorted(names)}")
