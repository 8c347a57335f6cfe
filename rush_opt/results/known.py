"""The trials that an optimizer knew when it proposed a trial."""

from __future__ import annotations

from collections.abc import Sequence

from rush_opt.results.trials import FrozenTrial

__all__ = ["known_at"]


def known_at(trials: Sequence[FrozenTrial], trial: FrozenTrial) -> list[FrozenTrial]:
    """Return the trials that were known when a trial was proposed; see `TuneResult.known_at`."""
    if "n_known" not in trial.notes:
        raise ValueError(
            f"trial {trial.number} was not proposed from results of other trials: its notes have "
            "no 'n_known'; it is of an initial design, or its optimizer uses no results"
        )
    n_unstopped, n_stopped = trial.notes["n_known"], trial.notes.get("n_stopped", 0)
    learned = [other for other in trials if _is_learned_from(other)]
    unstopped = [other for other in learned if not _is_stopped(other)]
    stopped = [other for other in learned if _is_stopped(other)]
    known = {
        other.number
        for kind, n in ((unstopped, n_unstopped), (stopped, n_stopped))
        for other in _first(kind, n, trial)
    }
    return [other for other in learned if other.number in known]


def _first(others: Sequence[FrozenTrial], n: int, trial: FrozenTrial) -> list[FrozenTrial]:
    """Return the first `n`; a worker knew its own trials before others that ended just before."""
    own = [other for other in others if _is_earlier_of_worker(other, trial)]
    rest = [other for other in others if not _is_earlier_of_worker(other, trial)]
    return [*own, *rest][:n]


def _is_earlier_of_worker(other: FrozenTrial, trial: FrozenTrial) -> bool:
    """Whether the worker that proposed a trial had evaluated another one before."""
    if "proposer" in trial.notes or other.worker is None or other.worker != trial.worker:
        return False
    return trial.started_at is not None and other.ended_at <= trial.started_at


def _is_learned_from(trial: FrozenTrial) -> bool:
    """Whether optimizers learn from the trial: not if it was lost, or removed from the queue."""
    was_evaluated = not trial.lost and trial.started_at is not None
    return trial.state == "finished" or was_evaluated


def _is_stopped(trial: FrozenTrial) -> bool:
    # A trial that failed does not count as stopped, even if it was also asked to stop early.
    return trial.state == "finished" and trial.stopped_at is not None
