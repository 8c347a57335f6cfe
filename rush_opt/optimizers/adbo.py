"""ADBO, asynchronous decentralized Bayesian optimization: every worker models and decides.

Each worker follows the finished log, fits its own model to it, and minimizes a lower confidence
bound with its own exploration weight. Nobody waits for anybody, and no point is evaluated twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rush_core import LikeTaskError, Worker
from rush_opt.evaluation.runner import Problem, Timing, TrialRunner
from rush_opt.models.process_then_trees import ProcessThenTrees
from rush_opt.models.surrogate import Surrogate
from rush_opt.optimizers.central import Pending, mark_of
from rush_opt.optimizers.settings import check_exploration, check_settings
from rush_opt.search.archive import Archive, weighed
from rush_opt.search.candidates import Candidates, draw_new, propose
from rush_opt.search.exploration import Decaying, Exploration


@dataclass(frozen=True)
class ADBO:
    """Settings of ADBO; an instance is its worker loop.

    A model knows what has ended, and nothing of what others are running: taking account of that
    gained nothing or was worse in `experiments/proposal_study`. Workers part by their exploration
    weights instead, and when two of them choose exactly the same point, the server lets only the
    first one start it and the other proposes anew.

    Parameters
    ----------
    surrogate : Surrogate
        Anything whose ``fit(X, y, rng)`` returns something with ``predict(X) -> (mean, sd)``.
    candidates : Candidates
        Where the acquisition function is searched.
    exploration : Exploration
        How a worker's weights are drawn and how they change: `Decaying` or `Steady`.

    References
    ----------
    .. [Egele] R. Egele, I. Guyon, V. Vishwanath, P. Balaprakash. Asynchronous Decentralized
       Bayesian Optimization for Large Scale Hyperparameter Optimization. arXiv 2207.00479, 2022.
    """

    surrogate: Surrogate = field(default_factory=ProcessThenTrees)
    candidates: Candidates = field(default_factory=Candidates)
    exploration: Exploration = field(default_factory=Decaying)

    def __post_init__(self) -> None:
        check_settings(self.surrogate, self.candidates)
        check_exploration(self.exploration)

    def n_initial(self, n_dims: int, n_workers: int) -> int:
        """Return how many points are evaluated before any model."""
        # The first model then stands on n_dims results, while all workers have something to do:
        # any number from 4 to 20 came to the same in experiments/surrogate_study, where the rule
        # itself was not run.
        return n_dims + n_workers

    def state(self, problem: Problem, archive: Archive, number: int, *, n_before: int) -> ADBOState:
        """Return what decides for the worker with this number.

        Parameters
        ----------
        problem : Problem
        archive : Archive
            What is known; somebody else adds to it.
        number : int
        n_before : int
            How many of the workers before it were taking part when it joined.
        """
        rng = problem.worker_rng(number)
        return ADBOState(self, archive, rng, self.exploration.weights(n_before, rng))

    def __call__(self, worker: Worker, problem: Problem) -> None:
        """Run one worker until the budget is used up."""
        trials = TrialRunner(worker, problem)
        archive = Archive(
            problem.space, *problem.metrics, signs=problem.signs, curves=trials.curves
        )
        state = self.state(problem, archive, worker.number, n_before=count_before(worker))
        # The initial design is claimed by whoever is free, and starts without a mark of its own.
        state.avoid([task.config for task in worker.fetch_tasks("queued", "running")])
        archive.add_ended(trials.fetch_new())
        while trials.may_start() and (waiting := trials.claim()):
            archive.add_ended(trials.run_and_fetch_new(*waiting))
        while trials.may_start():
            config, notes = state.propose(trials.timing)
            try:
                key = trials.start(config, state.mark(config))
            except LikeTaskError:
                state.avoid([config])
                continue
            if key is None:
                return
            ended = trials.run_and_fetch_new(key, config, **notes)
            with trials.timing("coordination"):
                archive.add_ended(ended)


def count_before(worker: Worker) -> int:
    """Count the workers that joined before this one and take part; one round trip."""
    others = worker.fetch_workers()
    return sum(other.number < worker.number and other.ended_at is None for other in others)


class ADBOState:
    """How one worker decides, given what is known; it does no input or output.

    Parameters
    ----------
    settings : ADBO
    archive : Archive
        What is known; read only.
    rng : numpy.random.Generator
        The worker's own stream.
    lambdas : iterator of float
        Its exploration weights, one per proposal.
    """

    def __init__(
        self,
        settings: ADBO,
        archive: Archive,
        rng: np.random.Generator,
        lambdas: Iterator[float],
    ) -> None:
        self._settings = settings
        self._archive = archive
        self._rng = rng
        self._lambdas = lambdas
        self._taken = Pending(archive.space)

    def avoid(self, configs: Sequence[dict[str, Any]]) -> None:
        """Propose none of these: others have started them, and nothing else is known of them."""
        for config in configs:
            self._taken.add(str(len(self._taken)), config)

    def mark(self, config: dict[str, Any]) -> bytes | None:
        """Return what no other trial may have in common; None if a repeat is all that is left."""
        return mark_of(config, self._archive, self._taken)

    def propose(self, timing: Timing) -> tuple[dict[str, Any], dict[str, float]]:
        """Choose the next configuration: at random before there is a result per dimension.

        Stopped trials are results as well, once one trial went on to its end.

        Parameters
        ----------
        timing : callable
            Accounts the time spent in fitting and in searching.

        Returns
        -------
        config : dict
        notes : dict
            How it came about: the exploration weight, how many trials were known, and how many
            stopped ones if there were any.
        """
        settings, rng = self._settings, self._rng
        archive, weights = weighed(self._archive, rng)
        lam = next(self._lambdas)
        notes = {"lambda": lam, "n_known": len(archive), **weights}
        if archive.n_stopped:
            notes["n_stopped"] = archive.n_stopped
        if not len(archive) or len(archive) + archive.n_stopped < archive.space.n_dims:
            with timing("acquisition"):
                row = draw_new(archive, rng, pending=self._taken)
                return archive.space.decode(row[np.newaxis])[0], notes
        with timing("surrogate"):
            model = archive.fit(settings.surrogate, rng)
        with timing("acquisition"):
            row = propose(
                archive, model, lam, rng, candidates=settings.candidates, pending=self._taken
            )
            return archive.space.decode(row[np.newaxis])[0], notes
