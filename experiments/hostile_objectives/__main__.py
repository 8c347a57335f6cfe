"""Play the matrix of hostile objectives, and make its table."""

from __future__ import annotations

import argparse
import resource
import signal

import numpy as np
import pandas as pd

from experiments.hostile_objectives.cases import KINDS
from experiments.hostile_objectives.report import as_markdown
from experiments.hostile_objectives.runs import OPTIMIZERS, Run, all_runs, play
from experiments.provenance import RAW, TABLES, append_rows, provenance

ROWS = RAW / "hostile_objectives.csv"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of the order")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--optimizers", nargs="+", choices=OPTIMIZERS, default=OPTIMIZERS)
    parser.add_argument("--case", default="", help="only cases with this in their names")
    parser.add_argument("--missing", action="store_true", help="only runs without any row")
    parser.add_argument("--dry", action="store_true", help="show what is wrong, and write nothing")
    arguments = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # crashes are meant
    # What a shell or nohup starts in the background ignores signals, and so do its children. A run
    # that hangs is interrupted by SIGINT.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    runs = _chosen(arguments)
    common = {"seed": arguments.seed, **provenance()}
    rng = np.random.default_rng(np.random.SeedSequence(arguments.seed))
    for i in rng.permutation(len(runs)):
        rows = _rows(runs[i])
        for row in rows:
            if not row["right"] or row["left_over"]:
                print({name: value for name, value in row.items() if name != "kind"}, flush=True)
        if not arguments.dry:
            append_rows(ROWS, [row | common for row in rows])
    if not arguments.dry:
        table = as_markdown(pd.read_csv(ROWS, keep_default_na=False))
        print(table)
        (TABLES / "hostile_objectives.md").write_text(table)


def _chosen(arguments: argparse.Namespace) -> list[Run]:
    played = _played() if arguments.missing else set()
    return [
        run
        for run in all_runs()
        if run.cases[0].partition(":")[0] in arguments.kinds
        and run.optimizer in arguments.optimizers
        and any(arguments.case in name for name in run.cases)
        and (run.cases[0], run.limited, run.optimizer) not in played
    ]


def _played() -> set[tuple[str, bool, str]]:
    """Return the runs that have rows: their first cases, whether with limits, and optimizers."""
    if not ROWS.exists():
        return set()
    rows = pd.read_csv(ROWS, keep_default_na=False)
    names = rows["kind"] + ": " + rows["case"]
    return set(zip(names, rows["limits"] == "yes", rows["optimizer"], strict=True))


def _rows(run: Run) -> list[dict[str, object]]:
    """Play a run; return one row for each of its cases."""
    played = play(run)
    return [
        {
            "kind": verdict.case.partition(": ")[0],
            "case": verdict.case.partition(": ")[2],
            "limits": "yes" if run.limited else "no",
            "optimizer": run.optimizer,
            "cases_in_run": len(run.cases),
            "expected": verdict.expected,
            "found": verdict.found,
            "exact_budget": played.exact_budget,
            "right": verdict.as_expected and played.others_right and played.exact_budget,
            "left_over": played.n_left_over,
            "seconds": round(played.seconds, 2),
            "error": "" if verdict.as_expected else verdict.error,
        }
        for verdict in played.verdicts
    ]


if __name__ == "__main__":
    main()
