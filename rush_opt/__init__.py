"""Search spaces, optimizers and `tune()` on the coordination layer `rush_core`."""

from rush_opt import moved
from rush_opt.ask_tell import Advisor, OpenTrial
from rush_opt.evaluation.trial import Trial
from rush_opt.models.forest import ExtraTrees
from rush_opt.models.gaussian_process import GaussianProcess
from rush_opt.models.process_then_trees import ProcessThenTrees
from rush_opt.optimizers import (
    ACBO,
    ADBO,
    CLBO,
    CMAES,
    DifferentialEvolution,
    GridSearch,
    RandomSearch,
)
from rush_opt.optimizers.base import Place, Proposal
from rush_opt.problem.goal import Goal
from rush_opt.problem.problem import Problem
from rush_opt.results.result import TuneResult
from rush_opt.results.trials import FrozenTrial
from rush_opt.running.end_of_run import AllTrialsFailedError, StopRun
from rush_opt.search.candidates import Candidates
from rush_opt.search.design import LatinHypercube, RandomPoints
from rush_opt.search.exploration import Decaying, Steady
from rush_opt.search.grid import Grid
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
from rush_opt.stopping.history import History
from rush_opt.stopping.rules import Seconds, Stagnation, Target, Trials
from rush_opt.stopping.trial_rules import MedianRule, SuccessiveHalving
from rush_opt.tune import tune

moved.install()

__all__ = [
    "ACBO",
    "ADBO",
    "CLBO",
    "CMAES",
    "Advisor",
    "AllTrialsFailedError",
    "Boolean",
    "Candidates",
    "Categorical",
    "Condition",
    "Constant",
    "Decaying",
    "DifferentialEvolution",
    "ExtraTrees",
    "Float",
    "FrozenTrial",
    "GaussianProcess",
    "Goal",
    "Grid",
    "GridSearch",
    "History",
    "Integer",
    "LatinHypercube",
    "MedianRule",
    "OpenTrial",
    "Ordinal",
    "Place",
    "Problem",
    "ProcessThenTrees",
    "Proposal",
    "RandomPoints",
    "RandomSearch",
    "Seconds",
    "Space",
    "Stagnation",
    "Steady",
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
