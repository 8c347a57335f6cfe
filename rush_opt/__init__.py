"""Search spaces, optimizers and `tune()` on the coordination layer `rush_core`."""

from rush_opt.evaluation import Trial
from rush_opt.loops import ACBO, ADBO, CLBO, RandomSearch
from rush_opt.result import FrozenTrial, TuneResult
from rush_opt.run import AllTrialsFailedError, StopRun
from rush_opt.simulate import simulate
from rush_opt.space import (
    Boolean,
    Categorical,
    Condition,
    Constant,
    Float,
    Integer,
    Ordinal,
    Space,
    Transformed,
)
from rush_opt.stopping import History, Seconds, Stagnation, Target, Trials
from rush_opt.tune import tune

__all__ = [
    "ACBO",
    "ADBO",
    "CLBO",
    "AllTrialsFailedError",
    "Boolean",
    "Categorical",
    "Condition",
    "Constant",
    "Float",
    "FrozenTrial",
    "History",
    "Integer",
    "Ordinal",
    "RandomSearch",
    "Seconds",
    "Space",
    "Stagnation",
    "StopRun",
    "Target",
    "Transformed",
    "Trial",
    "Trials",
    "TuneResult",
    "simulate",
    "tune",
]
