"""The trials of a run that ended, as its manager reads them from the server."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from rush_core import Network
from rush_opt.evaluation import Problem, takes_trial
from rush_opt.frozen_trial import FrozenTrial, freeze_trials
from rush_opt.workers import Workers

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
        How many came to an end by themselves, and how many of these failed.
    best : list of float or None
        The best value of each objective; None if none has finished.
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
        self.best: list[float] | None = None
        self.watch = problem.watch()

    def fetch_new(self, timeout_s: float = 0.0) -> list[FrozenTrial]:
        """Fetch what ended since the last time, and what was reported on it.

        If nothing did, the server keeps its reply back for at most `timeout_s` seconds. Two round
        trips, one more if trials failed, one more if trials can report, and one more if a worker
        is new.
        """
        network = self._network
        tasks = list(network.fetch_new_tasks(timeout_s=timeout_s))
        if self.watch is not None:
            self.watch.add(tasks)  # in the order of the log, as the workers do
        if network.count_tasks().failed > self._n_failed_seen:
            failed = network.fetch_tasks("failed")
            tasks += failed[self._n_failed_seen :]
            self._n_failed_seen = len(failed)
        if not tasks:
            return []
        self._workers.fetch_unknown(task.worker_id for task in tasks)
        if takes_trial(self._problem.objective):
            for report in network.fetch_new_reports():
                said = report.values
                self._reported[report.key, report.attempt][said["step"]] = said["value"]
        metrics, joined = self._problem.metrics, self._workers.joined
        new = freeze_trials(tasks, metrics, joined, len(self.trials), self._reported)
        self._add(new)
        return new

    def last_error(self) -> str:
        """Return the error of the last trial that has one."""
        return next((t.error for t in reversed(self.trials) if t.error), "it had no trial")

    def _add(self, new: Sequence[FrozenTrial]) -> None:
        self.trials += new
        ended = [trial for trial in new if not (trial.lost or trial.warm)]
        self.n_ended += len(ended)
        self.n_failed += sum(trial.state == "failed" for trial in ended)
        self._keep_best(new)

    def _keep_best(self, trials: Sequence[FrozenTrial]) -> None:
        """Keep the best value of each objective."""
        metrics, signs = self._problem.metrics, self._problem.signs
        for result in (trial.result for trial in trials if trial.state == "finished"):
            if not all(metric in result for metric in metrics):
                continue  # of another run: whoever calls will refuse it
            values = [result[metric] for metric in metrics]
            known = values if self.best is None else self.best
            self.best = [
                sign * min(sign * value, sign * best)
                for sign, value, best in zip(signs, values, known, strict=True)
            ]
