"""Do the same seeds still give the same trials?

Run this before and after a change that must not change any proposal. `simulate()` with a given cost
runs each optimizer on a mixed, a conditional, a constrained and a two-objective problem, and a
digest of all trials is written for each run. If the digests of two commits are equal, the trials
are equal. Expected: all digests are equal, except for changes of behaviour that the commit names.

Only public names are used, so the file also runs on older commits. Rounding differs between kinds
of CPU and versions of NumPy and SciPy: compare rows of one machine and the same versions.

Run from the project's root: ``python -m experiments.same_trials``. To compare, check out another
commit, run it there with ``--out`` and the same file, and then ``--compare`` that file.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import itertools
import json
import math
from pathlib import Path
from typing import Any

from experiments.provenance import RAW, append_rows, provenance
from rush_opt import (
    ACBO,
    ADBO,
    CLBO,
    Boolean,
    Categorical,
    Float,
    GridSearch,
    Integer,
    LatinHypercube,
    RandomSearch,
    Space,
    simulate,
)

PARAMETERS = {
    "rate": Float(1e-3, 1.0, log=True),
    "share": Float(-2.0, 3.0),
    "leaves": Integer(1, 200, log=True),
    "booster": Categorical(["gbdt", "dart", None, 3]),
    "extra": Boolean(),
}
MIXED = Space(PARAMETERS)
CONDITIONAL = Space(
    {
        "kind": Categorical(["tree", "linear", "net"]),
        "depth": Integer(1, 12, when={"kind": "tree"}),
        "penalty": Float(1e-4, 10.0, log=True, when={"kind": "linear"}),
        "layers": Integer(1, 3, when={"kind": "net"}),
        "width": Integer(8, 256, log=True, when={"layers": [2, 3]}),
        "rate": Float(1e-3, 1.0, log=True),
    }
)


def few_leaves(config: dict[str, Any]) -> bool:
    return bool(config["leaves"] * config["rate"] < 20)


CONSTRAINED = Space(PARAMETERS, constraints=[few_leaves])


def error(config: dict[str, Any]) -> float:
    """Return a smooth loss of whatever numbers a configuration has; it fails now and then."""
    total = 0.0
    for place, (name, value) in enumerate(sorted(config.items())):
        number = value if isinstance(value, int | float) else len(str(value))
        total += math.cos(place + math.log1p(abs(number))) + 0.1 * len(name)
    if math.sin(100 * total) > 0.97:
        raise ValueError("a failed trial")
    return total


def error_and_size(config: dict[str, Any]) -> dict[str, float]:
    return {"error": error(config), "size": -math.log(config["leaves"]) + config["share"]}


TWO = {"metric": ["error", "size"], "direction": ["minimize", "maximize"]}
PROBLEMS: dict[str, tuple[Any, Space, dict[str, Any]]] = {
    "mixed": (error, MIXED, {}),
    "conditional": (error, CONDITIONAL, {"direction": "maximize"}),
    "constrained": (error, CONSTRAINED, {}),
    "two objectives": (error_and_size, MIXED, TWO),
    "latin hypercube": (error, MIXED, {"initial_design": LatinHypercube(12)}),
}
OPTIMIZERS: dict[str, Any] = {
    "adbo": ADBO(),
    "acbo": ACBO(),
    "clbo": CLBO(),
    "random": RandomSearch(),
    "grid": GridSearch(3),
}
SEEDS = (1, 2)
N_WORKERS, N_TRIALS = 4, 160  # past the 100 results after which trees take over


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=RAW / "same_trials.csv")
    parser.add_argument("--compare", type=Path, help="a file of another commit")
    arguments = parser.parse_args()
    common = provenance()
    rows = []
    for problem, optimizer, seed in itertools.product(PROBLEMS, OPTIMIZERS, SEEDS):
        if (problem, optimizer) == ("latin hypercube", "grid"):
            continue  # a grid search takes no design
        rows.append({**run_once(problem, optimizer, seed), **common})
        print(f"{problem:16} {optimizer:7} {seed} {rows[-1]['digest']}", flush=True)
    append_rows(arguments.out, rows)
    if arguments.compare is not None:
        compare(rows, arguments.compare)


def run_once(problem: str, optimizer: str, seed: int) -> dict[str, Any]:
    objective, space, options = PROBLEMS[problem]
    result = simulate(
        objective,
        space,
        n_workers=N_WORKERS,
        n_trials=N_TRIALS,
        optimizer=OPTIMIZERS[optimizer],
        duration=lambda config, number: 1.0 + (number * 7 % 5) / 10,
        cost=lambda n_known: (0.01, 0.02),
        seed=seed,
        **options,
    )
    trials = [(t.state, t.params, t.result, t.started_at) for t in result.frozen_trials]
    text = json.dumps(trials, sort_keys=True, default=str)
    return {
        "problem": problem,
        "optimizer": optimizer,
        "seed": seed,
        "n_trials": len(trials),
        "digest": hashlib.sha256(text.encode()).hexdigest()[:16],
    }


def compare(rows: list[dict[str, Any]], path: Path) -> None:
    """Print for how many runs the digests agree with those of a file, and which differ."""

    def cell(row: dict[str, Any]) -> tuple[str, str, str]:
        return row["problem"], row["optimizer"], str(row["seed"])

    with path.open(newline="") as file:
        others = {cell(row): row for row in csv.DictReader(file)}
    different = [row for row in rows if others[cell(row)]["digest"] != row["digest"]]
    print(f"{len(rows) - len(different)} of {len(rows)} runs have the same trials")
    for row in different:
        print("different:", *cell(row))


if __name__ == "__main__":
    main()
