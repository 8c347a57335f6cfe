"""Ask-and-tell: proposals for evaluations that happen elsewhere, shared like all others."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NoReturn, Self

from rush_core import DuplicateTaskError, Heartbeat, Network, TaskTable, Worker
from rush_opt.arguments.arguments import (
    check_objectives,
    choose_optimizer,
    directions_of,
    draw_entropy,
    initial_points,
    make_space,
)
from rush_opt.arguments.warm_start import with_numbers
from rush_opt.evaluation.runner import Problem, TrialRunner
from rush_opt.optimizers import Centralized, GridSearch, Optimizer
from rush_opt.optimizers.adbo import count_before
from rush_opt.optimizers.central import Pending, mark_of
from rush_opt.results.result import TuneResult
from rush_opt.results.trials import freeze_trials
from rush_opt.running.resume import check_about, check_trials
from rush_opt.search.archive import Archive
from rush_opt.search.design import Design
from rush_opt.space import Parameter, Space

__all__ = ["Advisor", "OpenTrial"]

# As often as the server's records can count: nothing is known against a trial whose asker died.
_MOST_RETRIES = 127


@dataclass(frozen=True)
class OpenTrial:
    """A trial that was asked for and has not been told about.

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
    """Proposes trials and learns from what is told of them, its own and all others of a network.

    Any number of advisors, in as many processes and on as many machines as wanted, share a network:
    each one knows what was told to any of them, and may have many trials open at once. It is a
    worker of the network, and gives signs of life from a thread of its own. If its process dies,
    the next one that asks anywhere finds out, and its open trials wait to be asked for again.

    Parameters
    ----------
    space : mapping or Space
        As for `tune()`.
    network_id : str
        What advisors that belong together have in common. An embedded server keeps its trials.
    url : str, optional
        The server; by default `RUSH_REDIS_URL`, `REDIS_URL` or an embedded one, which ends with the
        process that started it: name another one to advisors in several processes.
    optimizer : str or Optimizer
        As for `tune()`, but no grid. All but ``"random"`` keep away from what is known, and from
        what is open anywhere: of several advisors that propose the same in the same moment, one
        starts it and the others propose anew. To have many trials open in one advisor choose
        ``"acbo"`` or ``"clbo"``, whose proposals are made to be evaluated at the same time.
    direction, metric
        As for `tune()`.
    seed : int, optional
        As for `tune()`; advisors draw from streams of their own, by the order of joining.
    initial_design : int, sequence of mappings or design, optional
        As for `tune()`: what is asked for first, by default as many Sobol points as the optimizer's
        rule says for one worker. The advisor that joins first draws it, and all take from it; what
        the others were given is not used. A network that has trials already goes on from those
        instead, also one that was stopped, if nobody takes part any more.
    heartbeat : Heartbeat
        How often the advisor gives signs of life, and after how long without one its open trials
        go to others.

    Raises
    ------
    TypeError, ValueError
        If an argument cannot be used, or the network was begun with another space, metric or
        direction; nothing was written.
    RushError
        If the server cannot be used.

    Notes
    -----
    An advisor belongs to one thread. Asking takes at most eight round trips, nine for a centralized
    optimizer, and three or four more each time another advisor was the first to start what was
    proposed; telling takes one. If the process that joined first does not get as far as putting its
    design into the queue, because it dies or the server refuses, there is none, and the optimizer
    proposes from the first trial on.

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
        if isinstance(chosen, GridSearch):
            raise ValueError(
                "an advisor needs an optimizer that proposes one trial after the other, got "
                f"{chosen!r}; take the points of the grid yourself, or tune()"
            )
        metrics, signs = check_objectives(metric, direction)
        self._problem = Problem(
            objective=_evaluate_elsewhere,
            space=space if isinstance(space, Space) else make_space(space),
            metrics=metrics,
            signs=signs,
            n_trials=None,
            deadline=None,
            seed=draw_entropy(seed),
        )
        points = initial_points(initial_design, self._problem, chosen, n_workers=1)
        self._open: dict[str, OpenTrial] = {}
        with ExitStack() as undone_by_an_error:
            self._network = Network(network_id, url, max_retries=_MOST_RETRIES)
            undone_by_an_error.enter_context(self._network)
            known = self._network.fetch_tasks("finished")
            check_trials(freeze_trials(known, metrics, []), self._problem, network_id)
            check_about(self._network, self._problem)
            self._network.detect_lost_workers()
            if all(worker.ended_at is not None for worker in self._network.fetch_workers()):
                self._network.allow_workers()  # who was asked to stop has stopped
            is_new = not any(self._network.count_tasks())
            self._worker = Worker(network_id, url=self._network.url, heartbeat=heartbeat)
            undone_by_an_error.enter_context(self._worker)
            if is_new and self._worker.number == 0:
                # Drawn before joining: who joins second finds it there, but for one round trip.
                self._worker.push_tasks(points)
            self._trials = TrialRunner(self._worker, self._problem)
            self._archive = Archive(self._problem.space, *metrics, signs=signs)
            self._optimizer = chosen
            self._state = self._make_state()
            # The design is claimed by whoever asks, and starts without a mark of its own.
            self._avoid(self._worker.fetch_tasks("queued", "running").configs)
            undone_by_an_error.pop_all()

    def _make_state(self) -> Any:
        chosen, number = self._optimizer, self._worker.number
        if isinstance(chosen, Centralized):
            return chosen.state(self._problem, self._archive, number)
        n_before = count_before(self._worker)
        return chosen.state(self._problem, self._archive, number, n_before=n_before)

    def __repr__(self) -> str:
        return f"<Advisor of network {self._network.network_id!r}, {len(self._open)} trials open>"

    @property
    def open_trials(self) -> list[OpenTrial]:
        """What was asked for here and is neither told nor failed; no round trip."""
        return list(self._open.values())

    def ask(self) -> OpenTrial | None:
        """Return a trial to evaluate: of the design, or left open by others, else a new proposal.

        Returns
        -------
        OpenTrial or None
            None if the network's workers were asked to stop since this advisor joined, or before
            that and some had not left when it did.
        """
        self._network.detect_lost_workers()
        self._worker.should_stop()  # which also tells whether this advisor was lost itself
        was_lost = self._worker.is_lost
        if not self._trials.may_start():
            return None
        if was_lost:
            self._open = {}  # they wait for whoever asks
        waiting = self._trials.claim() or self._start_new()
        if waiting is None:
            return None
        trial = OpenTrial(*waiting)
        self._open[trial.key] = trial
        self._avoid([trial.params])
        return trial

    def _start_new(self) -> tuple[str, dict[str, Any]] | None:
        """Start a trial of our own: its key and configuration; None if asked to stop."""
        while True:
            config, notes, mark = self._propose()
            try:
                key = self._worker.start_task(config, extra=notes, unique=mark)
            except DuplicateTaskError:
                self._avoid([config])
                continue
            return None if key is None else (key, config)

    def _avoid(self, configs: Sequence[dict[str, Any]]) -> None:
        """Propose none of these: a centralized optimizer looks at what is open by itself."""
        if not isinstance(self._optimizer, Centralized):
            self._state.avoid(configs)

    def _propose(self) -> tuple[dict[str, Any], dict[str, float], bytes | None]:
        """Choose a configuration; return how it came about and its mark, too."""
        timing = self._trials.timing
        with timing("coordination"):
            pending = self._take_in()
        if isinstance(self._optimizer, Centralized):
            config, notes = self._state.propose(timing, pending)
            mark = mark_of(config, self._archive, pending)
        else:
            config, notes = self._state.propose(timing)
            mark = self._state.mark(config)
        return config, notes | self._trials.collect_times(), mark

    def _take_in(self) -> Pending:
        """Learn what has ended; return what is open anywhere, if the optimizer looks at that."""
        worker, opened = self._worker, TaskTable([])
        if isinstance(self._optimizer, Centralized):
            opened = worker.fetch_tasks("queued", "running")
        # Looked at after what is open: what ended in between is in both, and is not open.
        new = worker.fetch_new_ended_tasks()
        self._archive.add_ended(new)
        ended = {task.key for task in (*new.finished, *new.failed)}
        pending = Pending(self._problem.space)
        pending.replace(task for task in opened if task.key not in ended)
        return pending

    def tell(self, trial: OpenTrial, value: float | Mapping[str, Any]) -> bool:
        """Record what came out of a trial; one round trip.

        Parameters
        ----------
        trial : OpenTrial
            One that was asked for here.
        value : float or mapping
            What the objective of `tune()` would return; as there, a NaN or an infinity makes a
            failed trial.

        Returns
        -------
        bool
            False if it ended before or went to somebody else meanwhile: nothing was written.

        Raises
        ------
        TypeError, ValueError
            If that is no number for each metric, or the result holds what cannot be stored; the
            trial stays open.
        """
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

    def fail(self, trial: OpenTrial, error: str | BaseException) -> bool:
        """Record that a trial failed, and models are to keep away from its like; as `tell`."""
        won = self._worker.fail_task(trial.key, error)
        self._open.pop(trial.key, None)
        return won

    def result(self) -> TuneResult:
        """Return what the whole network knows by now; two round trips."""
        tasks = self._network.fetch_tasks("finished", "failed")
        workers = self._network.fetch_workers()
        return TuneResult(
            frozen_trials=freeze_trials(tasks, self._problem.metrics, workers),
            space=self._problem.space,
            metrics=self._problem.metrics,
            directions=directions_of(self._problem.signs),
            seed=self._problem.seed,
            stop_reason="not stopped",
            network_id=self._network.network_id,
            started_at=min(worker.started_at for worker in workers),
            ended_at=self._network.now(),
            workers=workers,
        )

    def close(self) -> None:
        """Leave the network; what is open waits to be asked for elsewhere.

        The trials themselves end as lost, which models do not learn from, and new ones with their
        parameters wait. If this process dies between the two, there are none.
        """
        left_open: list[dict[str, Any]] = []
        try:
            self._worker.should_stop()  # which also tells whether this advisor was lost itself
            if not self._worker.is_lost:
                left_open = [trial.params for trial in self.open_trials]
        finally:  # also if the server did not answer, or an interrupt came first
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


def _evaluate_elsewhere(config: dict[str, Any]) -> NoReturn:
    raise AssertionError("an advisor evaluates nothing")
