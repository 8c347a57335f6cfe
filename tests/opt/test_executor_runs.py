"""Runs whose workers are calls of an executor, in threads and in real processes."""

import multiprocessing
import os
import signal
import threading
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import pytest

from rush_core import EmbeddedServer, Heartbeat, Network, WorkersFailedError, WorkerState
from rush_core.connection.clock import ServerClock
from rush_core.kernel.invariants import check_network
from rush_opt import Float, FrozenTrial, StopRun, tune
from tests.opt.objectives import identity
from tests.threads import in_background
from tests.typed import present

PATIENCE_S = 30.0
X = {"x": Float(0, 1)}


def test_an_executor_runs_the_workers(server: EmbeddedServer) -> None:
    with ThreadPoolExecutor(2) as pool:
        result = tune(
            identity,
            X,
            n_workers=2,
            n_trials=30,
            optimizer="clbo",
            seed=1,
            url=server.url,
            executor=pool,
            progress=False,
        )
    assert [trial.state for trial in result.frozen_trials] == ["finished"] * 30
    assert {worker.pid for worker in result.workers} == {os.getpid()}


class Renewed(ProcessPoolExecutor):
    """A pool whose broken processes are replaced, as a cluster's are."""

    def __init__(self) -> None:
        self.pools: list[ProcessPoolExecutor] = []

    def submit(self, *arguments: Any, **named: Any) -> Any:
        self.pools.append(ProcessPoolExecutor(1, multiprocessing.get_context("spawn")))
        return self.pools[-1].submit(*arguments, **named)

    def shutdown(self, *arguments: Any, **named: Any) -> None:
        for pool in self.pools:
            pool.shutdown()


def test_an_executors_lost_worker_is_replaced_through_it(
    server: EmbeddedServer, network_id: str
) -> None:
    killed: list[int] = []

    def hold_the_second(config: dict[str, Any]) -> float:
        if config["x"] == 0.5:
            threading.Event().wait(PATIENCE_S)
        return float(config["x"])

    def kill_once(trial: FrozenTrial) -> None:
        if killed:
            return
        with Network(network_id, server.url) as network:
            killed.append(network.fetch_workers()[0].pid)
        os.kill(killed[0], signal.SIGKILL)

    with Renewed() as cluster:
        result = tune(
            hold_the_second,
            X,
            n_workers=1,
            n_trials=200,
            initial_design=[{"x": 0.25}, {"x": 0.5}],
            optimizer="random",
            network_id=network_id,
            url=server.url,
            executor=cluster,
            callbacks=[kill_once],
            progress=False,
        )
        assert len(cluster.pools) == 2
    assert sum(trial.state == "finished" for trial in result.frozen_trials) == 200
    assert [worker.state for worker in result.workers] == [WorkerState.LOST, WorkerState.STOPPED]
    assert result.workers[0].pid == killed[0]
    check_network(network_id, server.url)


class Ahead(ServerClock):
    """The clock of a worker whose first answer took 0.2 s."""

    def now(self) -> float:
        return super().now() + 0.1


def test_a_run_whose_workers_see_the_deadline_first_ends_by_its_timeout(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rush_core.kernel.worker.ServerClock", Ahead)
    with ThreadPoolExecutor(1) as here:
        result = tune(
            identity,
            X,
            n_workers=1,
            timeout=0.5,
            optimizer="random",
            executor=here,
            url=server.url,
            progress=False,
        )
    assert result.stop_reason == "timeout"


class Full(ThreadPoolExecutor):
    """A pool whose only place is taken until it is shut down."""

    def __init__(self) -> None:
        super().__init__(1)
        self.may_end = threading.Event()
        self.was_asked = threading.Event()
        self.occupant = super().submit(self.may_end.wait, PATIENCE_S)

    def submit(self, *arguments: Any, **named: Any) -> Any:
        future = super().submit(*arguments, **named)
        self.was_asked.set()
        return future

    def shutdown(self, *arguments: Any, **named: Any) -> None:
        self.may_end.set()
        super().shutdown(*arguments, **named)


@pytest.mark.parametrize("optimizer", ["random", "acbo"])
def test_the_timeout_includes_the_wait_for_a_place_in_the_executor(
    optimizer: str, server: EmbeddedServer, network_id: str
) -> None:
    with Full() as pool:
        result = tune(
            *(identity, X),
            n_workers=2,
            timeout=0.5,
            optimizer=optimizer,
            network_id=network_id,
            url=server.url,
            executor=pool,
            progress=False,
        )
        assert not pool.occupant.done()
    assert result.stop_reason == "timeout"
    assert (result.frozen_trials, result.workers) == ([], [])
    check_network(network_id, server.url)


def test_an_interrupt_does_not_wait_for_a_place_in_the_executor(server: EmbeddedServer) -> None:
    with Full() as pool:

        def interrupt() -> None:
            if pool.was_asked.wait(PATIENCE_S):
                os.kill(os.getpid(), signal.SIGINT)

        interrupting = in_background(interrupt)
        result = tune(
            *(identity, X),
            n_workers=1,
            n_trials=5,
            url=server.url,
            executor=pool,
            progress=False,
        )
        interrupting()
        assert not pool.occupant.done()
    assert result.stop_reason == "interrupted"


def test_a_frozen_worker_of_an_executor_keeps_neither_the_manager_nor_the_end_waiting(
    server: EmbeddedServer, network_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    defaults = present(Network.start_workers.__kwdefaults__)
    monkeypatch.setitem(defaults, "heartbeat", Heartbeat(period_s=0.02, expire_s=1.0))
    frozen: list[int] = []
    told: list[FrozenTrial] = []

    def objective(config: dict[str, Any]) -> float:
        if config["x"] == 1.0:
            os.kill(os.getpid(), signal.SIGSTOP)
        return float(config["x"])

    def look(trial: FrozenTrial) -> None:
        told.append(trial)
        if trial.lost:
            with Network(network_id, server.url) as network:
                frozen.extend(w.pid for w in network.fetch_workers() if w.state == "lost")
        elif frozen:
            raise StopRun("seen while another waits for the place of the frozen one")

    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        try:
            result = tune(
                *(objective, X),
                n_workers=2,
                n_trials=10**6,
                optimizer="random",
                initial_design=[{"x": 1.0}],
                network_id=network_id,
                url=server.url,
                executor=pool,
                callbacks=[look],
                progress=False,
            )
        finally:
            for pid in frozen:
                os.kill(pid, signal.SIGCONT)
    assert result.stop_reason == "seen while another waits for the place of the frozen one"
    assert [worker.state for worker in result.workers].count(WorkerState.LOST) == 1
    assert told == result.frozen_trials
    check_network(network_id, server.url)


class Failing(ThreadPoolExecutor):
    """A pool some of whose places lack what a worker needs: its first calls fail."""

    def __init__(self, n_failing: int) -> None:
        super().__init__(2)
        self._left = [ImportError("no such library here")] * n_failing

    def submit(self, *arguments: Any, **named: Any) -> Any:
        if not self._left:
            return super().submit(*arguments, **named)
        future: Future[None] = Future()
        future.set_exception(self._left.pop())
        return future


def test_a_call_that_fails_before_its_worker_joined_is_told_and_the_others_go_on(
    server: EmbeddedServer, caplog: pytest.LogCaptureFixture
) -> None:
    def stop_when_told(trial: FrozenTrial) -> None:
        if "no such library here" in caplog.text:
            raise StopRun("told")

    with Failing(2) as pool:
        result = tune(
            *(identity, X),
            n_workers=3,
            n_trials=10**6,
            optimizer="random",
            url=server.url,
            executor=pool,
            callbacks=[stop_when_told],
            progress=False,
        )
    assert (result.stop_reason, len(result.workers)) == ("told", 1)
    (record,) = (r for r in caplog.records if r.name.startswith("rush_opt"))
    assert record.levelname == "WARNING"


@pytest.mark.parametrize("optimizer", ["random", "acbo"])
def test_a_run_all_of_whose_calls_fail_before_a_worker_joined_is_an_error(
    optimizer: str, server: EmbeddedServer
) -> None:
    with Failing(2) as pool, pytest.raises(WorkersFailedError, match="ImportError: no such lib"):
        tune(
            *(identity, X),
            n_workers=2,
            optimizer=optimizer,
            url=server.url,
            executor=pool,
            progress=False,
        )
