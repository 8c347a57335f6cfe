"""The command line of the benchmark: every argument is made usable, or refused at the door."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from experiments.lightgbm_study import folder, openml_tasks
from experiments.lightgbm_study.data import DataError, Source, load
from experiments.lightgbm_study.design import (
    ConfigurationError,
    Design,
    evaluate_design,
    read_design,
)
from experiments.lightgbm_study.launchers import LAUNCHERS, launching
from experiments.lightgbm_study.runs import (
    STRATEGIES,
    SURROGATES,
    Configuration,
    check_folder,
    perform,
)
from experiments.lightgbm_study.simulation import COSTS, simulate_all
from rush_core import RushError

_CACHE = Path.home() / ".cache" / "openml"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command; raises `SystemExit`."""
    given = _parser().parse_args(arguments)
    try:
        given.run(given)
    except (DataError, ConfigurationError, RushError, ValueError, OSError) as error:
        sys.exit(f"lightgbm_bench: {error}")
    except KeyboardInterrupt:
        print("interrupted; the same command goes on where it stopped", file=sys.stderr)
        sys.exit(130)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lightgbm_bench", description="LightGBM tuned by four strategies."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    download = commands.add_parser("download", help="fetch OpenML tasks into the cache")
    download.add_argument("--dataset", nargs="+", default=list(openml_tasks.TASKS))
    download.add_argument("--openml-cache", type=Path, default=_CACHE)
    download.set_defaults(run=_download)

    design = commands.add_parser("design", help="evaluate the initial designs")
    _add_data(design)
    _add_workers(design)
    design.set_defaults(run=_design)

    run = commands.add_parser("run", help="run strategies that start from the designs")
    _add_data(run)
    _add_workers(run)
    run.add_argument("--strategy", nargs="+", choices=STRATEGIES, default=list(STRATEGIES))
    run.add_argument("--seconds", type=_seconds, default=600.0, help="wall clock of each run")
    run.add_argument("--surrogate", choices=SURROGATES, default="ours")
    run.set_defaults(run=_run)

    simulated = commands.add_parser("simulate", help="many workers in virtual time")
    simulated.add_argument(
        "--table",
        nargs="+",
        required=True,
        type=_named_table,
        metavar="NAME=PATH",
        help="evaluations of a data set: a CSV or a run's file, see regression.py; those of one "
        "NAME are pooled",
    )
    simulated.add_argument("--out", type=Path, required=True, help="the results folder")
    simulated.add_argument("--workers", type=_counts, default=[448], metavar="N,N,...")
    simulated.add_argument("--strategy", nargs="+", choices=STRATEGIES, default=STRATEGIES[:3])
    simulated.add_argument("--seconds", type=_seconds, default=600.0, help="virtual wall clock")
    simulated.add_argument("--replications", type=_count, default=5)
    simulated.add_argument("--design-size", type=_count, default=100)
    simulated.add_argument("--cost", choices=COSTS, default="measured")
    simulated.add_argument("--seed", type=int, default=1)
    simulated.set_defaults(run=_simulate)

    report = commands.add_parser("report", help="make tables and figures of a results folder")
    report.add_argument("--out", type=Path, required=True, help="the results folder")
    report.add_argument("--tables", type=Path, help="where tables go; by default OUT/tables")
    report.add_argument("--figures", type=Path, help="where figures go; by default OUT/figures")
    report.set_defaults(run=_report)
    return parser


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dataset", nargs="+", required=True, metavar="NAME")
    parser.add_argument("--data-dir", type=Path, help="a local folder instead of OpenML tasks")
    parser.add_argument("--openml-cache", type=Path, default=_CACHE)


def _add_workers(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, required=True, help="the results folder")
    parser.add_argument("--workers", type=_count, required=True)
    parser.add_argument("--replications", type=_count, default=5)
    parser.add_argument("--design-size", type=_count, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--launcher", choices=LAUNCHERS, default="local")
    parser.add_argument(
        "--launch-command",
        metavar="LINE",
        help="for --launcher command: a shell line with {n} and {command}; without it, what to run "
        "is printed",
    )
    parser.add_argument("--dask-scheduler", metavar="ADDRESS", help="for --launcher dask")
    parser.add_argument("--url", help="the server; by default RUSH_REDIS_URL or an embedded one")


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number >= 1, got {text!r}")
    return int(text)


def _counts(text: str) -> list[int]:
    return [_count(part) for part in text.split(",")]


def _named_table(text: str) -> tuple[str, Path]:
    name, separator, path = text.partition("=")
    if not (name and separator and path):
        raise argparse.ArgumentTypeError(f"must be NAME=PATH, got {text!r}")
    return name, Path(path)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number of seconds above 0, got {text!r}")
    return seconds


def _download(given: argparse.Namespace) -> None:
    for name in given.dataset:
        source = openml_tasks.download(name, given.openml_cache)
        data = load(source)
        print(f"{name}: {data.X.shape[0]} rows, {data.X.shape[1]} features, {data.n_folds} folds")


def _sources(given: argparse.Namespace) -> list[Source]:
    """Find all data sets before anything runs, and prepare them on this machine."""
    sources: list[Source] = [
        folder.find(given.data_dir, name)
        if given.data_dir is not None
        else openml_tasks.find(name, given.openml_cache)
        for name in given.dataset
    ]
    for source in sources:
        load(source)
    return sources


def _launching(given: argparse.Namespace) -> AbstractContextManager[dict[str, Any]]:
    return launching(
        given.launcher,
        template=given.launch_command,
        scheduler=given.dask_scheduler,
        url=given.url,
    )


def _designs(given: argparse.Namespace) -> list[Design]:
    sources = _sources(given)
    return [
        Design(source, replication, given.design_size, given.seed)
        for replication in range(1, given.replications + 1)
        for source in sources
    ]


def _design(given: argparse.Namespace) -> None:
    designs = _designs(given)
    with _launching(given) as launcher:
        for design in designs:
            n = evaluate_design(
                design, given.out, n_workers=given.workers, launcher=launcher, url=given.url
            )
            print(f"{design.source.name} r{design.replication}: {n} points evaluated")


def _run(given: argparse.Namespace) -> None:
    designs = _designs(given)
    wanted = [
        (_configuration(given, design, strategy), design)
        for design in designs
        # In another order in each replication: what the machine does else meets all of them.
        for strategy in _rotated(given.strategy, design.replication)
    ]
    check_folder(given.out, [configuration for configuration, _ in wanted])
    for design in designs:
        read_design(design, given.out)  # all are there before the first run takes its time
    with _launching(given) as launcher:
        for i, (configuration, design) in enumerate(wanted, start=1):
            path = configuration.path(given.out)
            done = path.exists()
            if not done:
                perform(configuration, design, given.out, launcher=launcher, url=given.url)
            print(f"{i}/{len(wanted)} {path.name}: {'is there' if done else 'done'}", flush=True)


def _report(given: argparse.Namespace) -> None:
    from experiments.lightgbm_study.report import write_report  # needs matplotlib

    tables, pictures = given.tables or given.out / "tables", given.figures or given.out / "figures"
    for path in write_report(given.out, tables, pictures):
        print(path)


def _simulate(given: argparse.Namespace) -> None:
    tables: dict[str, list[Path]] = {}
    for name, path in given.table:
        tables.setdefault(name, []).append(path)
    simulate_all(
        tables,
        given.out / "simulated.csv",
        strategies=given.strategy,
        workers=given.workers,
        replications=given.replications,
        seconds=given.seconds,
        design_size=given.design_size,
        cost=given.cost,
        seed=given.seed,
    )


def _configuration(given: argparse.Namespace, design: Design, strategy: str) -> Configuration:
    return Configuration(
        dataset=design.source.name,
        data=design.source.digest[:16],
        strategy=strategy,
        replication=design.replication,
        workers=given.workers,
        seconds=given.seconds,
        surrogate=given.surrogate,
        design_size=given.design_size,
        seed=given.seed,
        launcher=given.launcher,
    )


def _rotated(names: Sequence[str], by: int) -> list[str]:
    start = by % len(names)
    return [*names[start:], *names[:start]]
