"""What share of their time do thousands of workers spend in an objective of one second?

Simulated: workers that each propose for themselves, as with ADBO, whose trials take one second on
average (log-normal), in virtual time: 1,024, 4,096 and 16,384 of them. A proposal takes as long as
ADBO's, and adding a result to the archive as long as it does (`experiments.proposal_cost`,
`experiments.record_cost`), but the points are random ones: fitting a model for each of them would
take hours here. The requests to the server, its queue and the reading of all results are charged as
`rush_opt.simulation.coordination` states them, for three kinds of networks: each worker reads for
itself; one process of each host of 128 workers reads for all of them; and it also sends what they
write, several requests at a time (`experiments.core_load.run_hosts`).

Expected before measuring: on nodes, 4,096 workers have an objective share of 0.98. 16,384 have one
of 0.8, because their requests are more than the server can handle, and of 0.95 with writes sent
together. Where each worker reads for itself, 1,024 workers have a share of 0.99, 4,096 of 0.4, and
16,384 of 0.03.

Shares are those of the second half of a run: in the first, all workers start at once.

Run from the project's root: ``python -m experiments.simulated_nodes``
"""

from __future__ import annotations

import argparse
import os
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from experiments.provenance import RAW, TABLES, append_rows, provenance
from rush_opt import ADBO, Float, TuneResult
from rush_opt.arguments.initial_design import initial_points_of
from rush_opt.arguments.plan import make_plan, make_problem
from rush_opt.optimizers.base import Place, Placement, Proposal, Timing
from rush_opt.optimizers.random_search import RandomProposer
from rush_opt.problem.problem import Problem
from rush_opt.search.archive import Archive
from rush_opt.search.pending import Pending
from rush_opt.simulate import result_of
from rush_opt.simulation.coordination import ALONE, ON_NODES, Coordination
from rush_opt.simulation.costs import Costs
from rush_opt.simulation.play import play
from rush_opt.simulation.virtual_run import VirtualRun

ROWS = RAW / "simulated_nodes.csv"
SPACE = {f"x{i}": Float(0.0, 1.0) for i in range(8)}
N_WORKERS = (1_024, 4_096, 16_384)

WAYS = {
    "each worker reads": ALONE,
    "one reader per host": ON_NODES,
    # With a pause of 10 ms between sends, 16,384 workers took 48 µs of the server per task.
    "one reader per host, writes together": replace(ON_NODES, server_step_s=29e-6),
}

# The spread of the durations, of their logarithm. Their mean is one second.
_SIGMA = 0.3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=8.0, help="of virtual time")
    parser.add_argument("--workers", nargs="+", type=int, default=N_WORKERS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tables-only", action="store_true", help="measure nothing")
    arguments = parser.parse_args()
    if not arguments.tables_only:
        cells = [(way, n) for n in arguments.workers for way in WAYS]
        random.Random(arguments.seed).shuffle(cells)
        for way, n_workers in cells:
            row = measure(way, n_workers, arguments.seconds, arguments.seed)
            append_rows(ROWS, [row | provenance()])
            print(row, flush=True)
    table = as_markdown(pd.read_csv(ROWS))
    print(table)
    (TABLES / "simulated_nodes.md").write_text(table)


def measure(way: str, n_workers: int, timeout_s: float, seed: int) -> dict[str, Any]:
    """Simulate one network."""
    load, began = os.getloadavg()[0], time.process_time()
    result = run(WAYS[way], n_workers, timeout_s, seed)
    return {
        "way": way,
        "n_workers": n_workers,
        "timeout_s": timeout_s,
        "seed": seed,
        **shares(result, timeout_s / 2, timeout_s),
        "cpu_s": round(time.process_time() - began, 1),
        "load": round(load, 2),
    }


def run(coordination: Coordination, n_workers: int, timeout_s: float, seed: int) -> TuneResult:
    """Simulate like `rush_opt.simulate`, with costs that were measured before."""
    problem = make_problem(SPACE, "value", "minimize", seed)
    plan = make_plan(
        objective,
        problem,
        AsLongAsADBO(),
        n_workers=n_workers,
        n_trials=None,
        timeout=timeout_s,
        stop=None,
    )
    durations = np.random.default_rng(seed).lognormal(-(_SIGMA**2) / 2, _SIGMA, 1 << 20).tolist()
    virtual = VirtualRun(plan, lambda config, number: durations[number], [])
    charged = replace(coordination, record_s=coordination.record_s + cost_of_adding())
    play(
        virtual,
        initial_points_of(plan, None, []),
        Costs(problem, proposal_cost(), charged, n_workers),
    )
    return result_of(virtual)


@dataclass(frozen=True)
class AsLongAsADBO:
    """Settings of a search whose workers learn of all results, and propose random points."""

    placement: ClassVar[Placement] = "each worker"

    def n_initial(self, n_dims: int, n_workers: int) -> int:
        """Return as many points as ADBO."""
        return ADBO().n_initial(n_dims, n_workers)

    def proposer(self, problem: Problem, place: Place) -> InformedProposer:
        """Return the proposer of one worker."""
        return InformedProposer(RandomProposer(problem.worker_rng(place.number)))


@dataclass(frozen=True)
class InformedProposer:
    """Proposes random points, and says how many results are known: the costs depend on that."""

    draws: RandomProposer

    def propose(
        self, archive: Archive, pending: Pending, timing: Timing, n: int
    ) -> Sequence[Proposal]:
        """Choose one configuration; see `Proposer.propose`."""
        (proposal,) = self.draws.propose(archive, pending, timing, n)
        return [Proposal(proposal.config, {"n_known": len(archive)})]


def proposal_cost() -> Callable[[int], tuple[float, float]]:
    """Return the seconds of ADBO's surrogate and search as a function of the known results."""
    rows = pd.read_csv(RAW / "proposal_cost.csv")
    rows = rows[(rows["n_dims"] == len(SPACE)) & rows["what"].isin(["fit", "search"])]
    medians = rows.groupby(["what", "n_finished"])["value"].median() / 1e3
    sizes = medians["fit"].index.to_numpy(float)
    fit, search = (medians[what].to_numpy(float) for what in ("fit", "search"))
    return lambda n: (float(np.interp(n, sizes, fit)), float(np.interp(n, sizes, search)))


def cost_of_adding() -> float:
    """Return the seconds of adding one of many results to an archive."""
    rows = pd.read_csv(RAW / "record_cost.csv")
    rows = rows[(rows["part"] == "add") & (rows["n_new"] == rows["n_new"].max())]
    return float(rows["us"].median()) / 1e6


def objective(config: dict[str, float]) -> float:
    """Return the distance from a point, squared."""
    return sum((x - 0.3) ** 2 for x in config.values())


def shares(result: TuneResult, begin_s: float, end_s: float) -> dict[str, float]:
    """Return the shares of the time of all workers between two moments.

    Returns
    -------
    dict
        ``objective_share``, ``proposal_share`` and ``coordination_share`` of the trials that start
        in this time, ``tasks_per_s`` in it, and ``n_ended``: how many trials ended in all.
    """
    all_s = len(result.workers) * (end_s - begin_s)
    objective_s = proposal_s = coordination_s = 0.0
    n_inside = 0
    for trial in result.frozen_trials:
        if trial.started_at is None or trial.ended_at is None:
            continue
        objective_s += max(0.0, min(trial.ended_at, end_s) - max(trial.started_at, begin_s))
        if begin_s <= trial.started_at < end_s:
            notes = trial.notes
            proposal_s += notes.get("surrogate_s", 0.0) + notes.get("acquisition_s", 0.0)
            coordination_s += notes.get("coordination_s", 0.0)
            n_inside += 1
    return {
        "objective_share": round(objective_s / all_s, 4),
        "proposal_share": round(proposal_s / all_s, 4),
        "coordination_share": round(coordination_s / all_s, 4),
        "tasks_per_s": round(n_inside / (end_s - begin_s), 1),
        "n_ended": len(result.frozen_trials),
    }


def as_markdown(rows: pd.DataFrame) -> str:
    """Make the table of the last run of each cell."""
    last = rows.drop_duplicates(["way", "n_workers"], keep="last")
    source = last.iloc[-1]
    lines = [
        "# What share of their time thousands of workers spend in an objective of one second",
        "",
        f"In virtual time, {source['timeout_s']:g} s, the second half of it; proposals take "
        "as long as ADBO's; 8 parameters; "
        f"{source['machine']}, Python {source['python']}, commit {source['commit']}. Rows: "
        "`results/raw/simulated_nodes.csv`, made by `python -m experiments.simulated_nodes`.",
        "",
        "| way | workers | tasks per s | objective share | surrogate and acquisition | requests, "
        "the server's queue and reading | trials in all |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for cell in last.sort_values(["way", "n_workers"]).itertuples():
        lines.append(
            f"| {cell.way} | {cell.n_workers:,} | {cell.tasks_per_s:,.0f} | "
            f"{cell.objective_share:.3f} | {cell.proposal_share:.3f} | "
            f"{cell.coordination_share:.3f} | {cell.n_ended:,} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
