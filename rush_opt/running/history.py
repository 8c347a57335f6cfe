"""The history of a run: its ended trials, as its manager reads them from the server."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from rush_core import Network, Task
from rush_opt.evaluation.objective import takes_trial
from rush_opt.evaluation.plan import RunPlan
from rush_opt.results.trials import FrozenTrial, freeze_trials
from rush_opt.running.joined import JoinedWorkers
from rush_opt.stopping.curves import step_and_value
from rush_opt.stopping.incumbent import NOTHING, RankKey

__all__ = ["TrialHistory"]


class TrialHistory:
    """The ended trials of a network, and what is shown of them while a run goes on.

    Parameters
    ----------
    network : Network
    plan : RunPlan
    joined : JoinedWorkers
        Whose numbers the trials have.

    Attributes
    ----------
    trials : list of FrozenTrial
        All that have been fetched; trials from before the run come first.
    n_ended, n_failed : int
        How many take a place in the budget, and how many of these failed.
    watch : Watch or None
        Reads the same finished log, and judges the rule that ends the run.
    """

    def __init__(self, network: Network, plan: RunPlan, joined: JoinedWorkers) -> None:
        self._network = network
        self._goals = plan.problem.goals
        self._can_report = takes_trial(plan.objective)
        self._joined = joined
        self._n_failed_seen = 0  # lost ones included
        # By key and attempt: step to value, also of trials that are still running.
        self._reported: dict[tuple[str, int], dict[float, float]] = defaultdict(dict)
        self._last_report: tuple[float, float] | None = None
        self.trials: list[FrozenTrial] = []
        self.n_ended = self.n_failed = 0
        self._best = [NOTHING] * len(self._goals)
        self.watch = plan.watch()

    @property
    def best(self) -> list[float] | None:
        """The best value in each goal; None if no trial has finished."""
        if NOTHING in self._best:
            return None
        pairs = zip(self._goals, self._best, strict=True)
        return [goal.value(best.loss) for goal, best in pairs]

    def fetch_new(self, timeout_s: float = 0.0) -> list[FrozenTrial]:
        """Fetch the trials that ended since the last call, with what they reported.

        If there are none, the server delays its reply for at most `timeout_s` seconds. Two round
        trips; two more if trials failed, one more if trials can report, and one more if a worker
        is new.
        """
        network = self._network
        tasks = self._fetch_finished(timeout_s)
        if network.count_tasks().failed > self._n_failed_seen:
            failed = network.fetch_tasks("failed")
            # What finished between the two reads, before trials failed: without this, it could seem
            # as if no trial finished before many failed.
            tasks += self._fetch_finished(0.0)
            tasks += failed[self._n_failed_seen :]
            self._n_failed_seen = len(failed)
        return self._add(tasks)

    def _fetch_finished(self, timeout_s: float) -> list[Task]:
        finished = self._network.fetch_new_tasks(timeout_s=timeout_s)
        if self.watch is not None:
            self.watch.add(finished)  # in the order of the log, as the workers do
        return list(finished)

    def fetch_missed(self) -> None:
        """Fetch all ended tasks, and add those that are missing.

        An interrupt can come after new tasks were read and before their trials were added: such
        tasks are never new again. One round trip more than the further ones of `fetch_new`.
        """
        there = {trial.key for trial in self.trials}
        ended = self._network.fetch_tasks("finished", "failed")
        self._add([task for task in ended if task.key not in there])

    def fetch_last_report(self) -> tuple[float, float] | None:
        """Return step and value of the last report of any trial, or None.

        One round trip if trials can report, else none.
        """
        self._fetch_reports()
        return self._last_report

    def _fetch_reports(self) -> None:
        if not self._can_report:
            return
        for report in self._network.fetch_new_reports():
            step, value = step_and_value(report)
            self._reported[report.key, report.attempt][step] = value
            self._last_report = step, value

    def last_error(self) -> str:
        """Return the error of the last trial that has one."""
        return next((t.error for t in reversed(self.trials) if t.error), "it had no trial")

    def _add(self, tasks: Sequence[Task]) -> list[FrozenTrial]:
        """Add the trials of ended tasks, and return them."""
        if not tasks:
            return []
        self._joined.fetch_if_unknown(task.worker_id for task in tasks)
        self._fetch_reports()
        metrics = [goal.name for goal in self._goals]
        new = freeze_trials(tasks, metrics, self._joined.all, len(self.trials), self._reported)
        self.trials += new
        ended = [trial for trial in new if trial.counts]
        self.n_ended += len(ended)
        self.n_failed += sum(trial.state == "failed" for trial in ended)
        self._keep_best(new)
        return new

    def _keep_best(self, trials: Sequence[FrozenTrial]) -> None:
        for trial in (trial for trial in trials if trial.state == "finished"):
            if not all(goal.name in trial.result for goal in self._goals):
                continue  # of another run: the caller refuses it
            is_stopped = trial.stopped_at is not None
            self._best = [
                min(best, RankKey(is_stopped, goal.loss(trial.result[goal.name])))
                for best, goal in zip(self._best, self._goals, strict=True)
            ]
