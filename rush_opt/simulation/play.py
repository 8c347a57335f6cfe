"""The work of the workers in virtual time, for each placement of proposers."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any, cast

from rush_opt.optimizers.base import CentralizedOptimizer, Place, Placement, ProposingOptimizer
from rush_opt.optimizers.decider import Decider, point_key
from rush_opt.running.proposing import proposer_notes
from rush_opt.search.archive import Archive
from rush_opt.simulation.costs import Costs
from rush_opt.simulation.virtual_run import Proposed, VirtualRun

__all__ = ["play"]

Points = Sequence[dict[str, Any]]


def play(run: VirtualRun, points: Points, costs: Costs) -> None:
    """Let all workers evaluate the points, and then what the optimizer proposes.

    Parameters
    ----------
    run : VirtualRun
    points : sequence of dict
        The initial design, or all trials of a listing optimizer.
    costs : Costs
    """
    _PLAYERS[run.plan.optimizer.placement](run, points, costs)
    run.play()


def _play_list(run: VirtualRun, points: Points, costs: Costs) -> None:
    """Let every worker take points from the list until none is left."""
    queue = _queue_of(points)

    def take(worker: int, now: float) -> None:
        if queue and run.may_start(now):
            run.start(worker, now, queue.popleft(), take)

    for worker in range(run.plan.n_workers):
        run.at(0.0, lambda now, worker=worker: take(worker, now))  # type: ignore[misc]


def _play_each_worker(run: VirtualRun, points: Points, costs: Costs) -> None:
    """Let every worker take points of the initial design, and then propose for itself."""
    player = EachWorkerPlay(run, points, costs)
    for worker in range(run.plan.n_workers):
        run.at(0.0, lambda now, worker=worker: player.take(worker, now))  # type: ignore[misc]


def _play_one_process(run: VirtualRun, points: Points, costs: Costs) -> None:
    """Let one proposer fill a queue from which the workers take trials."""
    run.at(0.0, OneProcessPlay(run, points, costs).begin)


_PLAYERS: dict[Placement, Callable[[VirtualRun, Points, Costs], None]] = {
    "listed": _play_list,
    "each worker": _play_each_worker,
    "independent": _play_each_worker,
    "one process": _play_one_process,
}


def _queue_of(points: Points) -> deque[Proposed]:
    return deque(Proposed(str(key), config) for key, config in enumerate(points))


class EachWorkerPlay:
    """Workers that propose for themselves.

    If several workers choose the same point, the first one starts it. Every other one spends time
    on this proposal and on a new one. The same holds for a worker that chooses a running point of
    the initial design. A real worker knows these points when it joins. Here the memory for them
    would grow with the square of the number of workers.

    Parameters
    ----------
    run : VirtualRun
    points : sequence of dict
    costs : Costs
    """

    def __init__(self, run: VirtualRun, points: Points, costs: Costs) -> None:
        plan = run.plan
        optimizer = cast(ProposingOptimizer, plan.optimizer)  # its placement is not "listed"
        self._run = run
        self._costs = costs
        self._queue = _queue_of(points)
        self._keys = count(len(points))
        known = run.learn()
        is_independent = optimizer.placement == "independent"
        archive = Archive(plan.problem.space, plan.problem.goals) if is_independent else known
        places = [Place(number, number, plan.n_workers) for number in range(plan.n_workers)]
        self._deciders = [Decider(optimizer, plan.problem, p, archive=archive) for p in places]
        self._n_seen = [len(archive)] * plan.n_workers
        costs.warm_up(optimizer, places[0])
        self._started: set[bytes] = set()  # duplicate keys
        if points:
            rows = plan.problem.space.encode(points)
            self._started = {point_key(row) for row in rows if row not in known}

    def take(self, worker: int, now: float) -> None:
        """Start the next trial of a worker: a point of the design, or a proposal of its own."""
        if not self._run.may_start(now):
            return
        if self._queue:
            self._run.start(worker, now, self._queue.popleft(), self.take)
        else:
            self._propose(worker, now, {})

    def _propose(self, worker: int, now: float, spent: dict[str, float]) -> None:
        self._run.learn()
        decider = self._deciders[worker]
        n_known = len(decider.archive)
        choice = decider.choose(self._costs.timing)
        n_seen, self._n_seen[worker] = self._n_seen[worker], n_known
        (seconds,) = self._costs.of_proposals([choice.proposal], n_seen)
        seconds["coordination_s"] += self._costs.of_step(now, n_known - n_seen)
        spent = {phase: spent.get(phase, 0.0) + took for phase, took in seconds.items()}
        config, notes = choice.proposal.config, {**choice.proposal.notes, **spent}
        proposed = Proposed(str(next(self._keys)), config, notes)

        def start(now: float) -> None:
            if not self._run.may_start(now):  # the run may have ended during the proposal
                return
            if choice.duplicate_key in self._started:
                decider.avoid([config])
                self._propose(worker, now, spent)
                return
            if choice.duplicate_key is not None:
                self._started.add(choice.duplicate_key)
            self._run.start(worker, now, proposed, self.take)

        self._run.at(now + sum(seconds.values()), start)


class OneProcessPlay:
    """One proposer, and workers that take trials from its queue.

    Parameters
    ----------
    run : VirtualRun
    points : sequence of dict
    costs : Costs
    """

    def __init__(self, run: VirtualRun, points: Points, costs: Costs) -> None:
        plan = run.plan
        optimizer = cast(CentralizedOptimizer, plan.optimizer)  # its placement is "one process"
        self._optimizer = optimizer
        self._run = run
        self._costs = costs
        self._design = _queue_of(points)
        self._keys = count(len(points))
        self._queue: deque[Proposed] = deque()
        self._idle = deque(range(plan.n_workers))
        # The proposer joins after all workers.
        place = Place(plan.n_workers, plan.n_workers, plan.n_workers)
        self._decider = Decider(optimizer, plan.problem, place, archive=run.learn())
        self._n_seen = len(self._decider.archive)
        self._proposer_is_busy = False
        costs.warm_up(optimizer, place)

    def begin(self, now: float) -> None:
        """Push the initial design."""
        for proposed in self._design:
            self._decider.pending.add(proposed.key, proposed.config)
        self._push(self._design, now)
        self._propose(now)

    def _push(self, proposals: Sequence[Proposed], now: float) -> None:
        self._queue.extend(proposals)
        while self._queue and self._idle and self._run.may_start(now):
            self._run.start(self._idle.popleft(), now, self._queue.popleft(), self._ended)

    def _ended(self, worker: int, now: float) -> None:
        """Handle the end of a trial."""
        self._decider.pending.remove(self._run.trials[-1].key)
        self._idle.append(worker)
        self._push((), now)
        self._propose(now)

    def _propose(self, now: float) -> None:
        """Let the proposer propose, unless it is busy, wants to wait, or no trial may start."""
        run, n_workers = self._run, self._run.plan.n_workers
        n_wanted = self._optimizer.n_next(len(self._queue) + run.n_running, n_workers)
        n = int(min(n_wanted, run.n_left - len(self._queue)))
        if self._proposer_is_busy or n <= 0 or not run.may_start(now):
            return
        n_known = len(run.learn())
        proposals = self._decider.propose(self._costs.timing, n)
        costs = self._costs.of_proposals(proposals, self._n_seen)
        self._n_seen = n_known
        batch = []
        for proposal, seconds in zip(proposals, costs, strict=True):
            times = seconds | {"cpu_s": sum(seconds.values())}
            notes = {**proposal.notes, **proposer_notes(n_workers, times, 1)}
            batch.append(Proposed(str(next(self._keys)), proposal.config, notes))
            self._decider.pending.add(batch[-1].key, proposal.config)
        self._proposer_is_busy = True

        def push(now: float) -> None:
            self._proposer_is_busy = False
            self._push(batch, now)
            self._propose(now)

        took_s = sum(sum(seconds.values()) for seconds in costs)
        self._run.at(now + took_s, push)
