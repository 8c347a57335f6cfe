"""Worker processes: how they start, what they run, and how a manager waits for them."""

import os
import re
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from rush_core import (
    EmbeddedServer,
    LoopError,
    Network,
    Worker,
    WorkersFailedError,
    WorkerState,
    serve,
)
from rush_core.connection.connection import Connection, pack
from tests.core.processes import evaluating
from tests.fixture_types import Join
from tests.threads import in_background

PATIENCE_S = 30.0  # for what takes well under a second on an idle machine


def test_workers_run_a_closure_with_arguments_and_leave(network: Network) -> None:
    offset = 100
    helper = threading.local  # something of a module, to be found by name

    def loop(worker: Worker, factor: int, *, shift: int) -> None:
        assert helper is threading.local
        while task := worker.claim_task():
            result = {"y": task.config["x"] * factor + shift + offset, "pid": os.getpid()}
            worker.finish_task(task.key, result)

    network.push_tasks([{"x": i} for i in range(20)])
    worker_ids = network.start_workers(loop, 2, args=(10,), kwargs={"shift": 1})
    assert network.join_workers(PATIENCE_S)
    finished = network.fetch_finished_tasks()
    assert sorted(finished.column("y")) == [10 * i + 101 for i in range(20)]
    workers = network.fetch_workers()
    assert sorted(worker.worker_id for worker in workers) == sorted(worker_ids)
    assert [worker.number for worker in workers] == [0, 1]
    assert {worker.state for worker in workers} == {WorkerState.STOPPED}
    assert set(finished.column("pid")) <= {worker.pid for worker in workers}
    assert network.detect_lost_workers() == []


def test_a_loop_of_main_and_its_globals_are_shipped(server: EmbeddedServer, tmp_path: Path) -> None:
    script = tmp_path / "study.py"
    script.write_text(
        textwrap.dedent(f"""
        from dataclasses import dataclass
        from rush_core import Network

        FACTOR = 3

        @dataclass
        class Scale:
            by: int

        def scaled(x, scale):
            return FACTOR * x * scale.by

        def loop(worker, scale):
            while task := worker.claim_task():
                worker.finish_task(task.key, {{"y": scaled(task.config["x"], scale)}})

        if __name__ == "__main__":
            with Network("{tmp_path.name}", {server.url!r}) as network:
                network.push_tasks([{{"x": 1}}, {{"x": 2}}])
                network.start_workers(loop, 1, args=(Scale(5),))
                assert network.join_workers(30)
                print(network.fetch_finished_tasks().results)
        """)
    )
    output = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert output.stderr == ""
    assert output.stdout.strip() == "[{'y': 15}, {'y': 30}]"


def test_each_worker_has_one_thread_per_numerical_library(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    def loop(worker: Worker) -> None:
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        key = worker.start_task({})
        assert key is not None
        worker.finish_task(key, {name: os.environ.get(name) for name in names})

    monkeypatch.setenv("MKL_NUM_THREADS", "2")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    network.start_workers(loop, 1)
    assert network.join_workers(PATIENCE_S)
    expected = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "2"}
    assert network.fetch_finished_tasks().results == [expected]


def test_processes_share_the_limit_exactly(network: Network) -> None:
    def loop(worker: Worker) -> None:
        while key := worker.start_task({}, limit=101):
            worker.finish_task(key, {})

    network.start_workers(loop, 3)
    assert network.join_workers(PATIENCE_S)
    assert network.count_tasks() == (0, 0, 101, 0)


def test_each_worker_prints_to_a_file_and_its_errors_to_another(
    network: Network, tmp_path: Path
) -> None:
    def loop(worker: Worker) -> None:
        print(f"printed by {worker.worker_id}")
        os.write(2, b"to standard error")

    worker_ids = network.start_workers(loop, 2, log_folder=tmp_path / "new" / "logs")
    assert network.join_workers(PATIENCE_S)
    network.close()
    for worker_id in worker_ids:
        folder = tmp_path / "new" / "logs"
        assert (folder / f"{worker_id}.out").read_text() == f"printed by {worker_id}\n"
        assert (folder / f"{worker_id}.err").read_text() == "to standard error"


def test_a_loop_that_cannot_be_shipped_starts_nothing(network: Network) -> None:
    lock = threading.Lock()

    def loop(worker: Worker) -> None:
        with lock:
            pass

    with pytest.raises(LoopError, match=r"cannot ship 'loop'.*lock"):
        network.start_workers(loop, 1)
    assert network.join_workers(0.0)
    assert network.fetch_workers() == []


def test_workers_can_be_waited_for_by_number_and_by_name(network: Network, join: Join) -> None:
    network.wait_for_workers(timeout_s=0.0)
    worker_ids = network.start_workers(evaluating, 2)
    network.wait_for_workers(timeout_s=PATIENCE_S)
    assert {info.worker_id for info in network.fetch_workers()} == set(worker_ids)
    network.wait_for_workers(2, timeout_s=0.0)
    network.wait_for_workers(worker_ids=worker_ids[:1], timeout_s=0.0)
    with pytest.raises(TimeoutError, match="3 workers"):
        network.wait_for_workers(3, timeout_s=0.01)
    with pytest.raises(TimeoutError, match="1 workers"):
        network.wait_for_workers(worker_ids=["nobody"], timeout_s=0.01)


def test_waiting_for_a_worker_ends_when_it_joins(network: Network, join: Join) -> None:
    waited = in_background(lambda: network.wait_for_workers(1))
    join()
    waited()


def test_waiting_for_a_worker_does_not_poll_while_finished_tasks_are_unfetched() -> None:
    with serve() as server, Network("sleeping", server.url) as network:
        network.push_finished_tasks([{"x": 1}], [{"y": 1}])
        with pytest.raises(TimeoutError, match="1 workers"):
            network.wait_for_workers(1, timeout_s=0.3)
        connection = Connection(server.url)
        statistics = connection.execute(pack(("INFO", "commandstats"))).decode()
        connection.close()
    sleeps = re.search(r"cmdstat_blpop:calls=(\d+)", statistics)
    # What has changed since there was no sleep yet ends the first; the second may end a bit early.
    assert sleeps is not None
    assert int(sleeps[1]) <= 3


def test_a_worker_that_dies_before_joining_is_an_error_with_its_last_lines(
    network: Network,
) -> None:
    class Unpicklable:
        def __reduce__(self) -> tuple[object, ...]:
            return divide, (1, 0)

    def divide(a: int, b: int) -> float:
        return a / b

    (worker_id,) = network.start_workers(evaluating, 1, args=(Unpicklable(),))
    with pytest.raises(WorkersFailedError) as error:
        network.wait_for_workers(timeout_s=PATIENCE_S)
    assert error.value.key == worker_id
    assert "exit code 1" in str(error.value)
    assert "ZeroDivisionError" in str(error.value)
    assert network.fetch_workers() == []
