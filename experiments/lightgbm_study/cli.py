"""The command line of the benchmark: every argument is made usable, or refused at the door."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from experiments.lightgbm_study import folder, openml_tasks
from experiments.lightgbm_study.data import DataError, Source, load
from experiments.lightgbm_study.design import ConfigurationError, Design, evaluate_design
from experiments.lightgbm_study.launchers import LAUNCHERS, launching
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
    parser.add_argument("--url", help="the server; by default RUSH_REDIS_URL or an embedded one")


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number >= 1, got {text!r}")
    return int(text)


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


def _designs(given: argparse.Namespace) -> list[Design]:
    sources = _sources(given)
    return [
        Design(source, replication, given.design_size, given.seed)
        for replication in range(1, given.replications + 1)
        for source in sources
    ]


def _design(given: argparse.Namespace) -> None:
    designs = _designs(given)
    with launching(given.launcher) as launcher:
        for design in designs:
            n = evaluate_design(
                design, given.out, n_workers=given.workers, launcher=launcher, url=given.url
            )
            print(f"{design.source.name} r{design.replication}: {n} points evaluated")
