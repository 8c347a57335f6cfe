"""Runs whose workers share a reader: what each worker knows is right, whatever happens to it."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import psutil
import pytest

from rush_core.node.reader_process import READER_NAME
from rush_opt import ADBO, Float, Space, TuneResult, tune
from rush_opt.optimizers.base import Place, Placement, Proposal, Timing
from rush_opt.problem.problem import Problem
from rush_opt.search.archive import Archive
from rush_opt.search.pending import Pending
from tests.waiting import wait_until

N_TRIALS, N_WORKERS = 300, 3
SPACE = Space({"x": Float(0, 1), "y": Float(0, 1)})
PATIENCE_S = 60.0

# Workers trust a copy of the log that was read a second ago; a busy machine needs some time, too.
MOST_LAG_S = 2.0


@dataclass(frozen=True)
class Counting:
    """Proposes random points; the notes tell how many known points there are and are distinct."""

    placement: Placement = "each worker"

    def n_initial(self, n_dims: int, n_workers: int) -> int:
        return n_workers

    def proposer(self, problem: Problem, place: Place) -> Counter:
        return Counter(problem.worker_rng(place.number))


@dataclass
class Counter:
    rng: np.random.Generator

    def propose(
        self, archive: Archive, pending: Pending, timing: Timing, n: int
    ) -> Sequence[Proposal]:
        n_distinct = len({row.tobytes() for row in archive.X})
        notes = {"n_known": len(archive), "n_distinct": n_distinct}
        return [Proposal(archive.space.decode(self.rng.random((1, 2)))[0], notes)]


def bowl(config: dict[str, float]) -> float:
    time.sleep(0.01)
    return (config["x"] - 0.3) ** 2 + (config["y"] - 0.7) ** 2


def run(optimizer: object, n_trials: int = N_TRIALS) -> TuneResult:
    return tune(
        bowl,
        SPACE,
        optimizer=optimizer,  # type: ignore[arg-type]
        n_trials=n_trials,
        n_workers=N_WORKERS,
        seed=1,
        progress=False,
    )


def check(result: TuneResult) -> None:
    """Check what each worker knew at each proposal."""
    trials = result.frozen_trials
    ends = np.array([trial.ended_at for trial in trials])
    for worker in range(N_WORKERS):
        own = sorted(
            (t for t in trials if t.worker == worker and "n_known" in t.notes),
            key=lambda trial: trial.started_at or 0.0,
        )
        n_known = [trial.notes["n_known"] for trial in own]
        assert all(b > a for a, b in itertools.pairwise(n_known))
        for trial in own:
            assert trial.notes["n_distinct"] == trial.notes["n_known"]
            started_at = trial.started_at or 0.0
            least = int((ends < started_at - MOST_LAG_S).sum())
            assert least <= trial.notes["n_known"] <= (ends < started_at + 0.1).sum()


def readers() -> list[psutil.Process]:
    """Return the reader processes that this process's runs have."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if process.name() == READER_NAME and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.NoSuchProcess:
            pass
    return found


def test_every_worker_knows_each_trial_once() -> None:
    check(run(Counting()))


@pytest.mark.parametrize("fault", [psutil.Process.kill, psutil.Process.suspend])
def test_a_reader_that_fails_in_the_middle_costs_nothing(
    fault: Callable[[psutil.Process], None],
) -> None:
    pids: list[int] = []

    def fail() -> None:
        (reader,) = wait_until(readers, PATIENCE_S)
        fault(reader)
        pids.append(reader.pid)

    thread = threading.Thread(target=fail)
    thread.start()
    result = run(Counting())
    thread.join()
    assert len(pids) == 1
    assert len(result.frozen_trials) == N_TRIALS
    check(result)


def test_the_known_trials_of_a_modelled_run_are_those_of_its_notes() -> None:
    result = run(ADBO(), 60)
    assert len(result.frozen_trials) == 60
    for trial in result.frozen_trials:
        if "n_known" in trial.notes:
            assert len(result.known_at(trial)) == trial.notes["n_known"]
