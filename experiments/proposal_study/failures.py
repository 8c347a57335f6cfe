"""Ask what failed trials teach: a third of a space fails, and workers know of it or not.

``python -m experiments.proposal_study.failures`` appends rows to
``results/raw/proposal_failures.csv`` and writes ``results/tables/proposal_failures.md``.

Expected before measuring: without the knowledge a third of the trials fails, early and late; with
it, a third early, and hardly any at the end.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import pandas as pd

from experiments.proposal_study.problems import holes
from experiments.proposal_study.simulate import simulate
from experiments.proposal_study.variants import Variant
from experiments.provenance import RAW, TABLES, append_rows, provenance
from rush_opt import ADBO

N_WORKERS, N_TRIALS, N_PARTS = 8, 120, 4


def measure(seed: int, *, knows_failed: bool) -> dict[str, Any]:
    """Run once, and count failures by quarter of the trials."""
    outcome = simulate(
        holes(np.random.default_rng(seed)),
        Variant(surrogate=ADBO().surrogate),
        n_workers=N_WORKERS,
        n_trials=N_TRIALS,
        seed=seed,
        knows_failed=knows_failed,
    )
    failures = outcome.failures.reshape(N_PARTS, -1).sum(axis=1).tolist()
    return {
        "knows_failed": knows_failed,
        "seed": seed,
        **{f"failed_{i + 1}": n for i, n in enumerate(failures)},
        "regret": outcome.regrets[-1],
    }


def table(rows: pd.DataFrame) -> str:
    """Give mean failures by quarter, with their 95 % intervals, and the geometric mean regret."""
    n_each = N_TRIALS // N_PARTS
    lines = [
        "# Failed trials where a third of the space fails",
        "",
        f"Of {n_each} trials each, {N_WORKERS} workers; mean and 95 % interval over runs. "
        "Rows: `results/raw/proposal_failures.csv`, made by "
        "`python -m experiments.proposal_study.failures`.",
        "",
        "| failed trials are known | first quarter | second | third | last | regret | runs |",
        "|---|---|---|---|---|---|---|",
    ]
    for known, part in rows.groupby("knows_failed"):
        cells = []
        for i in range(1, N_PARTS + 1):
            counts = part[f"failed_{i}"]
            cells.append(f"{counts.mean():.1f} ± {1.96 * counts.sem():.1f}")
        regret = np.exp(np.log(part["regret"]).mean())
        lines.append(
            f"| {'yes' if known else 'no'} | {' | '.join(cells)} | {regret:.2g} | {len(part)} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run both ways on the same seeds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs=2, default=[0, 20], help="first, one past last")
    arguments = parser.parse_args()
    path, source = RAW / "proposal_failures.csv", provenance()
    for seed in range(*arguments.seeds):
        for knows_failed in (False, True):
            append_rows(path, [{**measure(seed, knows_failed=knows_failed), **source}])
    (TABLES / "proposal_failures.md").write_text(table(pd.read_csv(path)))


if __name__ == "__main__":
    main()
