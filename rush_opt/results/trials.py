"""Trials that ended, and how to make them from tasks of a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from rush_core import CorruptRecordError, Task, WorkerInfo
from rush_opt.stopping.incumbent import STOPPED_AT

__all__ = ["WARM_START", "FrozenTrial", "freeze_trials", "only_value"]

# The note of a trial that was given to the run by `warm_start`.
WARM_START = {"warm_start": True}


@dataclass(frozen=True)
class FrozenTrial:
    """One trial that ended.

    Attributes
    ----------
    number : int
        Its position in the order of completion, from 0.
    key : str
        Its identifier in the network.
    state : str
        ``finished`` or ``failed``.
    params : dict
        Parameter name to value.
    value : float or None
        The objective value. None if the trial failed, or if there are several objectives: then all
        values are in `result`.
    result : dict
        All that the objective returned.
    error : str or None
        The traceback or the reason of a failed trial.
    worker : int or None
        The number of the worker; None if no worker ran the trial.
    started_at, ended_at : float or None
        Seconds since 1970 by the server's clock.
    notes : dict
        How the trial was proposed, and how its worker spent the time for it, in seconds.
    intermediate : dict of float to float
        The values that the trial reported while it ran, by step.
    """

    number: int
    key: str
    state: str
    params: dict[str, Any]
    value: float | None
    result: dict[str, Any]
    error: str | None
    worker: int | None
    started_at: float | None
    ended_at: float
    notes: dict[str, Any]
    intermediate: dict[float, float] = field(default_factory=dict)

    @property
    def stopped_at(self) -> float | None:
        """The step at which the trial was stopped early; None if it was not."""
        step: float | None = self.notes.get(STOPPED_AT)
        return step

    @property
    def lost(self) -> bool:
        """Whether the trial failed because its worker was killed or lost."""
        return "lost" in self.notes

    @property
    def warm(self) -> bool:
        """Whether the trial was given to the run by `warm_start`."""
        return "warm_start" in self.notes

    @property
    def counts(self) -> bool:
        """Whether the trial counts for the budget: a worker ran it until it finished or failed.

        No worker ran a trial that was given by `warm_start`, or that was removed from the queue.
        """
        return self.worker is not None and not self.lost


def freeze_trials(
    tasks: Sequence[Task],
    metrics: Sequence[str],
    workers: Sequence[WorkerInfo],
    first_number: int = 0,
    reported: Mapping[tuple[str, int], dict[float, float]] = MappingProxyType({}),
) -> list[FrozenTrial]:
    """Make trials from ended tasks, in order of completion.

    Parameters
    ----------
    tasks : sequence of Task
        Finished or failed tasks.
    metrics : sequence of str
        The names of the objective values in a result.
    workers : sequence of WorkerInfo
        The workers of the network. If the worker of a trial is not among them, the trial's `worker`
        is None.
    first_number : int
        The number of the first trial.
    reported : mapping
        Key and attempt of a task to the values that it reported, by step.
    """
    numbers = {worker.worker_id: worker.number for worker in workers}
    ended = sorted(tasks, key=lambda task: task.ended_at or 0.0)
    return [
        _freeze(
            task,
            metrics,
            number=number,
            worker=numbers.get(task.worker_id),
            intermediate=reported.get((task.key, task.attempt), {}),
        )
        for number, task in enumerate(ended, start=first_number)
    ]


def only_value(result: dict[str, Any], metrics: Sequence[str]) -> float | None:
    """Return the objective value of a result; None if it has none, or if there are several."""
    return result.get(metrics[0]) if len(metrics) == 1 else None


def _freeze(
    task: Task,
    metrics: Sequence[str],
    *,
    number: int,
    worker: int | None,
    intermediate: dict[float, float],
) -> FrozenTrial:
    result = task.result or {}
    if task.ended_at is None:
        raise CorruptRecordError(
            f"task {task.key!r} is among the ended tasks, but its record has no time of an end; "
            "another program wrote to this network: reset it",
            key=task.key,
        )
    return FrozenTrial(
        number=number,
        key=task.key,
        state=task.state.value,
        params=task.config,
        value=only_value(result, metrics),
        result=result,
        error=task.error,
        worker=worker,
        started_at=task.started_at,
        ended_at=task.ended_at,
        # The proposer's notes override the worker's notes of the same name.
        notes={**task.result_extra, **task.extra},
        intermediate=intermediate,
    )
