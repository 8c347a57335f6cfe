"""Ask-and-tell: proposals for evaluations outside of this package, shared through a network."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, cast

from rush_core import DuplicateTaskError, EndedTasks, Heartbeat, Network, Worker
from rush_opt.arguments.initial_design import initial_points
from rush_opt.arguments.optimizer import check_proposer, choose_optimizer
from rush_opt.arguments.plan import make_problem
from rush_opt.arguments.warm_start import with_numbers
from rush_opt.evaluation.phases import PhaseClock
from rush_opt.optimizers import Optimizer
from rush_opt.optimizers.base import ProposingOptimizer
from rush_opt.optimizers.decider import Choice, Decider
from rush_opt.results.record import RunRecord
from rush_opt.results.result import TuneResult
from rush_opt.results.trials import freeze_trials
from rush_opt.running.loops import place_of
from rush_opt.running.resume import check_description, check_trials
from rush_opt.search.design import Design
from rush_opt.space import Parameter, Space
from rush_opt.stopping.curves import Curves
from rush_opt.stopping.incumbent import STOPPED_AT

__all__ = ["Advisor", "OpenTrial"]

# The largest number that a record can hold. A trial that was open in a process that died is always
# tried again, because the death need not be the fault of the trial.
_MOST_RETRIES = 127


@dataclass(frozen=True)
class OpenTrial:
    """A trial that `ask` returned and that has no result yet.

    Attributes
    ----------
    key : str
        Its identifier in the network.
    params : dict
        Parameter name to value.
    """

    key: str
    params: dict[str, Any]


class Advisor:
    """Proposes trials, and learns from the results of all trials of a network.

    Any number of advisors can share a network, in any number of processes and on any number of
    machines. Each advisor reads the results of all advisors, and can have many open trials at once.
    An advisor is a worker of the network; a thread of its own sends its heartbeat. If the process
    of an advisor dies, the next advisor that asks detects this, and the open trials of the dead one
    are evaluated again.

    Parameters
    ----------
    space : mapping or Space
        As for `tune()`.
    network_id : str
        The network that these advisors share. An embedded server keeps its trials.
    url : str, optional
        The server; by default `RUSH_REDIS_URL`, `REDIS_URL` or an embedded server. An embedded
        server ends with the process that started it: if advisors run in several processes, give the
        URL of another server.
    optimizer : str or Optimizer
        As for `tune()`, but not a grid. All optimizers except ``"random"`` avoid points that any
        advisor has evaluated or has open. If several advisors propose the same point at the same
        moment, one of them starts it and the others propose again. If one advisor has many open
        trials, choose ``"acbo"`` or ``"clbo"``: their proposals are meant for parallel evaluation.
    direction, metric
        As for `tune()`.
    seed : int, optional
        As for `tune()`. Each advisor has its own random stream, by the order of joining.
    initial_design : int, sequence of mappings or design, optional
        As for `tune()`: the first trials. The default is the number of Sobol points that the
        optimizer's rule gives for one worker. The advisor that joins first draws the design, and
        all advisors take trials from it; the arguments of the others are not used. A network that
        already has trials continues from them without a design. This holds also for a network that
        was stopped, if none of its workers is active any more.
    heartbeat : Heartbeat
        How often the advisor renews its heartbeat, and after how long without renewal its open
        trials go to other advisors.

    Raises
    ------
    TypeError, ValueError
        If an argument cannot be used, or the network was begun with another space, metric or
        direction. Then nothing was written.
    RushError
        If the server cannot be used.

    Notes
    -----
    Only one thread may use an advisor. `ask` takes at most eight round trips, and nine for a
    centralized optimizer. It takes one more if trials of the network were stopped early, and three
    or four more each time that another advisor starts the proposed point first. `tell` takes one.
    If the first advisor fails before its design is in the queue, there is no design, and the
    optimizer proposes all trials.

    Examples
    --------
    >>> with Advisor({"x": Float(-1, 1)}, "my-experiment") as advisor:
    ...     trial = advisor.ask()
    ...     advisor.tell(trial, measure(trial.params["x"]))
    ...     advisor.result().best_params
    """

    def __init__(
        self,
        space: Mapping[str, Parameter] | Space,
        network_id: str,
        *,
        url: str | None = None,
        optimizer: str | Optimizer = "adbo",
        direction: str | Sequence[str] = "minimize",
        metric: str | Sequence[str] = "value",
        seed: int | None = None,
        initial_design: int | Sequence[Mapping[str, Any]] | Design | None = None,
        heartbeat: Heartbeat = Heartbeat(),  # noqa: B008  # frozen
    ) -> None:
        chosen = choose_optimizer(optimizer)
        if chosen.placement == "listed":
            raise ValueError(
                "an advisor needs an optimizer that proposes one trial after the other, got "
                f"{chosen!r}; evaluate the points of the grid yourself, or use tune()"
            )
        self._optimizer = cast(ProposingOptimizer, chosen)
        self._problem = make_problem(space, metric, direction, seed)
        check_proposer(chosen, self._problem, n_workers=1)
        points = initial_points(initial_design, self._problem, chosen, n_workers=1, n_trials=None)
        self._open: dict[str, OpenTrial] = {}
        with ExitStack() as undone_by_an_error:
            self._network = Network(network_id, url, max_retries=_MOST_RETRIES)
            undone_by_an_error.enter_context(self._network)
            is_new = self._prepare_network()
            self._worker = Worker(network_id, url=self._network.url, heartbeat=heartbeat)
            undone_by_an_error.enter_context(self._worker)
            if is_new and self._worker.number == 0:
                # The points were drawn before joining, so that they are pushed at once. The next
                # advisor finds them in the queue, unless it joins during this round trip.
                self._worker.push_tasks(points)
            self._clock = PhaseClock()
            self._curves = Curves(self._problem.goals[0].sign)
            self._some_stopped = False
            place = place_of(self._worker, n_workers=1)
            self._decider = Decider(self._optimizer, self._problem, place, curves=self._curves)
            # The initial design has no duplicate keys in the server: any advisor may claim it.
            self._avoid(self._worker.fetch_tasks("queued", "running").configs)
            undone_by_an_error.pop_all()

    def _prepare_network(self) -> bool:
        """Check that the network fits, let workers join, and return whether it has no tasks."""
        network, problem = self._network, self._problem
        known = network.fetch_tasks("finished")
        check_trials(freeze_trials(known, problem.metrics, []), problem, network.network_id)
        check_description(network, problem)
        network.detect_lost_workers()
        if all(worker.ended_at is not None for worker in network.fetch_workers()):
            network.allow_workers()  # no worker that was asked to stop is left
        return not any(network.count_tasks())

    def __repr__(self) -> str:
        return f"<Advisor of network {self._network.network_id!r}, {len(self._open)} trials open>"

    @property
    def open_trials(self) -> list[OpenTrial]:
        """The open trials of this advisor; no round trip."""
        return list(self._open.values())

    def ask(self) -> OpenTrial | None:
        """Return a trial to evaluate: a queued one, else a new proposal.

        The queue holds trials of the design, and trials that other advisors left open.

        Returns
        -------
        OpenTrial or None
            None if the workers of the network were asked to stop after this advisor joined. Also
            None if they were asked before, and some were still active when it joined.
        """
        worker = self._worker
        self._network.detect_lost_workers()
        should_stop = worker.should_stop()  # also updates `worker.is_lost`
        if worker.is_lost:
            self._open = {}  # other advisors may take them now
            if not worker.rejoin():
                return None
            should_stop = worker.should_stop()
        if should_stop:
            return None
        with self._clock.timing("coordination"):
            queued = worker.claim_task()
        trial = self._start_new() if queued is None else OpenTrial(queued.key, queued.config)
        if trial is not None:
            self._open[trial.key] = trial
            self._avoid([trial.params])
        return trial

    def _start_new(self) -> OpenTrial | None:
        """Start a newly proposed trial; return None if the advisor was asked to stop."""
        while True:
            proposal, duplicate_key = self._choose()
            notes = {**proposal.notes, **self._clock.collect()}
            try:
                key = self._worker.start_task(proposal.config, extra=notes, unique=duplicate_key)
            except DuplicateTaskError:
                self._avoid([proposal.config])
                continue
            return None if key is None else OpenTrial(key, proposal.config)

    def _avoid(self, configs: Sequence[dict[str, Any]]) -> None:
        """Avoid these points in proposals; `_read_new` does this for a centralized optimizer."""
        if self._optimizer.placement != "one process":
            self._decider.avoid(configs)

    def _choose(self) -> Choice:
        """Read new results, unless the optimizer uses none, and choose a configuration."""
        if self._optimizer.placement != "independent":
            with self._clock.timing("coordination"):
                self._read_new()
        return self._decider.choose(self._clock.timing)

    def _read_new(self) -> None:
        """Read trials that have ended; for a centralized optimizer, also the open ones."""
        worker = self._worker
        if self._optimizer.placement != "one process":
            self._learn(worker.fetch_new_ended_tasks())
            return
        # Open tasks are read first. A task that ends between the two reads is in both replies; it
        # is not open any more.
        open_tasks = worker.fetch_tasks("queued", "running")
        ended = worker.fetch_new_ended_tasks()
        self._learn(ended)
        ended_keys = {task.key for task in (*ended.finished, *ended.failed)}
        self._decider.pending.replace(task for task in open_tasks if task.key not in ended_keys)

    def _learn(self, ended: EndedTasks) -> None:
        """Add ended trials to the archive; if trials were stopped early, read reports first."""
        steps = ended.finished.result_notes(STOPPED_AT)
        self._some_stopped = self._some_stopped or any(step is not None for step in steps)
        if self._some_stopped:
            self._curves.add(self._worker.fetch_new_reports())
        self._decider.archive.add_ended(ended)

    def tell(self, trial: OpenTrial | Mapping[str, Any], value: float | Mapping[str, Any]) -> bool:
        """Report the result of a trial, or of a configuration that nobody asked for.

        One round trip.

        Parameters
        ----------
        trial : OpenTrial or mapping
            A trial that `ask` of this advisor returned. Or a configuration of the space that was
            evaluated elsewhere: it becomes a trial that no worker ran.
        value : float or mapping
            What the objective of `tune()` would return. As in `tune()`, a NaN or an infinity makes
            the trial a failed one.

        Returns
        -------
        bool
            False if the trial has already ended, or another advisor has it now. Then nothing was
            written.

        Raises
        ------
        TypeError, ValueError
            If there is no number for each metric, or a value cannot be stored; the trial stays
            open. Also if a configuration does not belong to the space.
        """
        if isinstance(trial, Mapping):
            return self._tell_unasked(dict(trial), value)
        if not isinstance(trial, OpenTrial):
            raise TypeError(
                f"tell() needs the trial that ask() returned, or a configuration, got "
                f"{trial!r:.80} ({type(trial).__name__}): tell(trial, value)"
            )
        metrics = self._problem.metrics
        result = with_numbers(f"trial {trial.key!r} stays open", value, metrics)
        for metric in metrics:
            if not math.isfinite(result[metric]):
                return self.fail(
                    trial, f"{metric!r} must be finite for a finished trial, got {result[metric]}"
                )
        won = self._worker.finish_task(trial.key, result)
        self._open.pop(trial.key, None)
        return won

    def _tell_unasked(self, config: dict[str, Any], value: float | Mapping[str, Any]) -> bool:
        """Add a finished or failed trial that was evaluated elsewhere; one round trip."""
        self._problem.space.validate(config)
        metrics = self._problem.metrics
        result = with_numbers("the configuration was not added", value, metrics)
        wrong = [metric for metric in metrics if not math.isfinite(result[metric])]
        if wrong:
            error = f"{wrong[0]!r} must be finite for a finished trial, got {result[wrong[0]]}"
            self._network.push_failed_tasks([config], [error])
        else:
            self._network.push_finished_tasks([config], [result])
        self._avoid([config])
        return True

    def fail(self, trial: OpenTrial, error: str | BaseException) -> bool:
        """Report that a trial failed, so that models avoid its neighbourhood; else as `tell`."""
        won = self._worker.fail_task(trial.key, error)
        self._open.pop(trial.key, None)
        return won

    def result(self) -> TuneResult:
        """Return the results of the whole network up to now; two round trips."""
        tasks = self._network.fetch_tasks("finished", "failed")
        workers = self._network.fetch_workers()
        return TuneResult(
            RunRecord(
                trials=freeze_trials(tasks, self._problem.metrics, workers),
                space=self._problem.space,
                goals=self._problem.goals,
                seed=self._problem.seed,
                stop_reason="not stopped",
                network_id=self._network.network_id,
                started_at=min(worker.started_at for worker in workers),
                ended_at=self._network.now(),
                workers=workers,
            )
        )

    def close(self) -> None:
        """Leave the network, and put its open trials into the queue for other advisors.

        The open trials end as lost, and no model learns from lost trials. Then new trials with the
        same parameters are queued. If this process dies between the two steps, they are not queued.
        """
        left_open: list[dict[str, Any]] = []
        try:
            self._worker.should_stop()  # also updates `is_lost`
            if not self._worker.is_lost:
                left_open = [trial.params for trial in self.open_trials]
        finally:  # also after an interrupt, or if the server does not reply
            self._open = {}
            try:
                self._worker.close()
                self._network.push_tasks(left_open)
            finally:
                self._network.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
