"""What the centralized algorithms share: one process proposes into a queue, workers evaluate it."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from typing import Any, Protocol

import numpy as np

from rush_core import Task, Worker
from rush_opt.evaluation.runner import EndedTrials, Problem, Timing, TrialRunner
from rush_opt.search.archive import Archive, RowArray
from rush_opt.space import Space


class Pending:
    """The points of queued and running tasks, by the tasks' keys.

    Parameters
    ----------
    space : Space
    """

    def __init__(self, space: Space) -> None:
        self._space = space
        self._rows: dict[str, bytes] = {}

    def __len__(self) -> int:
        """How many there are."""
        return len(self._rows)

    def __contains__(self, row: object) -> bool:
        """Tell whether a snapped row is among them, to single precision."""
        return np.asarray(row, dtype=np.float32).tobytes() in self._rows.values()

    @property
    def X(self) -> RowArray:  # noqa: N802  # the field's name for rows of features
        """Snapped rows of the unit cube, shape (n, n_dims)."""
        flat = np.frombuffer(b"".join(self._rows.values()), dtype=np.float32)
        return flat.reshape(len(self), self._space.n_dims)

    def add(self, key: str, config: dict[str, Any]) -> None:
        """Add a task."""
        self._rows[key] = self._space.encode([config]).astype(np.float32).tobytes()

    def remove(self, key: str) -> None:
        """Remove a task that has ended."""
        del self._rows[key]

    def replace(self, tasks: Iterable[Task]) -> None:
        """Hold these tasks and no others."""
        known, self._rows = self._rows, {}
        for task in tasks:
            if task.key in known:
                self._rows[task.key] = known[task.key]
            else:
                self.add(task.key, task.config)


def mark_of(config: dict[str, Any], archive: Archive, pending: Container[Any]) -> bytes | None:
    """Return what a trial has in common with no other; None if a repeat is all that is left.

    Parameters
    ----------
    config : dict
        What was proposed.
    archive : Archive
    pending : container of rows
        What the proposal was to keep away from.
    """
    row = archive.space.encode([config])[0]
    is_known = row in archive or row in pending
    return None if is_known else row.astype(np.float32).tobytes()


class CentralState(Protocol):
    """What decides for the proposing process."""

    def propose(self, timing: Timing, pending: Pending) -> tuple[dict[str, Any], dict[str, float]]:
        """Choose the next configuration, and say how it came about."""


class CentralSettings(Protocol):
    """A centralized algorithm."""

    def state(self, problem: Problem, archive: Archive, number: int) -> CentralState: ...

    def n_next(self, n_open: int, n_workers: int) -> int:
        """Return how many to propose while so many are queued or running."""


def evaluate_queue(worker: Worker, problem: Problem) -> None:
    """Evaluate what is in the queue until told to stop."""
    trials = TrialRunner(worker, problem)
    while trials.may_start():
        if waiting := trials.wait_and_claim():
            trials.run(*waiting)


def fill_queue(settings: CentralSettings, worker: Worker, problem: Problem, n_workers: int) -> None:
    """Propose into the queue until all trials of the budget have been started.

    Between proposals the process sleeps in the server, which wakes it when a task ends. All that it
    knows it reads anew: another one can take its place at any time.
    """
    trials = TrialRunner(worker, problem)
    archive = Archive(problem.space, *problem.metrics, signs=problem.signs)
    state = settings.state(problem, archive, worker.number)
    pending = Pending(problem.space)
    n_trials = float("inf") if problem.n_trials is None else problem.n_trials
    n_ended = 0

    def take_in(ended: EndedTrials) -> set[str]:
        nonlocal n_ended
        archive.add_ended(ended)
        tasks = [*ended.finished, *ended.failed]
        # Those that no worker ran were known beforehand, or taken out of the queue.
        n_ended += sum(bool(task.worker_id) for task in tasks)
        return {task.key for task in tasks}

    while trials.may_start():
        with trials.timing("coordination"):
            open_tasks: Sequence[Task] = worker.fetch_tasks("queued", "running")
            # Looked at after what is open: what ended in between is in both, and is not open.
            ended = take_in(trials.fetch_new())
            open_tasks = [task for task in open_tasks if task.key not in ended]
            pending.replace(open_tasks)
        n_running = sum(bool(task.worker_id) for task in open_tasks)
        if n_ended + n_running >= n_trials:
            return
        left = n_trials - n_ended - len(open_tasks)
        n = int(min(settings.n_next(len(open_tasks), n_workers), left))
        if n > 0:
            _push_proposals(n, state, pending, trials, worker)
        else:
            take_in(trials.fetch_new(timeout_s=trials.time_left()))


def _push_proposals(
    n: int, state: CentralState, pending: Pending, trials: TrialRunner, worker: Worker
) -> None:
    """Propose one after the other, and push all of them in the end."""
    configs, extras = [], []
    for i in range(n):
        if not trials.may_start():
            return
        config, notes = state.propose(trials.timing, pending)
        pending.add(f"proposal {i}", config)
        configs.append(config)
        extras.append(notes | proposer_notes(worker.number, trials.collect_times()))
    with trials.timing("coordination"):
        worker.push_tasks(configs, extras=extras)


def proposer_notes(number: int, times: dict[str, float]) -> dict[str, float]:
    """Say who proposed a trial and what that took, beside what its worker will note."""
    return {
        "proposer": number,
        "surrogate_s": times["surrogate_s"],
        "acquisition_s": times["acquisition_s"],
        "proposer_coordination_s": times["coordination_s"],
        "proposer_cpu_s": times["cpu_s"],
    }


__all__ = ["Pending", "evaluate_queue", "fill_queue", "mark_of", "proposer_notes"]
