"""One algorithm per file, to be read side by side; `OPTIMIZERS` names them for `tune()`."""

from rush_opt.loops.adbo import ADBO
from rush_opt.loops.random_search import RandomSearch

Optimizer = ADBO | RandomSearch

OPTIMIZERS: dict[str, type[Optimizer]] = {"adbo": ADBO, "random": RandomSearch}

__all__ = ["ADBO", "OPTIMIZERS", "Optimizer", "RandomSearch"]
