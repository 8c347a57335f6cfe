"""Run all rounds, append one row for each fault, and write the table of this run."""

from __future__ import annotations

import argparse
import signal
import time

import experiments.chaos
from experiments.chaos.faults import WEIGHTS
from experiments.chaos.report import as_markdown
from experiments.chaos.rounds import VERDICTS, run_chaos
from experiments.chaos.server import APPENDFSYNC, server_version
from experiments.provenance import RAW, TABLES, append_rows, provenance


def main() -> None:
    parser = argparse.ArgumentParser(description=(experiments.chaos.__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--round-s", type=float, default=75.0, help="seconds of faults per network")
    parser.add_argument("--limit", type=int, default=10_000, help="budget of each network")
    parser.add_argument(
        "--faults-per-s",
        type=float,
        default=3.0,
        help="mean number of faults in a second, the time that a fault takes left out",
    )
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: exit(1))  # so that everything is cleaned up
    origin = provenance()
    began = time.monotonic()
    faults, found, sentences = run_chaos(
        given.seed, 60.0 * given.minutes, given.round_s, given.limit, given.faults_per_s
    )
    rows = [
        {
            "fault": fault,
            "n_injected": faults[fault],
            "minutes": round((time.monotonic() - began) / 60.0, 1),
            **{name: found[name] for name in ("rounds", "acknowledged", "finished", "failed")},
            **{name: found[name] for name in ("lost_tasks", "reaped", "looks")},
            **{name.replace(" ", "_"): found[name] for name in VERDICTS},
            "faults_per_s": given.faults_per_s,
            "seed": given.seed,
            "server": f"{server_version()}, appendfsync {APPENDFSYNC}",
            **origin,
        }
        for fault in WEIGHTS
    ]
    append_rows(RAW / "chaos_histories.csv", rows)
    table = as_markdown(rows, sentences)
    print(table)
    (TABLES / "chaos_histories.md").write_text(table)
    raise SystemExit(any(found[name] for name in VERDICTS))


if __name__ == "__main__":
    main()
