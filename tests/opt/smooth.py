"""Smooth functions of four parameters, and how far an optimizer comes on them."""

from itertools import pairwise
from typing import Any

from rush_opt import Float, TuneResult, simulate
from rush_opt.optimizers import Optimizer
from tests.opt.objectives import bowl

NAMES = "abcd"
SPACE = {name: Float(0, 1) for name in NAMES}


def wide_bowl(config: dict[str, Any]) -> float:
    """Be least, and 0, where all parameters are 0.3."""
    return float(sum((config[name] - 0.3) ** 2 for name in NAMES))


def rosenbrock(config: dict[str, Any]) -> float:
    """Be least, and 0, where all parameters are 0.75: the end of a curved valley."""
    x = [4.0 * config[name] - 2.0 for name in NAMES]
    return float(sum(100.0 * (b - a**2) ** 2 + (1.0 - a) ** 2 for a, b in pairwise(x)))


def run(optimizer: str | Optimizer, **changes: Any) -> TuneResult:
    """Return a simulated run of four workers that repeats exactly with its seed."""
    given: dict[str, Any] = {
        **{"objective": bowl, "space": {"x": Float(0, 1), "y": Float(0, 1)}, "seed": 1},
        **{"n_workers": 4, "n_trials": 60, "duration": lambda config, number: 1.0},
        **{"cost": lambda n_known: (0.0, 0.0)},
    }
    return simulate(optimizer=optimizer, **given | changes)
