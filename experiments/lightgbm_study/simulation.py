"""Many workers in virtual time, on a regression of evaluations that were made before."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments.lightgbm_study.design import ConfigurationError
from experiments.lightgbm_study.paper import (
    DESIGN_SIZE,
    ROWS,
    SECONDS,
    WORKERS,
    find_row,
    paper_cost,
)
from experiments.lightgbm_study.regression import StandIn, check_fit, read_evaluations
from experiments.lightgbm_study.runs import STRATEGIES, make_optimizer
from experiments.provenance import append_rows, provenance
from experiments.spaces import LIGHTGBM
from rush_opt import Space, TuneResult, simulate
from rush_opt.search.design import random_design

COSTS: dict[str, Callable[[int], tuple[float, float]] | None] = {
    "measured": None,
    "paper": paper_cost,
}
_DESIGN, _RUN = 0, 1
# What tells one simulated run from another; rows of the same are not made twice.
KEY = ("dataset", "strategy", "replication", "workers", "seconds", "design_size", "cost", "seed")


def simulate_all(
    tables: Mapping[str, Sequence[Path]],
    path: Path,
    *,
    strategies: Sequence[str],
    workers: Sequence[int],
    replications: int,
    seconds: float,
    design_size: int,
    cost: str,
    seed: int,
) -> None:
    """Simulate all combinations that have no row yet, and append one row each to `path`.

    Parameters
    ----------
    tables : mapping of str to sequence of Path
        The evaluations of each data set.
    path : Path
        The CSV file of the rows.
    strategies, workers, replications
        What is combined.
    seconds : float
        Virtual wall clock.
    design_size : int
        Random points that are known at the beginning.
    cost : str
        A key of `COSTS`: what proposals are charged.
    seed : int

    Raises
    ------
    ConfigurationError
        If the file has rows of a data set that were made from another table; nothing was written.
    """
    common = {"seconds": seconds, "design_size": design_size, "cost": cost, "seed": seed}
    done = _keys(path)
    for dataset, paths in tables.items():
        evaluations = read_evaluations(paths)
        fit = check_fit(evaluations, seed)
        _check_table(path, dataset, fit.n)
        print(
            f"{dataset}: {fit.n} evaluations; cross-validated R2 {fit.error_r2:.2f} of the error, "
            f"{fit.log_seconds_r2:.2f} of the log duration; rank correlations "
            f"{fit.error_rank:.2f}, {fit.seconds_rank:.2f}",
            flush=True,
        )
        stand_in = StandIn(evaluations, seed, fit.smearing)
        for replication in range(1, replications + 1):
            for n_workers in workers:
                for strategy in strategies:
                    row: dict[str, Any] = {
                        "dataset": dataset,
                        "strategy": strategy,
                        "replication": replication,
                        "workers": n_workers,
                        **common,
                    }
                    if tuple(str(row[name]) for name in KEY) not in done:
                        row |= simulate_one(stand_in, **row) | asdict(fit) | provenance()
                        append_rows(path, [row])
                        _report(row)


def simulate_one(
    stand_in: StandIn,
    *,
    dataset: str,
    strategy: str,
    replication: int,
    workers: int,
    seconds: float,
    design_size: int,
    cost: str,
    seed: int,
) -> dict[str, Any]:
    """Simulate one run, and describe what came out."""
    began = time.process_time()

    def seeds(purpose: int) -> np.random.SeedSequence:
        key = (zlib.crc32(dataset.encode()), replication, purpose)
        return np.random.SeedSequence(seed, spawn_key=key)

    space = Space(LIGHTGBM)
    rows = random_design(space, design_size, np.random.default_rng(seeds(_DESIGN)))
    known = [(config, stand_in.error(config)) for config in space.decode(rows)]
    result = simulate(
        stand_in.error,
        space,
        n_workers=workers,
        timeout=seconds,
        optimizer=make_optimizer(strategy, "ours"),
        duration=stand_in.duration,
        cost=COSTS[cost],
        seed=int(seeds(_RUN).generate_state(1, np.uint64)[0]),
        initial_design=0,
        warm_start=known,
    )
    return {
        **describe(result, design_best=min(error for _, error in known)),
        "simulation_cpu_s": round(time.process_time() - began, 1),
    }


def describe(result: TuneResult, *, design_best: float) -> dict[str, float]:
    """Return the figures of the paper's table, and the objective share."""
    deadline = result.deadline or result.ended_at
    own = [trial for trial in result.frozen_trials if not trial.warm]
    in_time = [trial for trial in own if trial.ended_at <= deadline]
    spent = {
        phase: sum(trial.notes.get(f"{phase}_s", 0.0) for trial in own)
        for phase in ("surrogate", "acquisition", "coordination")
    }
    durations = [trial.notes["objective_s"] for trial in own]
    errors = [trial.value for trial in in_time if trial.value is not None]
    return {
        "learners_s": float(result.utilization["objective"].sum()),
        **{f"{phase}_s": spent[phase] for phase in spent},
        "mean_learner_s": float(np.mean(durations)) if durations else float("nan"),
        "evaluations": len(in_time),
        "error": min([design_best, *errors]),
        "design_error": design_best,
        "busy_share": result.busy_share,
        "objective_share": result.objective_share,
    }


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Return means over replications, the published figures beside those of the same setting."""
    datasets = list(dict.fromkeys([*(row.dataset for row in ROWS), *rows["dataset"]]))
    order = rows.assign(
        place=rows["dataset"].map(datasets.index), turn=rows["strategy"].map(STRATEGIES.index)
    ).sort_values(
        ["cost", "seconds", "place", "workers", "turn"], ascending=[True, False, True, True, True]
    )
    rows = rows.loc[order.index]
    keys = ["dataset", "workers", "seconds", "cost", "design_size", "seed", "strategy"]
    shown = ["evaluations", "error", "busy_share", "objective_share", "mean_learner_s"]
    shown += ["learners_s", "surrogate_s", "acquisition_s"]
    means = rows.groupby(keys, sort=False)[shown].mean().reset_index()
    means["replications"] = rows.groupby(keys, sort=False).size().to_numpy()
    for name in ("evaluations", "error", "busy_share", "objective_share"):
        means[f"paper_{name}"] = [
            getattr(published, name)
            if (published := find_row(row.dataset, row.strategy)) and is_published_setting(row)
            else float("nan")
            for row in means.itertuples()
        ]
    return means


def is_published_setting(row: Any) -> bool:
    """Tell whether a row is of as many workers, seconds and design points as the paper's."""
    return bool((row.workers, row.seconds, row.design_size) == (WORKERS, SECONDS, DESIGN_SIZE))


def _keys(path: Path) -> set[tuple[str, ...]]:
    if not path.exists():
        return set()
    found: Iterable[dict[str, Any]] = pd.read_csv(path, dtype=str).to_dict("records")
    return {tuple(str(row[name]) for name in KEY) for row in found}


def _check_table(path: Path, dataset: str, n_evaluations: int) -> None:
    rows = pd.read_csv(path) if path.exists() else pd.DataFrame(columns=["dataset", "n"])
    found = rows.loc[rows["dataset"] == dataset, "n"].unique()
    if any(found != n_evaluations):
        raise ConfigurationError(
            f"{path} has rows of {dataset} made from a table of {found[0]} evaluations, and this "
            f"one has {n_evaluations}; choose another results folder or another name"
        )


def _report(row: dict[str, Any]) -> None:
    print(
        f"  {row['strategy']}, {row['workers']} workers, r{row['replication']}: "
        f"{row['evaluations']} evaluations, error {row['error']:.4f}, busy share "
        f"{row['busy_share']:.1%}, objective share {row['objective_share']:.1%} "
        f"({row['simulation_cpu_s']:.0f} s of CPU)",
        flush=True,
    )
