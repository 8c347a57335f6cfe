"""One run of a strategy, kept in one file that is there in full or not at all.

``runs/DATASET-STRATEGY-rN.json.gz`` of the results folder has four lines of JSON: what was run and
where; the trials; the samples of CPU time and memory; where each worker's time went. Times are
seconds from the run's start.
"""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, TextIO

import pandas as pd

from experiments.lightgbm_study.design import ConfigurationError, Design, read_design
from experiments.lightgbm_study.objective import CrossValidation
from experiments.lightgbm_study.samples import Sampled
from experiments.mlr3mbo_forest import RandomForest
from experiments.provenance import provenance
from experiments.spaces import LIGHTGBM
from rush_core import RushError
from rush_opt import ACBO, ADBO, CLBO, RandomSearch, TuneResult, tune
from rush_opt.optimizers import Optimizer
from rush_opt.search.candidates import Candidates

STRATEGIES = ("adbo", "acbo", "clbo", "random")
SURROGATES = ("ours", "paper")

# What all runs of a results folder have in common.
_COMMON = ("workers", "seconds", "surrogate", "design_size", "seed", "launcher")
# The phases that a trial's notes account for.
_NOTES = ("objective_s", "surrogate_s", "acquisition_s", "coordination_s", "cpu_s")
_PROPOSER_NOTES = ("proposer", "proposer_cpu_s", "lambda", "n_known")


@dataclass(frozen=True)
class Configuration:
    """What a run is, in full.

    Parameters
    ----------
    dataset : str
    data : str
        The beginning of the data's SHA-256.
    strategy, surrogate : str
    replication : int
    workers : int
    seconds : float
    design_size : int
    seed : int
        The benchmark's.
    launcher : str
        Where the workers ran.
    """

    dataset: str
    data: str
    strategy: str
    replication: int
    workers: int
    seconds: float
    surrogate: str
    design_size: int
    seed: int
    launcher: str

    def path(self, out: Path) -> Path:
        """Return the file of the run in a results folder."""
        return out / "runs" / f"{self.dataset}-{self.strategy}-r{self.replication}.json.gz"


@dataclass(frozen=True)
class Run:
    """A run as it is read back.

    Attributes
    ----------
    configuration : Configuration
    summary : dict
        What is known of the run as a whole: best errors, wall clock, lost workers.
    provenance : dict
    trials, samples, utilization : DataFrame
    """

    configuration: Configuration
    summary: dict[str, Any]
    provenance: dict[str, str]
    trials: pd.DataFrame
    samples: pd.DataFrame
    utilization: pd.DataFrame


def make_optimizer(strategy: str, surrogate: str) -> Optimizer:
    """Return a strategy with our surrogate and candidates, or with the paper's."""
    # mlr3mbo's: 500 full trees, 10,000 random points.
    candidates = Candidates(10_000, n_local=0, n_refine=0, p_choices=0.0)
    settings: dict[str, Any] = (
        {"surrogate": RandomForest(), "candidates": candidates} if surrogate == "paper" else {}
    )
    makers: dict[str, Callable[..., Optimizer]] = {"adbo": ADBO, "acbo": ACBO, "clbo": CLBO}
    return RandomSearch() if strategy == "random" else makers[strategy](**settings)


def perform(
    configuration: Configuration,
    design: Design,
    out: Path,
    *,
    launcher: Mapping[str, Any],
    url: str | None,
) -> None:
    """Run a strategy and write its file.

    Raises
    ------
    ConfigurationError
        If the design is not evaluated.
    KeyboardInterrupt
        If the run was interrupted; nothing was written.
    RushError
        If it ended early for another reason; nothing was written.
    """
    known = read_design(design, out)
    result = tune(
        Sampled(CrossValidation(design.source)),
        LIGHTGBM,
        n_workers=configuration.workers,
        timeout=configuration.seconds,
        optimizer=make_optimizer(configuration.strategy, configuration.surrogate),
        metric="error",
        seed=design.run_seed(),
        url=url,
        initial_design=0,  # the design is known already
        warm_start=known,
        **launcher,
    )
    if result.stop_reason == "interrupted":
        raise KeyboardInterrupt
    if result.stop_reason != "timeout":
        raise RushError(
            f"{configuration.strategy} on {configuration.dataset} was over before its "
            f"{configuration.seconds:g} s ({result.stop_reason}): it does not count, run it again"
        )
    deadline = result.deadline or result.ended_at
    n_joined = sum(worker.started_at < deadline for worker in result.workers)
    if n_joined < configuration.workers:
        raise RushError(
            f"{n_joined} of {configuration.workers} workers joined the run of "
            f"{configuration.strategy} on {configuration.dataset} in time, so it does not count; "
            "see why the others did not start, and run it again"
        )
    tables = [trial_table(result), sample_table(result), result.utilization]
    first = {
        "configuration": asdict(configuration),
        "summary": summarize(result, design_best=min(values["error"] for _, values in known)),
        "provenance": {"lightgbm": version("lightgbm"), **provenance()},
    }
    _write(configuration.path(out), [first, *map(_columns, tables)])


def summarize(result: TuneResult, *, design_best: float) -> dict[str, Any]:
    """Describe a run as a whole."""
    own = [trial for trial in result.frozen_trials if not trial.warm]
    return {
        "wall_s": result.ended_at - result.started_at,
        "deadline_s": (result.deadline or result.ended_at) - result.started_at,
        "design_best": design_best,
        "objective_share": result.objective_share,
        "busy_share": result.busy_share,
        "n_failed": sum(trial.value is None and not trial.lost for trial in own),
        "n_lost": sum(trial.lost for trial in own),
        "n_workers_joined": len(result.workers),
    }


def trial_table(result: TuneResult) -> pd.DataFrame:
    """Return a row per trial of the run: times, value, configuration, where its time went."""
    start = result.started_at
    columns = ["state", "error", "num_iterations", "worker", "started_s", "ended_s"]
    columns += [*_NOTES, *_PROPOSER_NOTES, *(f"params_{name}" for name in LIGHTGBM), "failure"]
    rows = [
        {
            "state": trial.state,
            "error": trial.value,
            "num_iterations": trial.result.get("num_iterations"),
            "worker": trial.worker,
            "started_s": None if trial.started_at is None else round(trial.started_at - start, 4),
            "ended_s": round(trial.ended_at - start, 4),
            **{name: _rounded(trial.notes.get(name)) for name in (*_NOTES, *_PROPOSER_NOTES)},
            **{f"params_{name}": value for name, value in trial.params.items()},
            "failure": trial.error,
        }
        for trial in result.frozen_trials
        if not trial.warm
    ]
    return pd.DataFrame(rows, columns=columns)


def sample_table(result: TuneResult) -> pd.DataFrame:
    """Return a row per worker and second: CPU time used and memory held.

    A sample's time is that of its trial's end less its age, by the server's clock; those from
    before the run, which workers of a long-lived process can have, are left out.
    """
    columns = ["worker", "at_s", "interval_s", "cpu_s", "rss_bytes"]
    rows = [
        (trial.worker, round(trial.ended_at - result.started_at - age, 3), *rest)
        for trial in result.frozen_trials
        for age, *rest in trial.result.get("samples", ())
    ]
    table = pd.DataFrame(rows, columns=columns)
    return table[table["at_s"] > 0].reset_index(drop=True)


def read_run(path: Path) -> Run:
    """Read a run's file.

    Raises
    ------
    ConfigurationError
        If it does not hold a run in full.
    """
    with _opened(path) as file:
        first, trials, samples, utilization = map(json.loads, file)
    return Run(
        configuration=Configuration(**first["configuration"]),
        summary=first["summary"],
        provenance=first["provenance"],
        trials=pd.DataFrame(trials),
        samples=pd.DataFrame(samples),
        utilization=pd.DataFrame(utilization),
    )


def run_files(out: Path) -> list[Path]:
    """Return the files of all runs in a results folder, sorted."""
    return sorted((out / "runs").glob("*.json.gz"))


def check_folder(out: Path, wanted: Sequence[Configuration]) -> None:
    """Refuse a results folder with runs that were made another way.

    Raises
    ------
    ConfigurationError
        Naming the difference, or a file whose beginning cannot be read.
    """
    for found in _configurations(out):
        for new in wanted:
            names = (*_COMMON, "data") if found.dataset == new.dataset else _COMMON
            for name in names:
                before, now = getattr(found, name), getattr(new, name)
                if before != now:
                    raise ConfigurationError(
                        f"{out} has runs with {name} {before}, now it is {now}; use the same "
                        "options, or another --out folder"
                    )


def _configurations(out: Path) -> Iterator[Configuration]:
    for path in run_files(out):
        with _opened(path) as file:
            first = json.loads(file.readline())
        yield Configuration(**first["configuration"])


@contextmanager
def _opened(path: Path) -> Iterator[TextIO]:
    """Open a run's file to read it; what keeps it from being read names the file."""
    try:
        with gzip.open(path, "rt") as file:
            yield file
    except (EOFError, gzip.BadGzipFile, zlib.error, ValueError) as error:
        raise ConfigurationError(
            f"{path} must be the whole file of a run, and cannot be read to its end: {error}; put "
            "back a whole copy, or delete it and run it again"
        ) from error


def _columns(table: pd.DataFrame) -> dict[str, list[Any]]:
    """Return a table as columns, None where a value is missing."""
    plain = table.astype(object).where(table.notna(), None)
    return {str(name): plain[name].tolist() for name in plain}


def _rounded(value: Any) -> Any:
    """Leave out what is below a microsecond."""
    return round(value, 6) if isinstance(value, float) else value


def _write(path: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    """Write a file that appears under its name only when it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    made = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        with made.open("wb") as raw:
            # Without a time in it: the same run makes the same file.
            with gzip.GzipFile(fileobj=raw, mode="wb", mtime=0) as file:
                for line in lines:
                    file.write(json.dumps(line).encode() + b"\n")
            raw.flush()
            os.fsync(raw.fileno())
        made.replace(path)
    finally:
        made.unlink(missing_ok=True)


__all__ = [
    "STRATEGIES",
    "SURROGATES",
    "Configuration",
    "Run",
    "check_folder",
    "make_optimizer",
    "perform",
    "read_run",
    "run_files",
    "sample_table",
    "summarize",
    "trial_table",
]
