"""What a manager reads of a run while its workers go on."""

from __future__ import annotations

import pytest

from rush_core import Network, TaskCounts, Worker
from rush_opt import Float, Space
from rush_opt.running.history import TrialHistory
from rush_opt.running.joined import JoinedWorkers
from tests.opt.plans import plan_of


def test_a_trial_that_finishes_between_two_reads_comes_before_later_failures(
    network: Network, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = TrialHistory(network, plan_of(Space({"x": Float(0, 1)})), JoinedWorkers(network))
    count = network.count_tasks

    def work_then_count() -> TaskCounts:
        for x in (0.25, 0.5, 0.75):
            key = worker.start_task({"x": x})
            assert key is not None
            if x == 0.25:
                worker.finish_task(key, {"loss": x})
            else:
                worker.fail_task(key, "no luck")
        return count()

    monkeypatch.setattr(network, "count_tasks", work_then_count)
    trials = history.fetch_new()
    assert [trial.state for trial in trials] == ["finished", "failed", "failed"]
    assert (history.n_ended, history.n_failed) == (3, 2)
