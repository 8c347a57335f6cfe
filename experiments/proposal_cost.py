"""What do a proposal and the reading of new results cost while finished tasks accumulate?

``python -m experiments.proposal_cost`` appends rows to ``results/raw/proposal_cost.csv`` and writes
``results/tables/proposal_cost.md`` from this run's rows. Times are CPU milliseconds on one core.

Expected before measuring: in 8 dimensions, a proposal takes at most 4 ms after 100 finished tasks,
8 ms after 1,000, and 12 ms after 16,000 and 100,000, with 0, 64 or 448 pending points. Adding the
decoded results of 448 workers takes at most 1 ms.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pandas as pd
from sklearn.ensemble import ExtraTreesRegressor, RandomForestRegressor

from experiments.mlr3mbo_forest import RandomForest
from experiments.provenance import RAW, TABLES, append_rows, provenance
from experiments.spaces import LIGHTGBM
from rush_core import TaskTable
from rush_core.kernel.task import decode_tasks
from rush_opt.models.forest import ExtraTrees
from rush_opt.models.gaussian_process import GaussianProcess
from rush_opt.models.surrogate import Surrogate
from rush_opt.optimizers import ADBO
from rush_opt.problem.goal import Goal
from rush_opt.search.archive import Archive
from rush_opt.search.candidates import propose
from rush_opt.search.design import random_design
from rush_opt.search.pending import Pending
from rush_opt.space import Categorical, Float, Space

N_FINISHED = (100, 1_000, 16_000, 100_000)
N_PENDING = (0, 64, 448)
N_NEW = 448

SPACES = {
    "flat, 8": Space(LIGHTGBM),
    "flat, 30": Space(LIGHTGBM | {f"x{i}": Float(0, 1) for i in range(22)}),
    # 3 parameters of one choice out of three besides two common ones are active at a time.
    "conditional, 12": Space(
        {
            "method": Categorical(["a", "b", "c"]),
            "rate": Float(1e-3, 1.0, log=True),
            "share": Float(0.1, 1.0),
            **{f"{m}{i}": Float(0, 1, when={"method": m}) for m in "abc" for i in range(3)},
        }
    ),
}


def records(space: Space, n: int, rng: np.random.Generator) -> list[bytes]:
    """Make finished tasks as they lie in the server: MessagePack records."""
    X = random_design(space, n, rng)
    values = ((X[:, 1:8] - 0.35) ** 2).sum(axis=1) + 0.1 * rng.standard_normal(n)
    encode = msgspec.msgpack.encode
    return [
        encode(["worker", 0, f"{i:032x}"[:31], config, None, 0.0, 1.0, {"error": y}, None, None])
        for i, (config, y) in enumerate(zip(space.decode(X), values.tolist(), strict=True))
    ]


def cpu_ms(action: Callable[[], Any]) -> float:
    """Time one call."""
    begin = time.thread_time_ns()
    action()
    return (time.thread_time_ns() - begin) / 1e6


def measurements(name: str, n: int, seed: int) -> dict[str, Callable[[], Any]]:
    """Prepare the timed functions for one size; each can be called repeatedly."""
    space, rng = SPACES[name], np.random.default_rng(seed)
    old, new = records(space, n, rng), records(space, N_NEW, rng)
    archive = Archive(space, [Goal("error")])
    archive.add(TaskTable(decode_tasks(old, b"finished")))
    surrogate = ADBO().surrogate
    model = surrogate.fit(archive.X, archive.y, rng)
    configs = space.decode(random_design(space, max(N_PENDING), rng))
    growing = Archive(space, [Goal("error")])
    growing.add(TaskTable(decode_tasks(old, b"finished")))

    def total(surrogate: Surrogate, n_pending: int = 0) -> Callable[[], Any]:
        pending = Pending(space)
        for i, config in enumerate(configs[:n_pending]):
            pending.add(str(i), config)
        return lambda: propose(
            archive, surrogate.fit(archive.X, archive.y, rng), 1.0, rng, pending=pending
        )

    actions: dict[str, Callable[[], Any]] = {
        "fit": lambda: surrogate.fit(archive.X, archive.y, rng),
        "search": lambda: propose(archive, model, 1.0, rng),
        **{f"proposal, {k} pending": total(surrogate, k) for k in N_PENDING},
        "proposal by trees": total(ExtraTrees()),
        "proposal by a process": total(GaussianProcess()),
        f"take in {N_NEW}": lambda: growing.add(TaskTable(decode_tasks(new, b"finished"))),
    }
    if name == "flat, 8" and n == 1_000:
        actions |= {
            "mlr3mbo's forest, fit": lambda: RandomForest().fit(archive.X, archive.y, rng),
            "stock 100 extra trees, fit": lambda: ExtraTreesRegressor().fit(archive.X, archive.y),
            "stock 100-tree forest, fit": lambda: RandomForestRegressor().fit(archive.X, archive.y),
        }
    return actions


def measure(n_repeats: int, seed: int) -> list[dict[str, Any]]:
    """Time everything again and again, in a new order each time, after one warm-up."""
    cells = [
        (name, n, what, action)
        for name in SPACES
        for n in N_FINISHED
        for what, action in measurements(name, n, seed).items()
    ]
    source = provenance()
    for *_, action in cells:
        action()
    rng = np.random.default_rng(seed)
    rows = []
    for repeat in range(n_repeats):
        for i in rng.permutation(len(cells)):
            name, n, what, action = cells[i]
            if repeat >= 5 and "fit" in what and what != "fit":
                continue  # the comparisons take seconds: five are enough
            n_dims = SPACES[name].n_dims
            row = {"what": what, "n_dims": n_dims, "n_finished": n, "repeat": repeat}
            rows.append({**row, "value": round(cpu_ms(action), 4), "unit": "CPU ms", "seed": seed})
    return [{**row, **source} for row in rows]


def table(rows: pd.DataFrame) -> str:
    """Summarize rows: median and quartiles per cell, as Markdown."""
    lines = [
        "| what | dimensions | finished | median CPU ms | quartiles | n |",
        "|---|---|---|---|---|---|",
    ]
    cells = rows.groupby(["n_dims", "what", "n_finished"], sort=False)["value"]
    for (n_dims, what, n), values in sorted(cells, key=lambda cell: cell[0]):
        low, median, high = values.quantile([0.25, 0.5, 0.75])
        lines.append(
            f"| {what} | {n_dims} | {n:,} | {median:.2f} | {low:.2f} .. {high:.2f} "
            f"| {len(values)} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Pin to one core, measure, keep the rows, write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=21)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)))
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {arguments.core})
    rows = measure(arguments.repeats, arguments.seed)
    append_rows(RAW / "proposal_cost.csv", rows)
    TABLES.mkdir(parents=True, exist_ok=True)
    source = rows[0]
    (TABLES / "proposal_cost.md").write_text(
        f"# CPU time of a proposal\n\n{source['machine']}, one core; Python {source['python']}, "
        f"NumPy {source['numpy']}, scikit-learn {source['scikit_learn']}; {source['started']}. "
        "Made by `python -m experiments.proposal_cost` from `results/raw/proposal_cost.csv`.\n\n"
        + table(pd.DataFrame(rows))
    )


if __name__ == "__main__":
    main()
