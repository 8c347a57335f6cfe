"""One algorithm per file, to be read side by side; `OPTIMIZERS` names them for `tune()`."""

from rush_opt.optimizers.acbo import ACBO
from rush_opt.optimizers.adbo import ADBO
from rush_opt.optimizers.clbo import CLBO
from rush_opt.optimizers.grid_search import GridSearch
from rush_opt.optimizers.random_search import RandomSearch

# Every worker decides by itself, or one more process, the proposer, decides for all of them, or all
# is decided before the run.
Decentralized = ADBO | RandomSearch
Centralized = ACBO | CLBO
Optimizer = Decentralized | Centralized | GridSearch

OPTIMIZERS: dict[str, type[Optimizer]] = {
    "acbo": ACBO,
    "adbo": ADBO,
    "clbo": CLBO,
    "grid": GridSearch,
    "random": RandomSearch,
}

__all__ = [
    "ACBO",
    "ADBO",
    "CLBO",
    "OPTIMIZERS",
    "Centralized",
    "Decentralized",
    "GridSearch",
    "Optimizer",
    "RandomSearch",
]
