"""Runs that go on where another one stood, its manager at its end or really killed."""

import contextlib
import functools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rush_core import CorruptRecordError, EmbeddedServer, Network, WorkerState
from rush_core.connection.connection import Connection, pack
from rush_core.kernel.codec import encode
from rush_core.kernel.invariants import check_network
from rush_core.keys import NetworkKeys
from rush_opt import Float, FrozenTrial, Space, TuneResult, tune
from tests.opt import objectives
from tests.opt.inspecting import configs_of
from tests.waiting import wait_until

pytestmark = pytest.mark.usefixtures("nothing_is_left_running")

PATIENCE_S = 60.0  # for what takes seconds on an idle machine
X = {"x": Float(0, 1)}

MANAGER = """
import sys, time
from rush_opt import Float, tune

def objective(config):
    time.sleep(0.05)
    return config["x"]

tune(objective, {"x": Float(0, 1)}, n_workers=2, n_trials=10_000, optimizer="random", seed=3,
     network_id=sys.argv[1], url=sys.argv[2] or None, progress=False)
"""


def objective(config: dict[str, Any]) -> float:
    time.sleep(0.01)
    return float(config["x"])


@pytest.mark.parametrize("workers_die_as_well", [False, True])
def test_a_run_goes_on_after_its_manager_was_killed(
    workers_die_as_well: bool, server: EmbeddedServer, network_id: str, tmp_path: Path
) -> None:
    script = tmp_path / "manager.py"
    script.write_text(MANAGER)
    manager = subprocess.Popen([sys.executable, str(script), network_id, server.url])
    with Network(network_id, server.url) as network:
        wait_until(lambda: network.count_tasks().finished >= 10, PATIENCE_S)
        pids = [worker.pid for worker in network.fetch_workers()]
        if workers_die_as_well:
            os.kill(pids[0], signal.SIGSTOP)  # nobody removes what the manager did not see end
        manager.kill()
        manager.wait()
        if workers_die_as_well:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):  # it ends with its manager
                    os.kill(pid, signal.SIGKILL)
        before = network.count_tasks().finished
    result = tune(
        *(objective, X),
        n_workers=2,
        n_trials=before + 20,
        optimizer="random",
        seed=3,
        network_id=network_id,
        url=server.url,
        progress=False,
    )
    assert result.stop_reason == "n_trials"
    ended = [trial for trial in result.frozen_trials if not trial.lost]
    assert len(ended) == before + 20
    assert all(trial.state == "finished" for trial in ended)
    assert any(trial.lost for trial in result.frozen_trials)
    points = [trial.params["x"] for trial in result.frozen_trials]
    assert len(set(points)) == len(points)  # new workers draw from streams of their own
    assert all(worker.state is not WorkerState.RUNNING for worker in result.workers)
    with Network(network_id, server.url) as network:
        assert network.count_tasks().running == 0
    check_network(network_id, server.url)


@pytest.mark.long
def test_trials_of_workers_that_died_with_their_host_are_done_again(
    server: EmbeddedServer, network_id: str, tmp_path: Path
) -> None:
    script = tmp_path / "manager.py"
    script.write_text(MANAGER)
    # Its workers seem to be on a host whose processes cannot be seen from here.
    (tmp_path / "sitecustomize.py").write_text("import socket; socket.gethostname = lambda: 'far'")
    manager = subprocess.Popen(
        [sys.executable, str(script), network_id, server.url],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    with Network(network_id, server.url) as network:
        wait_until(lambda: network.count_tasks().finished >= 10, PATIENCE_S)
        workers = network.fetch_workers()
        assert {worker.host for worker in workers} == {"far"}
        for worker in workers:
            os.kill(worker.pid, signal.SIGSTOP)  # none can leave in order
        manager.kill()
        manager.wait()
        for worker in workers:
            os.kill(worker.pid, signal.SIGKILL)
        before = network.count_tasks()
    assert before.running > 0
    result = tune(
        *(objective, X),
        n_workers=3,
        n_trials=before.finished + 4,
        optimizer="random",
        seed=3,
        network_id=network_id,
        url=server.url,
        progress=False,
    )
    assert result.stop_reason == "n_trials"
    assert sum(trial.lost for trial in result.frozen_trials) == before.running
    assert sum(trial.state == "finished" for trial in result.frozen_trials) == before.finished + 4
    lost = [worker for worker in result.workers if worker.state is WorkerState.LOST]
    assert len(lost) >= before.running
    assert {worker.reason for worker in lost} == {"its heartbeat expired"}
    check_network(network_id, server.url)


def test_a_network_that_stays_can_be_looked_at_and_gone_on_with(
    server: EmbeddedServer, network_id: str
) -> None:
    def go_on(n_trials: int, called_with: list[FrozenTrial]) -> TuneResult:
        return tune(
            lambda config: config["x"],
            X,
            n_workers=1,
            n_trials=n_trials,
            seed=5,
            network_id=network_id,
            url=server.url,
            callbacks=[called_with.append],
            progress=False,
        )

    first_called: list[FrozenTrial] = []
    first = go_on(20, first_called)
    assert first.network_id == network_id
    with Network(network_id, server.url) as network:
        assert network.count_tasks() == (0, 0, 20, 0)
        assert network.fetch_finished_tasks().configs == configs_of(first)

    second_called: list[FrozenTrial] = []
    second = go_on(30, second_called)
    assert second.stop_reason == "n_trials"
    assert second.frozen_trials[:20] == first.frozen_trials
    assert [t.number for t in second.frozen_trials] == list(range(30))
    assert second_called == second.frozen_trials[20:]
    assert all(t.notes["n_known"] >= 20 for t in second_called)  # it knows the first run's
    assert not any(config in configs_of(first) for config in configs_of(second)[20:])
    assert [w.number for w in second.workers] == [0, 1]
    assert second.utilization["worker"].tolist() == [1]
    assert second.utilization["n_trials"].tolist() == [10]
    assert 0.0 < second.busy_share < 1.0
    check_network(network_id, server.url)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"direction": "maximize"}, "direction was 'minimize' and is 'maximize'"),
        ({"space": {"x": Float(0, 2)}}, "parameter 'x' was Float(0.0, 1.0) and is Float(0.0, 2.0)"),
        ({"space": X | {"y": Float(0, 1)}}, "parameter 'y' was not there and is Float(0.0, 1.0)"),
    ],
)
def test_a_network_begun_with_other_arguments_is_refused_with_what_differs(
    changes: dict[str, Any], said: str, server: EmbeddedServer, network: Network
) -> None:
    network.describe(
        {
            "metric": "value",
            "direction": "minimize",
            "space": {"x": "Float(0.0, 1.0)"},
            "constraints": [],
        }
    )
    given: dict[str, Any] = {"space": X} | changes
    with pytest.raises(ValueError, match="begun with other arguments") as refusal:
        tune(objective, **given, network_id=network.network_id, url=server.url, progress=False)
    assert said in str(refusal.value)
    assert network.fetch_workers() == []
    assert network.count_tasks() == (0, 0, 0, 0)


class Above:
    """A constraint that is an object."""

    def __init__(self, limit: float) -> None:
        self.limit = limit

    def __call__(self, config: dict[str, Any]) -> bool:
        return bool(config["x"] > self.limit)


def below(limit: float) -> Callable[[dict[str, Any]], bool]:
    """Make a constraint of a function that is another one at each call, as in each process."""

    def is_below(most: float, config: dict[str, Any]) -> bool:
        return bool(config["x"] < most)

    return functools.partial(is_below, limit)


def test_a_network_that_another_program_described_is_refused(network: Network) -> None:
    network.describe({"space": "cube", "metric": 1})
    with pytest.raises(ValueError, match=r"metric was 1 and .*parameter 'x' was not there"):
        tune(objective, X, n_trials=1, network_id=network.network_id, url=network.url)


def test_a_foreign_record_without_an_end_among_ended_tasks_is_named(network: Network) -> None:
    connection, redis_key = Connection(network.url), NetworkKeys(network.network_id).finished
    record = encode(("w", 0, "foreign-1", {"x": 0.5}, None, 5.0, None, {"y": 1.0}, None, None))
    connection.execute(pack((b"RPUSH", redis_key, record)))
    with pytest.raises(CorruptRecordError, match=r"'foreign-1'.*no time of an end") as error:
        tune(objective, X, n_trials=3, network_id=network.network_id, url=network.url)
    assert error.value.key == "foreign-1"
    network.reset()
    connection.close()


def test_constraints_that_are_objects_are_known_again(network: Network) -> None:
    spaces = [Space(X, constraints=[below(0.9), Above(0.1)]) for _ in range(2)]
    other = Space(X, constraints=[below(0.8), Above(0.1)])
    given: dict[str, Any] = {
        **{"n_workers": 1, "optimizer": "random", "seed": 1, "progress": False},
        **{"network_id": network.network_id, "url": network.url},
    }
    for space, n_trials in zip(spaces, (2, 4), strict=True):
        result = tune(objective, space, n_trials=n_trials, **given)
    assert len(result.frozen_trials) == 4
    with pytest.raises(ValueError, match=r"constraints was .*is_below>, 0\.9\).* and is .*0\.8"):
        tune(objective, other, n_trials=6, **given)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"metric": "loss"}, "no number 'loss': {'value': 0.25}"),
        ({"space": {"y": Float(0, 1)}}, "parameter 'y' is missing"),
        ({"space": {"x": Float(0.6, 1)}}, "0.6 <= value <= 1.0, got 0.5"),
    ],
)
def test_a_network_of_another_problem_is_not_gone_on_with(
    changes: dict[str, Any], said: str, network: Network
) -> None:
    (key,) = network.push_finished_tasks([{"x": 0.5}], [{"value": 0.25}])
    given: dict[str, Any] = {"objective": objectives.half, "space": X} | changes
    with pytest.raises(ValueError, match="does not fit this run") as refusal:
        tune(**given, n_workers=1, network_id=network.network_id, url=network.url, progress=False)
    for part in (said, key, network.network_id, "another network_id"):
        assert part in str(refusal.value)
    assert network.count_tasks() == (0, 0, 1, 0)
    assert network.fetch_workers() == []


def test_only_what_a_worker_ran_takes_a_place_in_the_budget(network: Network) -> None:
    network.push_finished_tasks([{"x": 0.1 * i} for i in range(5)], [{"value": 1.0}] * 5)
    network.push_tasks([{"x": 0.1 * i} for i in range(7)])
    assert network.clear_queue() == 7
    result = tune(
        *(objective, X),
        n_workers=1,
        n_trials=6,
        optimizer="random",
        network_id=network.network_id,
        url=network.url,
        progress=False,
    )
    assert result.stop_reason == "n_trials"
    assert sum(trial.counts for trial in result.frozen_trials) == 6
    assert network.count_tasks() == (0, 0, 5 + 6, 7)
