"""The trials of a run that ended, as its manager reads them from the server."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from rush_core import Network, Task
from rush_opt.evaluation.runner import Problem, takes_trial
from rush_opt.results.trials import FrozenTrial, freeze_trials
from rush_opt.running.workers import Workers
from rush_opt.stopping.incumbent import NOTHING, RankKey

__all__ = ["EndedTrials"]


class EndedTrials:
    """The trials of a network that ended, and what is to be told of them while a run goes on.

    Parameters
    ----------
    network : Network
    problem : Problem
    workers : Workers
        Whose numbers the trials have.

    Attributes
    ----------
    trials : list of FrozenTrial
        All that ended, also before the run, as far as they have been fetched.
    n_ended, n_failed : int
        How many take a place in the budget, and how many of these failed.
    watch : Watch or None
        What has read the same finished log to judge the rule that ends the run.
    """

    def __init__(self, network: Network, problem: Problem, workers: Workers) -> None:
        self._network = network
        self._problem = problem
        self._workers = workers
        self._n_failed_seen = 0  # lost ones too
        # By key and attempt: step to value, also of trials that are still running.
        self._reported: dict[tuple[str, int], dict[float, float]] = defaultdict(dict)
        self.trials: list[FrozenTrial] = []
        self.n_ended = self.n_failed = 0
        self._best = [NOTHING] * len(problem.metrics)
        self.watch = problem.watch()

    @property
    def best(self) -> list[float] | None:
        """The best value of each objective, as in the result; None if no trial has finished."""
        if NOTHING in self._best:
            return None
        signs = self._problem.signs
        return [sign * best.loss for sign, best in zip(signs, self._best, strict=True)]

    def fetch_new(self, timeout_s: float = 0.0) -> list[FrozenTrial]:
        """Fetch what ended since the last time, and what was reported on it.

        If nothing did, the server keeps its reply back for at most `timeout_s` seconds. Two round
        trips, one more if trials failed, one more if trials can report, and one more if a worker
        is new.
        """
        network = self._network
        finished = network.fetch_new_tasks(timeout_s=timeout_s)
        if self.watch is not None:
            self.watch.add(finished)  # in the order of the log, as the workers do
        tasks = list(finished)
        if network.count_tasks().failed > self._n_failed_seen:
            failed = network.fetch_tasks("failed")
            tasks += failed[self._n_failed_seen :]
            self._n_failed_seen = len(failed)
        return self._add(tasks)

    def fetch_missed(self) -> None:
        """Fetch all that ended, and add what is not there yet.

        An interrupt can come when new tasks have been read and their trials not been added: they
        are never new again. One round trip more than `fetch_new`'s further ones.
        """
        there = {trial.key for trial in self.trials}
        ended = self._network.fetch_tasks("finished", "failed")
        self._add([task for task in ended if task.key not in there])

    def last_error(self) -> str:
        """Return the error of the last trial that has one."""
        return next((t.error for t in reversed(self.trials) if t.error), "it had no trial")

    def _add(self, tasks: Sequence[Task]) -> list[FrozenTrial]:
        """Add the trials of ended tasks, and return them."""
        if not tasks:
            return []
        self._workers.fetch_unknown(task.worker_id for task in tasks)
        if takes_trial(self._problem.objective):
            for report in self._network.fetch_new_reports():
                said = report.values
                self._reported[report.key, report.attempt][said["step"]] = said["value"]
        metrics, joined = self._problem.metrics, self._workers.joined
        new = freeze_trials(tasks, metrics, joined, len(self.trials), self._reported)
        self.trials += new
        ended = [trial for trial in new if trial.counts]
        self.n_ended += len(ended)
        self.n_failed += sum(trial.state == "failed" for trial in ended)
        self._keep_best(new)
        return new

    def _keep_best(self, trials: Sequence[FrozenTrial]) -> None:
        """Keep how the best trial in each objective stands."""
        metrics, signs = self._problem.metrics, self._problem.signs
        for trial in (trial for trial in trials if trial.state == "finished"):
            if not all(metric in trial.result for metric in metrics):
                continue  # of another run: whoever calls will refuse it
            is_stopped = trial.stopped_at is not None
            self._best = [
                min(best, RankKey(is_stopped, sign * trial.result[metric]))
                for best, sign, metric in zip(self._best, signs, metrics, strict=True)
            ]
