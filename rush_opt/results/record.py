"""The record of a run: plain data for results, files and pictures."""

from __future__ import annotations

from dataclasses import dataclass

from rush_core import WorkerInfo
from rush_opt.problem.goal import Goal
from rush_opt.results.trials import FrozenTrial
from rush_opt.space import Space

__all__ = ["RunRecord"]


@dataclass(frozen=True)
class RunRecord:
    """The data of a run after its end.

    Attributes
    ----------
    trials : list of FrozenTrial
        All trials that ended, in order of completion. Lost trials are among the failed ones.
    space : Space or None
        The search space. None in a record that was read from a file, if the space contains
        functions of the user: a file cannot hold them.
    goals : tuple of Goal
        Name and direction of each objective, usually one.
    seed : int
        The run's seed. A run with the same seed draws the same initial design and the same random
        numbers.
    stop_reason : str
        Why the run ended; `TuneResult` lists the values.
    network_id : str
        The name of the run's network.
    started_at, ended_at : float
        When the run began and ended, in seconds since 1970 by the server's clock.
    workers : list of WorkerInfo
        All workers that ever joined the network to evaluate trials, in the order in which they
        joined.
    deadline : float or None
        When the timeout of the run expired, by the same clock. Trials that were running then still
        finished, so `ended_at` may be later.
    """

    trials: list[FrozenTrial]
    space: Space | None
    goals: tuple[Goal, ...]
    seed: int
    stop_reason: str
    network_id: str
    started_at: float
    ended_at: float
    workers: list[WorkerInfo]
    deadline: float | None = None

    @property
    def metrics(self) -> tuple[str, ...]:
        """The name of each objective."""
        return tuple(goal.name for goal in self.goals)

    @property
    def finished(self) -> list[FrozenTrial]:
        """The trials that have a result, those that were stopped early included."""
        return [trial for trial in self.trials if trial.state == "finished"]

    def only_goal(self, consequence: str) -> Goal:
        """Return the goal of a run with one objective.

        Parameters
        ----------
        consequence : str
            The end of the error message: what a run with several objectives does not have.

        Raises
        ------
        ValueError
            If there are several objectives.
        """
        if len(self.goals) > 1:
            raise ValueError(
                f"the run had objectives {list(self.metrics)}, so it has {consequence}"
            )
        return self.goals[0]

    def known_space(self, purpose: str) -> Space:
        """Return the search space.

        Parameters
        ----------
        purpose : str
            The beginning of the error message: what needs the space.

        Raises
        ------
        ValueError
            If the space is not known.
        """
        if self.space is None:
            raise ValueError(
                f"{purpose} needs the search space of the run, which this result does not know: it "
                "was read from a file, and a file cannot hold a space with functions; add the "
                "space: result.with_space(space)"
            )
        return self.space
