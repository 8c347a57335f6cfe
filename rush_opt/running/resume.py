"""Going on in the network of an earlier run: check that it fits, and remove its dead workers."""

from __future__ import annotations

import logging
import re
import socket
from collections.abc import Iterator, Sequence
from numbers import Real
from typing import Any

import psutil

from rush_core import Network, WorkerInfo, printable
from rush_opt.problem.problem import Problem
from rush_opt.results.trials import FrozenTrial
from rush_opt.space.constraint import called

__all__ = ["check_description", "check_trials", "differences", "remove_orphans"]

logger = logging.getLogger(__name__)

# A worker whose manager was killed is gone within a second, whatever its objective does.
_ORPHANS_LEAVE_WITHIN_S = 3.0


def check_description(network: Network, problem: Problem) -> None:
    """Refuse a network that was begun with another space, metric or direction; two round trips.

    Raises
    ------
    ValueError
        It names all that differs; nothing was written.
    """
    mine = _description(problem)
    found = network.describe(mine)
    if different := list(differences(found, mine)):
        raise ValueError(
            f"network {network.network_id!r} was begun with other arguments: "
            f"{'; '.join(different)}. Use the same ones, or another network_id, to which "
            "warm_start can give these trials"
        )


def check_trials(trials: Sequence[FrozenTrial], problem: Problem, network_id: str) -> None:
    """Refuse a network with finished trials of another space or metric.

    Raises
    ------
    ValueError
        It names the first such trial.
    """
    for trial in trials:
        if trial.state != "finished":
            continue
        missing = [m for m in problem.metrics if not isinstance(trial.result.get(m), Real)]
        if missing:
            wrong = f"its result has no number {missing[0]!r}: {trial.result!r:.80}"
        else:
            try:
                problem.space.validate(trial.params)
            except ValueError as error:
                wrong = str(error)
            else:
                continue
        raise ValueError(
            f"network {network_id!r} has trial {trial.key!r}, which does not fit this run: "
            f"{wrong}. Use the same space and metric, or another network_id"
        )


def remove_orphans(network: Network) -> None:
    """Remove workers of this host whose process has ended together with their manager.

    Their trials fail, and their places in the budget are free again. One round trip if there are no
    such workers. Workers of other hosts are found lost later, by their heartbeats.
    """
    registered = [worker for worker in network.fetch_workers() if worker.ended_at is None]
    here = [worker for worker in registered if worker.host == socket.gethostname()]
    processes = [process for process in map(_process_of, here) if process is not None]
    psutil.wait_procs(processes, timeout=_ORPHANS_LEAVE_WITHIN_S if processes else 0)
    if gone := [worker.worker_id for worker in here if _has_ended(worker)]:
        network.stop_workers(gone, kill=True)
    for worker in registered:
        if worker not in here and worker.heartbeat_s is None and worker.task_keys:
            logger.warning(
                "worker %s on host %s has no heartbeat, and this host cannot see whether it runs; "
                "if it does not, its trial takes a place in n_trials until you call "
                "Network(%r).stop_workers([%r], kill=True)",
                *(printable(worker.worker_id), printable(worker.host)),
                *(network.network_id, worker.worker_id),
            )


def _process_of(worker: WorkerInfo) -> psutil.Process | None:
    """Return a worker's process on this machine, if it was started for this worker alone."""
    try:
        process = psutil.Process(worker.pid)
        # Another process may have this number by now; its command line lacks the worker's id.
        return process if worker.worker_id in process.cmdline() else None
    except psutil.AccessDenied:
        return process
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return None


def _has_ended(worker: WorkerInfo) -> bool:
    """Tell whether a worker's process on this machine has ended.

    Workers with a heartbeat may be a part of any program, such as an `Advisor`. If a program has
    the number of such a worker's process, only the heartbeat shows whether the worker lives.
    """
    try:
        is_there = psutil.Process(worker.pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        is_there = False
    return not is_there or (worker.heartbeat_s is None and _process_of(worker) is None)


def _description(problem: Problem) -> dict[str, Any]:
    space = problem.space
    return {
        "metric": list(problem.metrics),
        "direction": [goal.direction for goal in problem.goals],
        "space": {
            name: _without_addresses(repr(parameter))
            for name, parameter in zip(space.names, space.parameters, strict=True)
        },
        "constraints": [_without_addresses(called(c)) for c in space.constraints],
    }


def differences(there: dict[str, Any], here: dict[str, Any]) -> Iterator[str]:
    """Yield what differs between the description that was found and that of this run."""
    for what in ("metric", "direction", "constraints"):
        if there.get(what) != here[what]:
            yield f"{what} was {_shown(there.get(what))} and is {_shown(here[what])}"
    # Another program may have described the network in its own way.
    found, new = there.get("space"), here["space"]
    old = found if isinstance(found, dict) else {}
    for name in dict.fromkeys((*old, *new)):
        if old.get(name) != new.get(name):
            was, is_now = old.get(name, "not there"), new.get(name, "not there")
            yield f"parameter {name!r} was {was} and is {is_now}"


def _shown(values: Any) -> str:
    """Return a list as text; a list of one value as that value."""
    return repr(values[0] if isinstance(values, list) and len(values) == 1 else values)


def _without_addresses(text: str) -> str:
    """Leave out memory addresses of code, which differ in every process."""
    return re.sub(r" at 0x[0-9a-f]+", "", text)
