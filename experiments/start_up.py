"""How soon do the workers of `tune()` run trials, and what does their start cost?

Measured, from the start of the interpreter that tunes: seconds until the first trial begins, until
every worker has begun one, until the first trial begins whose point a model chose, and until the
interpreter has ended; CPU seconds of all processes together; and the memory of a worker, with a
Gaussian process and trees in it, when nine of ten trials have ended. With 1, 2, 8 and 32 workers,
with an objective that costs nothing and with one that sleeps for 50 ms. Beside it Optuna, with
threads, and with processes that share a journal on a server.

Each cell runs in a process of its own, in shuffled order. Another version is measured in between if
its checkout is given, with an environment in ``.venv`` and copies of ``start_up_cell.py`` and
``process_memory.py``.

Expected before measuring, of workers that are forked from one process that has imported what they
need: 32 workers all run trials within 2 s, 400 free trials take them at most 5 s, and a worker has
at most 25 MB of its own. With one or two workers, the first trial begins no more than 0.3 s later
than in fresh processes.

Needs Linux. Run from the project's root: ``python -m experiments.start_up --before PATH``
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import itertools
import json
import os
import random
import resource
import struct
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from experiments.provenance import RAW, ROOT, TABLES, append_rows, provenance
from experiments.start_up_cell import RECORD, RECORDS, SLEEP, TOOLS

ROWS = RAW / "start_up.csv"

N_WORKERS = (1, 2, 8, 32)
SLEEPS_S = (0.0, 0.05)
TIMEOUT_S = 180.0
_PR_SET_CHILD_SUBREAPER = 36


class Cell(NamedTuple):
    """One run.

    Attributes
    ----------
    version : str
        ``"after"`` is this checkout, ``"before"`` the given one.
    tool : str
        A name in `TOOLS`.
    n_workers : int
    sleep_s : float
        How long the objective sleeps.
    """

    version: str
    tool: str
    n_workers: int
    sleep_s: float

    @property
    def n_trials(self) -> int:
        """Enough for every worker to run several trials that a model chose."""
        return 100 if self.n_workers == 1 and self.sleep_s else 400


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", type=Path, help="a checkout of another version")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--tools", nargs="+", choices=TOOLS, default=list(TOOLS), metavar="NAME")
    parser.add_argument("--workers", nargs="+", type=int, default=N_WORKERS)
    parser.add_argument("--tables-only", action="store_true", help="measure nothing")
    arguments = parser.parse_args()
    if not arguments.tables_only:
        roots = {"after": ROOT}
        if arguments.before is not None:
            roots["before"] = arguments.before.resolve()
        measure_all(roots, arguments.tools, arguments.workers, arguments.repeats)
    table = as_markdown(pd.read_csv(ROWS))
    print(table)
    (TABLES / "start_up.md").write_text(table)


def measure_all(
    roots: dict[str, Path], tools: Sequence[str], n_workers: Sequence[int], repeats: int
) -> None:
    """Run all cells, in shuffled order, and append their rows as they come."""
    adopt_orphans()
    sources = {version: provenance(root) for version, root in roots.items()}
    cells = [
        Cell(*values)
        for values in itertools.product(roots, tools, n_workers, SLEEPS_S)
        if values[0] == "after" or values[1].startswith("rush")
    ]
    for seed in range(repeats):
        random.Random(seed).shuffle(cells)
        for cell in cells:
            row = measure(cell, roots[cell.version], seed)
            started = {"started": provenance()["started"]}
            append_rows(ROWS, [{**row, **sources[cell.version], **started}])
            print(*row.values(), flush=True)


def adopt_orphans() -> None:
    """Become the parent of descendants whose parents end, so that their CPU time is counted."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


def measure(cell: Cell, root: Path, seed: int) -> dict[str, Any]:
    """Run one cell in a process of its own."""
    python = root / ".venv" / "bin" / "python"
    command = [str(python), "-m", "experiments.start_up_cell", cell.tool]
    command += [str(cell.n_workers), str(cell.n_trials), str(seed)]
    with tempfile.NamedTemporaryFile() as records:
        environment = {**os.environ, RECORDS: records.name, SLEEP: str(cell.sleep_s)}
        environment |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        load, cpu_s, began = os.getloadavg()[0], children_cpu_s(), time.time()
        done = subprocess.run(
            command, cwd=root, env=environment, capture_output=True, timeout=TIMEOUT_S
        )
        total_s = time.time() - began
        reap_orphans()
        cpu_s = children_cpu_s() - cpu_s
        found = list(struct.iter_unpack(RECORD, Path(records.name).read_bytes()))
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    said = json.loads(done.stdout) if not done.returncode else {}
    return {
        **cell._asdict(),
        "n_trials": cell.n_trials,
        "seed": seed,
        **times(found, cell.n_workers, said.get("modelled_at"), began),
        "total_s": round(total_s, 3),
        "cpu_s": round(cpu_s, 2),
        "pss_mb": said.get("pss_mb"),
        "private_mb": said.get("private_mb"),
        "n_ran": len(found),
        "load": round(load, 2),
        "error": lines[-1][:300] if done.returncode else "",
    }


def times(
    found: Sequence[tuple[float, int, int, bool]],
    n_workers: int,
    modelled_at: float | None,
    began: float,
) -> dict[str, float | None]:
    """Tell when the first trial began, when all workers had begun one, and the first modelled one.

    Parameters
    ----------
    found : sequence of tuple
        Time, process, thread and whether a model had chosen the point, of each trial.
    n_workers : int
    modelled_at : float or None
        When the first modelled trial began, if the tool said it, seconds since 1970.
    began : float
        Seconds since 1970.

    Returns
    -------
    dict
        ``first_s``, ``all_s``, ``modelled_s``; None for what did not happen.
    """
    firsts: dict[tuple[int, int], float] = {}
    for at, pid, thread, is_modelled in sorted(found):
        firsts.setdefault((pid, thread), at)
        if is_modelled and modelled_at is None:
            modelled_at = at
    starts = sorted(firsts.values())
    moments = {
        "first_s": starts[0] if starts else None,
        "all_s": starts[n_workers - 1] if len(starts) >= n_workers else None,
        "modelled_s": modelled_at,
    }
    return {name: None if at is None else round(at - began, 3) for name, at in moments.items()}


def children_cpu_s() -> float:
    """Return the CPU seconds of all descendants that have ended and were waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def reap_orphans() -> None:
    """Wait for the end of adopted descendants; they end by themselves within a second."""
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)


def as_markdown(rows: pd.DataFrame) -> str:
    """Make the table of what was measured on the last day."""
    days = rows["started"].str[:10]
    rows = rows[days == days.iloc[-1]]
    commits = rows.groupby("version")["commit"].unique().map(", ".join)
    source = rows.iloc[-1]
    lines = [
        "# How soon workers run trials",
        "",
        f"Seconds from the start of the interpreter; medians. {source['machine']}, two cores, "
        f"Python {source['python']}. "
        + "; ".join(f"{version}: commit {commit}" for version, commit in commits.items())
        + ". CPU: of all processes, from their start to their end, trials included. Memory: of "
        "one worker, after a Gaussian process and trees were fitted; shared pages count as a "
        "share of each process that has them, and not at all in the second number. Load: the "
        "number of processes of the machine that wanted to run when a cell began; where it is far "
        "above two, other programs had most of the machine: compare CPU and memory there, not "
        "seconds. Rows: "
        "`results/raw/start_up.csv`, made by `python -m experiments.start_up`.",
        "",
        "| version | tool | workers | objective, ms | trials | first trial | all workers | "
        "first modelled | end | CPU, s | memory, MB: proportional, its own | load | n |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    keys = ["tool", "n_workers", "sleep_s", "version"]
    for (tool, n_workers, sleep_s, version), group in rows.groupby(keys):
        shown = "" if tool.startswith("Optuna") else version
        median = group[["first_s", "all_s", "modelled_s", "total_s", "cpu_s", "load"]].median()
        cells = [_number(median[name]) for name in ("first_s", "all_s", "modelled_s", "total_s")]
        cells.append(_number(median["cpu_s"]))
        cells.append(
            ", ".join(
                f"{value:.0f}"
                for value in group[["pss_mb", "private_mb"]].median()
                if not pd.isna(value)
            )
        )
        lines.append(
            f"| {shown} | {tool} | {n_workers} | {1000 * sleep_s:.0f} | "
            f"{group['n_trials'].iloc[0]} | {' | '.join(cells)} | {median['load']:.1f} | "
            f"{len(group)} |"
        )
    return "\n".join(lines) + "\n"


def _number(value: float) -> str:
    return "" if pd.isna(value) else f"{value:.2f}"


if __name__ == "__main__":
    main()
