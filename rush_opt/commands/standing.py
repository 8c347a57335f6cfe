"""Where a run stands, as text: state, trials, best value, budget, rate, workers."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import psutil

from rush_core import HostInfo, WorkerInfo, duration_text, host_lines, local_time, printable
from rush_opt.results.stored import StoredRun
from rush_opt.results.summary import best_trials, params_lines
from rush_opt.results.trials import FrozenTrial

__all__ = ["Standing", "values_text"]

# How many workers are listed one by one.
_MOST_LISTED = 16

# The width of the names on the left, and of a line.
_NAME_WIDTH = 10
_LINE_WIDTH = 80


@dataclass(frozen=True)
class Standing:
    """Where a run stands at one moment.

    Parameters
    ----------
    run : StoredRun
    is_stored : bool
        Whether no program uses the network; see `rush_core.ExistingNetwork`.
    hosts : sequence of HostInfo
        What the nodes of the network wrote about their hosts.
    """

    run: StoredRun
    is_stored: bool
    hosts: Sequence[HostInfo] = ()

    @property
    def active(self) -> list[WorkerInfo]:
        """The workers that are registered, without those of this machine that do not run."""
        if self.is_stored:
            return []
        return [w for w in self.run.record.workers if w.ended_at is None and not _is_dead(w)]

    @property
    def state(self) -> str:
        """``running``, ``ended``, ``broken off`` or, without a run of `tune()`, ``idle``."""
        note = self.run.note
        if note is not None and note.ended is not None:
            return "ended"
        if self.is_stored:
            return "idle" if note is None else "broken off"
        if self.active:
            return "running"
        if note is None:
            return "idle"
        if note.host == socket.gethostname():
            return "running" if psutil.pid_exists(note.pid) else "broken off"
        return "running" if not _joined_since(self.run) else "broken off"

    @property
    def is_over(self) -> bool:
        """Whether the run does not go on."""
        return self.state != "running"

    @property
    def n_counted(self) -> int:
        """How many trials take a place in the budget."""
        return sum(trial.counts for trial in self.run.record.trials)

    @property
    def seconds(self) -> float:
        """How long the run has lasted; of one that is broken off, until something last happened."""
        record = self.run.record
        end = self.changed_at if self.state == "broken off" else record.ended_at
        return end - record.started_at

    @property
    def rate(self) -> float | None:
        """Trials per second since the run began; None before any has ended."""
        record = self.run.record
        n = sum(trial.counts and trial.ended_at >= record.started_at for trial in record.trials)
        return n / self.seconds if n and self.seconds > 0 else None

    @property
    def seconds_left(self) -> float | None:
        """How long the run still takes at this rate; None if nothing says it."""
        note, rate = self.run.note, self.rate
        if note is None or self.is_over:
            return None
        left = [] if note.deadline is None else [max(note.deadline - self.run.now, 0.0)]
        if note.n_trials is not None and rate is not None:
            left.append(max(note.n_trials - self.n_counted, 0) / rate)
        return min(left, default=None)

    @property
    def changed_at(self) -> float:
        """When something last happened, seconds since 1970."""
        record, note = self.run.record, self.run.note
        times = [trial.ended_at for trial in record.trials]
        times += [worker.ended_at or worker.started_at for worker in record.workers]
        times += [] if note is None else [note.ended or note.began]
        return max(times, default=self.run.now)

    def ended_text(self) -> str:
        """Return how many trials of the budget have ended; without a budget, how many in all."""
        note, counts = self.run.note, self.run.counts
        if note is not None and note.n_trials is not None:
            return f"{self.n_counted} of {note.n_trials}"
        return str(counts.finished + counts.failed)

    def trials_text(self) -> str:
        """Return how many trials there are, by state."""
        counts, trials = self.run.counts, self.run.record.trials
        n_stopped = sum(t.state == "finished" and t.stopped_at is not None for t in trials)
        n_lost = sum(trial.lost for trial in trials)
        n_warm = sum(trial.warm for trial in trials)
        parts = [
            (counts.finished - n_stopped - n_warm, "finished"),
            (n_stopped, "stopped early"),
            (counts.failed - n_lost, "failed"),
            (n_lost, "lost"),
            (counts.running, "unfinished" if self.is_over else "running"),
            (counts.queued, "queued"),
            (n_warm, "known before"),
        ]
        by_state = ", ".join(f"{n} {what}" for n, what in parts if n)
        return f"{self.ended_text()}{f': {by_state}' if by_state else ''}"

    def to_plain(self) -> dict[str, Any]:
        """Return the standing as values of JSON."""
        record, note = self.run.record, self.run.note
        return {
            "network": record.network_id,
            "state": self.state,
            "stop_reason": None if note is None else note.stop_reason,
            "best": [trial_plain(trial, record.metrics) for trial in best_trials(self.run.record)],
            "n_trials": None if note is None else note.n_trials,
            "deadline": record.deadline,
            "began": record.started_at,
            "rate": self.rate,
            "seconds_left": self.seconds_left,
            "changed_at": self.changed_at,
        }

    def lines(self) -> list[str]:
        """Return the standing as lines for a terminal."""
        return [*self._head(), *self._best_lines(), *self._course(), *self._worker_lines()]

    def _head(self) -> Iterator[str]:
        note, network_id = self.run.note, self.run.record.network_id
        why = f": {printable(note.stop_reason)}" if note is not None and note.stop_reason else ""
        yield f"{network_id} - {self.state}{why}"
        yield _named("trials", self.trials_text())

    def _best_lines(self) -> Iterator[str]:
        best, record = best_trials(self.run.record), self.run.record
        if not best:
            yield _named("best", "none yet: no trial has finished")
        elif len(record.goals) > 1:
            yield _named("front", f"{len(best)} trials; `rush best` lists them")
        else:
            ago = duration_text(max(self.run.now - best[0].ended_at, 0.0))
            text = f"{values_text(best[0], record.metrics)} ({record.goals[0].direction})"
            yield _named("best", f"{text}, trial {best[0].number}, {ago} ago")
            yield from params_lines(best[0].params, _LINE_WIDTH)

    def _course(self) -> Iterator[str]:
        note = self.run.note
        if note is not None:
            parts = [f"{note.n_trials} trials"] if note.n_trials is not None else []
            parts += [f"until {local_time(note.deadline)}"] if note.deadline is not None else []
            yield _named("budget", ", ".join(parts) or "none: a rule or the user ends the run")
        if self.rate is not None:
            took = duration_text(self.seconds)
            left = self.seconds_left
            more = "" if left is None else f", about {duration_text(left)} left"
            yield _named("rate", f"{self.rate:.3g} trials/s in {took}{more}")

    def _worker_lines(self) -> Iterator[str]:
        active = self.active
        hosts = Counter(worker.host for worker in active)
        where = ", ".join(f"{n} on {host}" for host, n in hosts.most_common())
        ended = Counter(w.state.value for w in self.run.record.workers if w.ended_at is not None)
        parts = [where or "none active", *(f"{n} {state}" for state, n in ended.items())]
        yield _named("workers", ", ".join(parts))
        if active:
            known = {info.host for info in self.hosts}
            described = [worker for worker in self.run.record.workers if worker.host in known]
            for line in host_lines(described, self.hosts)[:_MOST_LISTED]:
                yield _named("host", line)
        for worker in active[:_MOST_LISTED]:
            doing = " ".join(worker.task_keys) or "between trials"
            yield f"  {worker.number:4}  {printable(worker.worker_id):12}  {printable(doing)}"
        if len(active) > _MOST_LISTED:
            yield f"  and {len(active) - _MOST_LISTED} more"


def values_text(trial: FrozenTrial, metrics: tuple[str, ...]) -> str:
    """Return the values of a finished trial; with their names if there are several."""
    if len(metrics) == 1:
        return f"{trial.result[metrics[0]]:.6g}"
    return ", ".join(f"{printable(name)} {trial.result[name]:.6g}" for name in metrics)


def trial_plain(trial: FrozenTrial, metrics: tuple[str, ...]) -> dict[str, Any]:
    """Return what matters of a trial as values of JSON."""
    return {
        "number": trial.number,
        "key": trial.key,
        "state": trial.state,
        **{name: trial.result.get(name) for name in metrics},
        "params": trial.params,
    }


def _named(name: str, text: str) -> str:
    return f"{name:{_NAME_WIDTH}}{printable(text)}"


def _joined_since(run: StoredRun) -> bool:
    """Tell whether a worker has joined since the run began."""
    return any(worker.started_at >= run.record.started_at for worker in run.record.workers)


def _is_dead(worker: WorkerInfo) -> bool:
    """Tell whether a worker is of this machine and its process does not run."""
    return worker.host == socket.gethostname() and not psutil.pid_exists(worker.pid)
