"""The best trials of a run, by their values or by estimates of them."""

from __future__ import annotations

import numpy as np

from rush_opt.results.estimate import Estimate, estimate_best
from rush_opt.results.pareto import non_dominated
from rush_opt.results.record import RunRecord
from rush_opt.results.trials import FrozenTrial
from rush_opt.stopping.incumbent import comparable

__all__ = ["best_estimated", "best_trial", "pareto_front"]


def best_trial(record: RunRecord) -> FrozenTrial:
    """Return the trial with the best value; see `TuneResult.best_trial`."""
    goal = record.only_goal("no best trial; take one of result.pareto_front")
    return min(_candidates(record), key=lambda t: (goal.loss(t.result[goal.name]), t.number))


def pareto_front(record: RunRecord) -> list[FrozenTrial]:
    """Return the trials that no other dominates; see `TuneResult.pareto_front`."""
    trials = _candidates(record)
    losses = [[goal.loss(trial.result[goal.name]) for goal in record.goals] for trial in trials]
    Y = np.array(losses, dtype=np.float64)  # the field's name
    found = np.flatnonzero(non_dominated(Y))
    return [trials[i] for i in found[np.lexsort(Y[found].T[::-1])]]


def best_estimated(record: RunRecord) -> Estimate:
    """Return the trial with the best estimated value; see `TuneResult.best_estimated`."""
    goal = record.only_goal("no best estimate; take one of result.pareto_front")
    trials = _candidates(record)
    i, loss, sd = estimate_best(
        record.known_space("an estimate").encode([trial.params for trial in trials]),
        np.array([goal.loss(trial.result[goal.name]) for trial in trials], dtype=np.float64),
        np.random.default_rng(record.seed),
    )
    return Estimate(trials[i], goal.value(loss), sd)


def _candidates(record: RunRecord) -> list[FrozenTrial]:
    """Return the trials that can be the best one: those that were not stopped early, if any."""
    if not record.finished:
        advice = "see the errors in result.trials" if record.trials else "none was run"
        raise ValueError(f"no trial finished, so there is no best one; {advice}")
    return comparable(record.finished)
