"""Optimizers: one algorithm per file, all with the interface of `base`.

`OPTIMIZERS` maps the names that `tune()` accepts to the classes. Imports `search` and the rooms
below it.
"""

from rush_opt.optimizers.acbo import ACBO
from rush_opt.optimizers.adbo import ADBO
from rush_opt.optimizers.base import Optimizer
from rush_opt.optimizers.clbo import CLBO
from rush_opt.optimizers.cmaes import CMAES
from rush_opt.optimizers.differential_evolution import DifferentialEvolution
from rush_opt.optimizers.grid_search import GridSearch
from rush_opt.optimizers.random_search import RandomSearch

OPTIMIZERS: dict[str, type[Optimizer]] = {
    "acbo": ACBO,
    "adbo": ADBO,
    "clbo": CLBO,
    "cmaes": CMAES,
    "de": DifferentialEvolution,
    "grid": GridSearch,
    "random": RandomSearch,
}

__all__ = [
    "ACBO",
    "ADBO",
    "CLBO",
    "CMAES",
    "OPTIMIZERS",
    "DifferentialEvolution",
    "GridSearch",
    "Optimizer",
    "RandomSearch",
]
