"""Search spaces, optimizers and `tune()` on the coordination layer `rush_core`."""

from rush_opt.design import Grid, LatinHypercube, RandomPoints
from rush_opt.ending import AllTrialsFailedError, StopRun
from rush_opt.frozen_trial import FrozenTrial
from rush_opt.loops import ACBO, ADBO, CLBO, GridSearch, RandomSearch
from rush_opt.pruning import MedianRule, SuccessiveHalving
from rush_opt.result import TuneResult
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
from rush_opt.trial import Trial
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
    "Grid",
    "GridSearch",
    "History",
    "Integer",
    "LatinHypercube",
    "MedianRule",
    "Ordinal",
    "RandomPoints",
    "RandomSearch",
    "Seconds",
    "Space",
    "Stagnation",
    "StopRun",
    "SuccessiveHalving",
    "Target",
    "Transformed",
    "Trial",
    "Trials",
    "TuneResult",
    "simulate",
    "tune",
]
