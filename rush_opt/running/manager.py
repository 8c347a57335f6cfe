"""The manager of a run: begins it, follows it, and sees its workers end."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, cast

from rush_core import LoopError, Network, RushError, WorkerInfo
from rush_opt.evaluation.plan import RunPlan
from rush_opt.optimizers.base import ListingOptimizer
from rush_opt.results.trials import WARM_START, FrozenTrial
from rush_opt.running.end_of_run import EndOfRun, StopRun
from rush_opt.running.history import TrialHistory
from rush_opt.running.interrupts import Interrupts
from rush_opt.running.joined import JoinedWorkers
from rush_opt.running.launchers import Launcher
from rush_opt.running.note import NoteWriter
from rush_opt.running.progress import Moment, Progress
from rush_opt.running.resume import check_description, check_trials, remove_orphans
from rush_opt.running.unshippable import explained
from rush_opt.running.workers import Workers

__all__ = ["Callback", "CallbackFailed", "Manager"]

logger = logging.getLogger(__name__)

Callback = Callable[[FrozenTrial], object]
Known = Sequence[tuple[dict[str, Any], dict[str, Any]]]

# The server wakes the manager when a trial ends, or when a worker joins or ends. The manager then
# handles all that happened in this time together, seconds. Workers do not wait for it. Launched
# workers that are about to end are the exception: each of their last trials wakes it.
_PAUSE_S = 0.1

# Some things send no event: rules on the time, expired heartbeats, a failed launch. The manager
# looks for them so often, seconds. Without those, it looks for ends that the server did not learn.
_POLL_EVERY_S = 1.0
_LONGEST_WAIT_S = 10.0


class CallbackFailed(Exception):  # noqa: N818  # not for users: they see `error`
    """A callback has raised an exception other than `StopRun`.

    Attributes
    ----------
    error : Exception
        This exception.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class Manager:
    """Begins a run, follows it, and sees its workers end. It decides nothing for them.

    Parameters
    ----------
    network : Network
    plan : RunPlan
    joined : JoinedWorkers
    launcher : Launcher
        Starts the workers.
    callbacks : sequence of callable
        Each is called with every trial that ended.
    progress : Progress or None
    interrupts : Interrupts
        Allows Ctrl-C while the run is followed. The first one asks the workers to stop, the second
        one kills them.

    Attributes
    ----------
    started_at, ended_at : float
        Seconds since 1970 by the server's clock.
    """

    def __init__(
        self,
        network: Network,
        plan: RunPlan,
        joined: JoinedWorkers,
        launcher: Launcher,
        callbacks: Sequence[Callback],
        progress: Progress | None,
        interrupts: Interrupts,
    ) -> None:
        self._network = network
        self._plan = plan
        self._joined = joined
        self._launcher = launcher
        self._callbacks = callbacks
        self._progress = progress
        self._interrupts = interrupts
        self._workers = Workers(network, plan, launcher, joined)
        self._history = TrialHistory(network, plan, joined)
        self._end = EndOfRun(network, plan, self._history)
        self._is_stopping = False  # the workers have been asked to stop
        self._n_calls = 0  # of callbacks; those for trials before the run are counted as made
        self._objective_s = 0.0
        self.started_at = self.ended_at = network.now()

    @property
    def trials(self) -> list[FrozenTrial]:
        """All ended trials; those of earlier runs in the network come first."""
        return self._history.trials

    @property
    def workers(self) -> list[WorkerInfo]:
        """All workers that ever joined to evaluate, in order of joining; no proposers."""
        # Proposers of earlier runs in this network are known from the trials they proposed.
        earlier = {trial.notes.get("proposer") for trial in self.trials}
        return [worker for worker in self._joined.evaluating if worker.number not in earlier]

    def run(self, points: list[dict[str, Any]], known: Known) -> str:
        """Run, and return why the run ended: see `TuneResult`.

        Parameters
        ----------
        points : list of dict
            The initial design, for a network that has no tasks yet.
        known : sequence of pairs of dict
            Configurations and results of earlier trials, for such a network as well.
        """
        with self._interrupts.allowed():
            is_new = self._fill(points, known)
        if self._progress is not None:
            self._progress.begin(self._history.n_ended)
        self.started_at = self._joined.began = self._network.now()
        note = NoteWriter(self._network, self._plan, self.started_at)
        note.begin()
        try:
            reason = self._run_until_end(is_new)
        except BaseException as error:
            note.fail(error)
            raise
        note.end(reason, self.ended_at)
        return reason

    def _run_until_end(self, is_new: bool) -> str:
        """Start the workers, and follow the run until its end, also if the user interrupts it."""
        reason = self._until_interrupted(lambda: self._start_and_follow(is_new))
        if reason is None:
            self._end.interrupt()
            if self._progress is not None:
                self._progress.close()
            logger.warning(
                "stopping after the running trials; Ctrl-C again kills them and returns what has "
                "finished"
            )
            reason = self._until_interrupted(self._stop_and_follow)
        if reason is None:
            logger.warning("killing the running trials")
            self._end_at_once()
            reason = "interrupted"
        return reason

    def interrupt(self) -> None:
        """End the run as interrupted; for a thread that runs the worker itself."""
        self._end.interrupt()

    def _until_interrupted(self, step: Callable[[], str]) -> str | None:
        """Return what a step returns; None if the user interrupted it."""
        try:
            with self._interrupts.allowed():
                return step()
        except KeyboardInterrupt:
            return None

    def _start_and_follow(self, is_new: bool) -> str:
        """Start the workers, and follow the run until all have ended."""
        try:
            if not (self._end.has_enough_trials() or self._stop_if_wanted()):
                self._workers.start()
        except LoopError as error:
            if is_new:  # no worker was started: leave no task queued
                self._network.reset(workers=False)
            raise explained(error, self._plan) from error.__cause__
        return self._follow()

    def _stop_and_follow(self) -> str:
        """Ask the workers to stop, and follow the run until all have ended."""
        self._stop_if_wanted()
        return self._follow()

    def end_early(self, error: Exception, reason: str) -> str:
        """Kill the workers of a run that cannot go on; return `reason`.

        Parameters
        ----------
        error : Exception
            What ended the run.
        reason : str
            The same in a few words, for the result.

        Raises
        ------
        Exception
            `error`, if no trial has finished.
        """
        self._end_at_once()
        n_finished = sum(trial.state == "finished" for trial in self.trials)
        if not n_finished:
            raise error
        logger.warning(
            "the run ends early and returns %d finished trials, because: %s",
            *(n_finished, error),
            exc_info=None if isinstance(error, RushError) else error,
        )
        return reason

    def _end_at_once(self) -> None:
        """Kill all workers, and take in what ended before, if the server can still be used."""
        self.ended_at = self._network.now()
        try:
            self._network.stop_workers(kill=True)
            self._history.fetch_missed()
            self._joined.fetch()
        except RushError as error:
            logger.warning("trials that ended at last may be missing: %s", error)
        self._call_back()

    def end_without_server(self, error: RushError) -> str:
        """End a run whose server is lost; return why the run ended. No round trip.

        Parameters
        ----------
        error : RushError
            With which `run` ended.

        Raises
        ------
        RushError
            `error`, if no trial has finished.
        """
        self.ended_at = self._network.now()
        if not any(trial.state == "finished" for trial in self.trials):
            raise error
        logger.warning(
            "the run ends early and returns the %d trials that this process has read, because it "
            "lost its server: %s",
            len(self.trials),
            error,
        )
        return "server lost"

    def _fill(self, points: list[dict[str, Any]], known: Known) -> bool:
        """Check what is in the network, or put in what a new run begins with; tell if it is new."""
        network, plan = self._network, self._plan
        remove_orphans(network)
        self._history.fetch_new()  # what an earlier run in this network left
        check_trials(self.trials, plan.problem, network.network_id)
        check_description(network, plan.problem)
        is_new = not any(network.count_tasks())
        if is_new:
            configs, results = [config for config, _ in known], [result for _, result in known]
            network.push_finished_tasks(configs, results, extras=[WARM_START] * len(known))
            self._history.fetch_new()
            network.push_tasks(points)
        elif plan.optimizer.placement == "listed":
            # An earlier run used another optimizer, or its manager died before it pushed.
            optimizer = cast(ListingOptimizer, plan.optimizer)
            there = network.fetch_tasks().configs
            network.push_tasks(optimizer.points(plan.problem, there))
        self._n_calls = len(self.trials) * len(self._callbacks)
        return is_new

    def _follow(self) -> str:
        """Follow the run until all workers have ended, and return why they did."""
        is_over = False
        while not is_over:
            is_over = self._tend_workers()
        # The server refuses late starts by its own clock: the reason is decided by the same.
        self.ended_at = self._network.fetch_time()
        self._take_in()
        if self._end.is_interrupted:
            self._history.fetch_missed()
            self._call_back()
        self._joined.fetch()
        if self._progress is not None:
            self._show(self._progress, last=True)
        self._end.raise_if_hopeless(ended=True)
        active = [worker for worker in self._joined.all if self._joined.was_active(worker)]
        return self._end.reason(active)

    def _tend_workers(self) -> bool:
        """Wait for an event, handle it, and tell whether all workers have ended."""
        workers, network = self._workers, self._network
        none_left = self._launcher.pause(_PAUSE_S, is_due=self._is_due())
        # Ends are looked for before the wait: the wake-up may have ended an earlier wait.
        gone = network.detect_lost_workers()
        failed = workers.find_failed()
        gone += [worker.worker_id for worker in failed]
        nobody_left = none_left and self._launcher.sees_ends
        if nobody_left and not gone and self._waits_for_others():
            none_left = nobody_left = False
            self._take_in(_POLL_EVERY_S)
        else:
            self._take_in(0.0 if gone or nobody_left else self._longest_wait_s())
        self._end.raise_if_hopeless(ended=False)
        if gone:
            self._stop_if_wanted()
            if not self._is_due():
                why = failed[-1].reason or "" if failed else ""
                self._end.add_losses(workers.count_own(gone), why)
                workers.replace(gone)
            return False
        if self._is_due():
            workers.end_idle()
        else:
            workers.expect()
            if none_left:
                workers.raise_if_never_joined()
        no_proposer = workers.proposer_has_ended()
        if not self._stop_if_wanted() and no_proposer:
            network.stop_workers()  # all trials are started, or no process proposes any more
        return self._launcher.have_ended(
            none_left=none_left,
            is_due=self._is_due(),
            is_interrupted=self._end.is_interrupted,
        )

    def _waits_for_others(self) -> bool:
        """Tell whether workers of others hold trials of the budget; at most one round trip."""
        return not self._is_due() and self._joined.others_hold_trials()

    def _is_due(self) -> bool:
        """Tell whether the run is about to end, whatever its workers do."""
        return self._is_stopping or self._end.is_used_up()

    def _longest_wait_s(self) -> float:
        """Return how long to wait in the server if no event wakes the manager, seconds."""
        needs_time = self._plan.stop is not None or self._progress is not None
        polls = needs_time or self._launcher.are_elsewhere
        longest = _POLL_EVERY_S if polls else _LONGEST_WAIT_S
        deadline, now = self._plan.deadline, self._network.now()
        return longest if deadline is None or now >= deadline else min(longest, deadline - now)

    def _stop_if_wanted(self) -> bool:
        """Ask the workers once to stop if a rule or a callback ends the run; tell whether one does.

        Workers judge the rule themselves. This is for those that wait, or join later.
        """
        wanted = self._end.is_wanted()
        if wanted and not self._is_stopping:
            self._network.stop_workers()
            self._is_stopping = True
        return wanted

    def _take_in(self, timeout_s: float = 0.0) -> None:
        """Wait for an event for at most `timeout_s` seconds, and handle trials that ended."""
        new = self._history.fetch_new(timeout_s)
        self._objective_s += sum(t.notes.get("objective_s", 0.0) for t in new if not t.lost)
        self._call_back()
        if self._progress is not None:
            self._show(self._progress)

    def _call_back(self) -> None:
        """Call each callback with each trial it was not called with yet.

        A call is counted before it begins: one that an interrupt ends is not made again.

        Raises
        ------
        CallbackFailed
            If a callback raises. From then on none is called.
        """
        n_callbacks = len(self._callbacks)
        while self._n_calls < len(self.trials) * n_callbacks:
            trial, callback = divmod(self._n_calls, n_callbacks)
            self._n_calls += 1
            try:
                self._callbacks[callback](self.trials[trial])
            except StopRun as stop:
                self._end.add_stop(stop)
            except Exception as error:
                self._callbacks = ()
                raise CallbackFailed(error) from error

    def _objective_share(self) -> float | None:
        """Return the share of the workers' time in the objective; None until a trial has ended."""
        wall_s = (self._network.now() - self.started_at) * self._plan.n_workers
        return min(self._objective_s / wall_s, 1.0) if self._objective_s and wall_s > 0 else None

    def _show(self, progress: Progress, *, last: bool = False) -> None:
        """Show where the run stands, unless that was done a moment ago.

        At most two round trips until all workers have joined, and at most two until the first
        trial has ended; then none.
        """
        if not (last or progress.is_due()):
            return
        history, n_workers = self._history, self._plan.n_workers
        if not last and len(self._joined.of_this_run()) < n_workers:
            self._joined.fetch()
        is_beginning = not last and not history.n_ended
        moment = Moment(
            n_ended=history.n_ended,
            n_failed=history.n_failed,
            best=history.best,
            n_workers=n_workers,
            n_joined=len(self._joined.of_this_run()),
            n_running=self._network.count_tasks().running if is_beginning else 0,
            report=history.fetch_last_report() if is_beginning else None,
            objective_share=self._objective_share(),
        )
        progress.show(moment, last=last)
