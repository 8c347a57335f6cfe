"""The plan of a run: what is optimized, how, by how many workers, and for how long."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rush_opt.evaluation.limits import Limits
from rush_opt.evaluation.objective import Objective
from rush_opt.evaluation.sources import CodeSource
from rush_opt.optimizers.base import Optimizer
from rush_opt.problem.problem import Problem
from rush_opt.stopping.rules import Rule
from rush_opt.stopping.trial_rules import Pruner
from rush_opt.stopping.watch import Watch

__all__ = ["RunPlan"]


@dataclass(frozen=True)
class RunPlan:
    """What the manager and every worker of a run know of it; it is sent to the workers.

    Parameters
    ----------
    problem : Problem
    objective : callable
        ``objective(config)`` or ``objective(config, trial)``, returning a number or a mapping.
    optimizer : Optimizer
    n_workers : int
    n_trials : int or None
        How many trials are started in all.
    timeout_s : float or None
        Seconds after `began` from which on no trial is started.
    pruner : Pruner or None
        Stops trials early.
    stop : Rule or None
        What else ends the run.
    limits : Limits or None
        What each trial may take.
    began : float
        When the run began, seconds since 1970 by the server's clock; 0 in virtual time.
    log_folder : Path or None
        Where the processes that the manager starts write what they print; None for a temporary
        folder.
    start_method : {"fork", "spawn"} or None
        How these processes start; None: forked where that is safe.
    sources : tuple of CodeSource
        Where the functions of the objective are written, for tracebacks.
    """

    problem: Problem
    objective: Objective
    optimizer: Optimizer
    n_workers: int
    n_trials: int | None = None
    timeout_s: float | None = None
    pruner: Pruner | None = None
    stop: Rule | None = None
    limits: Limits | None = None
    began: float = 0.0
    log_folder: Path | None = None
    start_method: Literal["fork", "spawn"] | None = None
    sources: tuple[CodeSource, ...] = ()

    @property
    def deadline(self) -> float | None:
        """When no further trial is started, by the clock of `began`; None for never."""
        return None if self.timeout_s is None else self.began + self.timeout_s

    def watch(self) -> Watch | None:
        """Return what follows the finished log and tells when to stop; None without a rule."""
        if self.stop is None:
            return None
        return Watch(self.stop, self.problem.goals[0], self.began)
