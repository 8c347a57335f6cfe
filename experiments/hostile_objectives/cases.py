"""All hostile objectives by kind and name."""

from __future__ import annotations

from experiments.hostile_objectives.case import Case
from experiments.hostile_objectives.descriptors import DESCRIPTORS
from experiments.hostile_objectives.exiting import CRASHES, EXITS
from experiments.hostile_objectives.interpreter import HOOKS, LOCKS, THREADS
from experiments.hostile_objectives.processes import DAEMONS, FORKS
from experiments.hostile_objectives.raising import CASES as RAISING
from experiments.hostile_objectives.resources import MEMORY, OUTPUT
from experiments.hostile_objectives.returning import CASES as RETURNING
from experiments.hostile_objectives.signalling import SIGNALS
from experiments.hostile_objectives.surroundings import INPUT, RUSH, SURROUNDINGS

__all__ = ["CASES", "KINDS"]

KINDS: dict[str, dict[str, Case]] = {
    "raises": RAISING,
    "returns": RETURNING,
    "exits": EXITS,
    "crashes": CRASHES,
    "signals": SIGNALS,
    "forks": FORKS,
    "daemons": DAEMONS,
    "descriptors": DESCRIPTORS,
    "interpreter's lock": LOCKS,
    "threads": THREADS,
    "hooks": HOOKS,
    "memory": MEMORY,
    "output": OUTPUT,
    "surroundings": SURROUNDINGS,
    "input": INPUT,
    "rush itself": RUSH,
}

# Name to case; a name is that of the kind and of the case.
CASES: dict[str, Case] = {
    f"{kind}: {name}": case for kind, cases in KINDS.items() for name, case in cases.items()
}
