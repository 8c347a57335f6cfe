"""How many trials per second, how soon the first, how much memory, and how exact a budget?

Question, prediction, set-up and command are in README.md. Every cell runs in an interpreter of its
own, one at a time, in shuffled order; one repeat of all cells follows another. Every cell that has
ended is a row at once; a cell that has a row is not run again.

Run from the project's root, in the environment of README.md:
``python -m experiments.peers.speed``; ``--report`` makes the table and the figure.
"""

from __future__ import annotations

import argparse
import csv
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from experiments.peers import rates, report
from experiments.peers.tools import RECORDS, SLEEP, TOOLS, read_records
from experiments.provenance import RAW, ROOT, append_rows, provenance

ROWS = RAW / "peers_speed.csv"
# Seconds that the objective sleeps, and the numbers of trials asked for.
GRID = {0.0: (100, 1_000, 10_000), 0.05: (100, 1_000)}
# Time that a package may need beyond its limit, to start and to stop, before it is killed.
GRACE_S = 60.0


class Cell(NamedTuple):
    """One run; the number of the repeat is its seed."""

    tool: str
    sleep_s: float
    n_trials: int
    seed: int


def cells_done(path: Path) -> set[Cell]:
    """Read which cells have a row."""
    if not path.exists():
        return set()
    with path.open(newline="") as file:
        return {
            Cell(row["tool"], float(row["sleep_s"]), int(row["n_trials"]), int(row["seed"]))
            for row in csv.DictReader(file)
        }


def measure(cell: Cell, cap_s: float) -> dict[str, Any]:
    """Run a cell in a process of its own and describe what its evaluations recorded."""
    tool = TOOLS[cell.tool]
    with tempfile.TemporaryDirectory() as folder:
        records = Path(folder) / "records"
        records.touch()
        command = [sys.executable, "-m", "experiments.peers.cell", cell.tool]
        command += [str(cell.n_trials), str(cap_s), str(cell.seed)]
        one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        objective = {RECORDS: str(records), SLEEP: str(cell.sleep_s)}
        started_at = time.time()
        error = _run(command, {**os.environ, **one_thread, **objective}, cap_s + GRACE_S)
        total_s = time.time() - started_at
        found = read_records(records)
    return {
        **{"tool": cell.tool, "sampler": tool.sampler, "sharing": tool.sharing},
        **{"sleep_s": cell.sleep_s, "n_trials": cell.n_trials, "cap_s": cap_s, "seed": cell.seed},
        "n_ran": len(found.ended_at),
        **rates.describe(found.ended_at, started_at, cell.n_trials),
        "total_s": round(total_s, 3),
        "worker_peak_mib": round(int(found.peak_kib.max(initial=0)) / 1024, 1),
        "n_processes": len(np.unique(found.pid)),
        "error": error,
    }


def _run(command: Sequence[str], environment: dict[str, str], limit_s: float) -> str:
    """Run a command to its end or to the limit, and say what went wrong."""
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            command, env=environment, stdout=output, stderr=output, cwd=ROOT, start_new_session=True
        )
        try:
            process.wait(limit_s)
        except subprocess.TimeoutExpired:
            return f"had to be ended after {limit_s:g} s"
        finally:
            _end_session(process)
        if not process.returncode:
            return ""
        output.seek(0)
        last = output.read().strip().splitlines()[-1:] or ["no output"]
        return f"exit code {process.returncode}: {last[0]}"[:300]


def _end_session(process: subprocess.Popen[bytes]) -> None:
    """End the processes that a cell started and did not end."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait()


def main() -> None:
    """Measure the missing cells, or report on the existing rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--cap", type=float, default=60.0, help="seconds for a cell's trials")
    parser.add_argument("--tools", nargs="+", choices=TOOLS, default=list(TOOLS), metavar="NAME")
    parser.add_argument("--most", type=int, default=10_000, help="trials to ask for at most")
    parser.add_argument("--rows", type=Path, default=ROWS)
    parser.add_argument("--report", action="store_true")
    arguments = parser.parse_args()
    if arguments.report:
        write_report(pd.read_csv(arguments.rows, keep_default_na=False))
        return
    done, common = cells_done(arguments.rows), provenance()
    sizes = [(s, n) for s, counts in GRID.items() for n in counts if n <= arguments.most]
    for repeat in range(arguments.repeats):
        work = list(product(arguments.tools, sizes))
        random.Random(repeat).shuffle(work)
        for tool, (sleep_s, n_trials) in work:
            cell = Cell(tool, sleep_s, n_trials, repeat)
            if cell in done:
                continue
            row = measure(cell, arguments.cap)
            append_rows(arguments.rows, [{**row, **common}])
            print(*row.values(), flush=True)


def write_report(rows: pd.DataFrame) -> None:
    """Write the table and the figure."""
    medians = rates.medians(rows)
    report.write("peers_speed", rates.as_markdown(rows), rates.as_figure(medians), medians)


if __name__ == "__main__":
    main()
