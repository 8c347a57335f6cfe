"""What a worker sends from one trial to the next, seen at its connection to our own server."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from rush_core import Network, Worker
from rush_core.connection.connection import Connection
from rush_opt import ACBO, ADBO, Float, GridSearch, RandomSearch, Space, Target
from rush_opt.evaluation.plan import RunPlan
from rush_opt.optimizers import Optimizer
from rush_opt.running.loops import evaluate_trials
from tests.opt.plans import plan_of

N_TRIALS = 12
PLAN = plan_of(Space({"x": Float(0, 1)}), optimizer=RandomSearch(), n_trials=N_TRIALS, seed=5)
NEEDS_NO_RESULTS = pytest.mark.parametrize(
    "optimizer", [RandomSearch(), GridSearch(), ACBO()], ids=["random", "grid", "acbo"]
)


@pytest.fixture
def quiet_worker(network: Network) -> Iterator[Worker]:
    """A worker in this process of which no other thread sends anything."""
    with Worker(network.network_id, url=network.url, heartbeat=None) as worker:
        yield worker


@pytest.fixture
def sends(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What has gone to the server, an item for each round trip."""
    sends: list[bytes] = []
    execute, execute_many = Connection.execute, Connection.execute_many

    def note_one(connection: Connection, request: bytes) -> Any:
        sends.append(request)
        return execute(connection, request)

    def note_many(connection: Connection, requests: Sequence[bytes], **options: Any) -> list[Any]:
        sends.append(b"".join(requests))
        return execute_many(connection, requests, **options)

    monkeypatch.setattr(Connection, "execute", note_one)
    monkeypatch.setattr(Connection, "execute_many", note_many)
    return sends


def steps_of(worker: Worker, sends: list[bytes], plan: RunPlan) -> list[list[bytes]]:
    """Run a worker; return what was sent between each trial's objective and the next one's.

    The first trial is left out: after it the server may receive the scripts.
    """
    called: list[int] = []

    def objective(config: dict[str, Any]) -> Any:
        called.append(len(sends))
        if len(called) == N_TRIALS:
            worker.stop_after_task()  # a worker that takes from a queue would wait for more
        return plan.objective(config)

    evaluate_trials(worker, replace(plan, objective=objective))
    assert len(called) == N_TRIALS
    return [sends[end:start] for end, start in pairwise(called[1:])]


def logs_read(send: bytes) -> list[str]:
    """Name the lists that a send reads, in order."""
    keys = [read.split(b"\r\n")[2] for read in send.split(b"LRANGE")[1:]]
    return [key.rpartition(b":")[2].decode() for key in keys]


@pytest.mark.parametrize("outcome", ["finished", "failed", "unstorable"])
def test_a_step_of_adbo_is_two_round_trips_of_which_the_first_reads_both_logs(
    quiet_worker: Worker, sends: list[bytes], outcome: str
) -> None:
    returned = {"finished": 0.5, "failed": math.nan, "unstorable": {"loss": 0.5, "model": object()}}
    plan = replace(PLAN, objective=lambda config: returned[outcome], optimizer=ADBO())
    steps = steps_of(quiet_worker, sends, plan)
    assert [list(map(logs_read, step)) for step in steps] == [[["finished", "failed"], []]] * (
        N_TRIALS - 2
    )


@NEEDS_NO_RESULTS
def test_a_worker_whose_optimizer_needs_no_results_reads_none(
    network: Network, quiet_worker: Worker, sends: list[bytes], optimizer: Optimizer
) -> None:
    network.push_tasks([{"x": i / N_TRIALS} for i in range(N_TRIALS)])
    network.push_finished_tasks([{"x": 0.5}] * 3, [{"loss": 0.5}] * 3)
    steps = steps_of(quiet_worker, sends, replace(PLAN, optimizer=optimizer))
    assert [list(map(logs_read, step)) for step in steps] == [[[], []]] * (N_TRIALS - 2)


def test_random_search_reads_no_result_from_its_first_proposal_on(
    quiet_worker: Worker, sends: list[bytes]
) -> None:
    steps = steps_of(quiet_worker, sends, PLAN)
    assert [len(step) for step in steps] == [2] * (N_TRIALS - 2)
    assert not any(map(logs_read, sends))


@NEEDS_NO_RESULTS
def test_a_stop_rule_makes_a_worker_of_random_search_read_results(
    network: Network, quiet_worker: Worker, sends: list[bytes], optimizer: Optimizer
) -> None:
    network.push_tasks([{"x": i / N_TRIALS} for i in range(N_TRIALS)])
    plan = replace(PLAN, optimizer=optimizer, stop=Target(-1.0))
    steps = steps_of(quiet_worker, sends, plan)
    assert [len(step) for step in steps] == [2] * (N_TRIALS - 2)
    assert all("finished" in logs_read(first) for first, _ in steps)


def test_finished_and_failed_trials_are_fetched_in_one_round_trip(
    network: Network, quiet_worker: Worker, sends: list[bytes]
) -> None:
    network.push_finished_tasks([{"x": 0.5}], [{"loss": 0.5}])
    network.push_failed_tasks([{"x": 0.25}], ["no"])
    sends.clear()
    ended = quiet_worker.fetch_new_ended_tasks()
    assert list(map(len, ended)) == [1, 1]
    assert list(map(logs_read, sends)) == [["finished", "failed"]]
