"""Worker processes: how they start, stop, are killed and die, and what that leaves behind."""

import atexit
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from waiting import wait_until

from rush_core import (
    EmbeddedServer,
    LoopError,
    Network,
    Task,
    TaskState,
    Worker,
    WorkerInfo,
    WorkersFailedError,
    WorkerState,
    serve,
)
from rush_core.connection import Connection, pack
from rush_core.keys import NetworkKeys

PATIENCE_S = 30.0  # for what takes well under a second on an idle machine

Join = Callable[..., Worker]


def evaluating(worker: Worker) -> None:
    """A loop in the middle of a task that never ends: its running task announces that."""
    worker.start_task({"pid": os.getpid()})
    while True:
        time.sleep(60.0)


def polite(worker: Worker) -> None:
    """A loop that ends its task when it is asked to stop."""
    key = worker.start_task({"pid": os.getpid()})
    assert key is not None
    wait_until(worker.should_stop, 60.0)
    worker.finish_task(key, {"ended": "by itself"})


def stubborn(worker: Worker) -> None:
    """A loop whose task begins to end at the first signal and takes for ever."""
    key = worker.start_task({"pid": os.getpid()})
    wait_until(worker.should_stop, 60.0)
    worker.start_task({"pid": os.getpid(), "noticed": True})
    while key:
        time.sleep(0.002)


def wait_for_tasks(network: Network, n: int) -> dict[str, Task]:
    """Wait until `n` tasks run; return them by worker."""
    wait_until(lambda: network.count_tasks().running == n, PATIENCE_S)
    return {task.worker_id: task for task in network.fetch_tasks("running")}


def info_of(network: Network, worker_id: str) -> WorkerInfo:
    (info,) = [info for info in network.fetch_workers() if info.worker_id == worker_id]
    return info


@pytest.fixture
def pids() -> Iterator[list[int]]:
    """Processes that must be gone after the test; those that are not are killed."""
    pids: list[int] = []
    yield pids
    left = [pid for pid in pids if is_alive(pid)]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert left == []


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


# -- starting -----------------------------------------------------------------------------------


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


def test_what_workers_print_goes_to_a_file_each(network: Network, tmp_path: Path) -> None:
    def loop(worker: Worker) -> None:
        print(f"printed by {worker.worker_id}")
        os.write(2, b"to standard error")

    worker_ids = network.start_workers(loop, 2, log_folder=tmp_path / "new" / "logs")
    assert network.join_workers(PATIENCE_S)
    network.close()
    for worker_id in worker_ids:
        text = (tmp_path / "new" / "logs" / f"{worker_id}.log").read_text()
        assert f"printed by {worker_id}" in text
        assert "to standard error" in text


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
    waited = threading.Thread(target=network.wait_for_workers, args=(1,))
    waited.start()
    join()
    waited.join(PATIENCE_S)
    assert not waited.is_alive()


def test_waiting_for_a_worker_is_a_sleep_also_if_finished_tasks_were_not_fetched() -> None:
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


def test_a_worker_that_dies_before_joining_is_told_with_its_last_words(network: Network) -> None:
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


# -- being killed -------------------------------------------------------------------------------


@pytest.mark.parametrize("point", ["started", "claimed"])
def test_a_worker_killed_in_the_middle_of_a_task_is_lost_once(
    network: Network, join: Join, point: str
) -> None:
    def loop(worker: Worker, point: str) -> None:
        if point == "started":
            worker.start_task({"x": 1}, limit=1)
        else:
            worker.claim_task(limit=1)
        while True:
            time.sleep(60.0)

    if point == "claimed":
        network.push_tasks([{"x": 1}])
    (worker_id,) = network.start_workers(loop, 1, args=(point,))
    key = wait_for_tasks(network, 1)[worker_id].key
    survivor = join()
    assert survivor.start_task({"x": 2}, limit=1) is None
    os.kill(info_of(network, worker_id).pid, signal.SIGKILL)
    assert network.join_workers(PATIENCE_S)
    (task,) = network.fetch_tasks("failed")
    assert (task.key, task.worker_id, task.config) == (key, worker_id, {"x": 1})
    assert task.error == f"worker {worker_id} was lost: its process was killed by SIGKILL"
    assert task.result_extra == {"lost": "lost"}
    info = info_of(network, worker_id)
    assert (info.state, info.reason) == (WorkerState.LOST, "its process was killed by SIGKILL")
    assert info.task_keys == ()
    assert info.ended_at is not None
    assert network.detect_lost_workers() == [worker_id]
    assert network.detect_lost_workers() == []
    assert survivor.start_task({"x": 2}, limit=1) is not None


def test_a_worker_killed_after_finishing_keeps_its_result(network: Network) -> None:
    def loop(worker: Worker) -> None:
        key = worker.start_task({"x": 1})
        assert key is not None
        worker.finish_task(key, {"y": 1})
        while True:
            time.sleep(60.0)

    (worker_id,) = network.start_workers(loop, 1)
    wait_until(lambda: network.count_tasks().finished == 1, PATIENCE_S)
    os.kill(info_of(network, worker_id).pid, signal.SIGKILL)
    assert network.join_workers(PATIENCE_S)
    assert network.count_tasks() == (0, 0, 1, 0)
    assert network.detect_lost_workers() == [worker_id]


def test_a_worker_that_exits_without_leaving_is_lost(network: Network) -> None:
    def loop(worker: Worker) -> None:
        worker.start_task({"x": 1})
        os._exit(7)

    (worker_id,) = network.start_workers(loop, 1)
    assert network.join_workers(PATIENCE_S)
    (task,) = network.fetch_tasks("failed")
    assert task.error == f"worker {worker_id} was lost: its process ended with exit code 7"
    assert info_of(network, worker_id).state is WorkerState.LOST


def test_a_worker_asleep_while_it_is_removed_cannot_finish_when_it_wakes(
    network: Network, server: EmbeddedServer
) -> None:
    with Network(network.network_id, server.url) as other:
        (worker_id,) = network.start_workers(polite, 1)
        key = wait_for_tasks(network, 1)[worker_id].key
        pid = info_of(network, worker_id).pid
        os.kill(pid, signal.SIGSTOP)
        other.stop_workers([worker_id], kill=True)  # no child of `other`: its process goes on
        os.kill(pid, signal.SIGCONT)
        assert network.join_workers(PATIENCE_S)
    (task,) = network.fetch_tasks()
    assert (task.key, task.state) == (key, TaskState.FAILED)
    assert info_of(network, worker_id).state is WorkerState.KILLED
    assert network.detect_lost_workers() == []


def test_stopping_by_killing_fails_the_tasks_and_ends_the_processes(
    network: Network, pids: list[int]
) -> None:
    killed, spared = network.start_workers(evaluating, 2)
    tasks = wait_for_tasks(network, 2)
    pids += [task.config["pid"] for task in tasks.values()]
    network.stop_workers([killed], kill=True)
    assert not is_alive(tasks[killed].config["pid"])
    assert is_alive(tasks[spared].config["pid"])
    (failed,) = network.fetch_tasks("failed")
    assert failed.key == tasks[killed].key
    assert failed.error == f"worker {killed} was lost: killed by the manager"
    assert info_of(network, killed).state is WorkerState.KILLED
    network.stop_workers(kill=True)
    assert network.join_workers(0.0)
    assert network.count_tasks() == (0, 0, 0, 2)
    assert network.detect_lost_workers() == []


# -- being asked to stop ------------------------------------------------------------------------


def test_workers_asked_to_stop_end_their_tasks_first(network: Network) -> None:
    worker_ids = network.start_workers(polite, 2)
    wait_for_tasks(network, 2)
    network.stop_workers()
    assert network.join_workers(PATIENCE_S)
    assert network.fetch_finished_tasks().results == [{"ended": "by itself"}] * 2
    states = {info.worker_id: info.state for info in network.fetch_workers()}
    assert states == dict.fromkeys(worker_ids, WorkerState.STOPPED)


def test_workers_started_after_all_were_asked_to_stop_work_again(network: Network) -> None:
    network.stop_workers()
    network.start_workers(evaluating, 1)
    wait_for_tasks(network, 1)


def test_a_worker_that_joins_a_stopped_network_is_to_stop_until_workers_are_allowed(
    network: Network, join: Join
) -> None:
    network.stop_workers()
    assert join().should_stop()
    network.allow_workers()
    assert not join().should_stop()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_lets_a_worker_end_its_task(network: Network, number: int) -> None:
    (worker_id,) = network.start_workers(polite, 1)
    pid = wait_for_tasks(network, 1)[worker_id].config["pid"]
    os.kill(pid, number)
    assert network.join_workers(PATIENCE_S)
    assert network.fetch_finished_tasks().results == [{"ended": "by itself"}]
    assert info_of(network, worker_id).state is WorkerState.STOPPED


def test_the_second_signal_fails_the_task_at_once(network: Network) -> None:
    (worker_id,) = network.start_workers(stubborn, 1)
    pid = wait_for_tasks(network, 1)[worker_id].config["pid"]
    os.kill(pid, signal.SIGTERM)
    wait_for_tasks(network, 2)
    os.kill(pid, signal.SIGTERM)
    assert network.join_workers(PATIENCE_S)
    failed = network.fetch_tasks("failed")
    assert len(failed) == 2
    assert all("stopped at once by SIGTERM" in str(task.error) for task in failed)
    info = info_of(network, worker_id)
    assert info.state is WorkerState.STOPPED
    assert "SIGTERM" in str(info.reason)


def test_a_signal_wakes_a_worker_that_waits_for_a_task(network: Network) -> None:
    def loop(worker: Worker) -> None:
        key = worker.start_task({"pid": os.getpid()})
        assert key is not None
        while not worker.should_stop():
            worker.claim_task(timeout_s=0.05)
        worker.finish_task(key, {})

    (worker_id,) = network.start_workers(loop, 1)
    os.kill(wait_for_tasks(network, 1)[worker_id].config["pid"], signal.SIGTERM)
    assert network.join_workers(PATIENCE_S)
    assert network.count_tasks().finished == 1


def test_an_exception_in_the_loop_fails_its_task_with_the_traceback(network: Network) -> None:
    def evaluate() -> None:
        raise ValueError("no such learner")

    def loop(worker: Worker) -> None:
        worker.start_task({"x": 1})
        evaluate()

    (worker_id,) = network.start_workers(loop, 1)
    assert network.join_workers(PATIENCE_S)
    (task,) = network.fetch_tasks("failed")
    assert "Traceback" in str(task.error)
    assert "in evaluate" in str(task.error)
    assert "ValueError: no such learner" in str(task.error)
    info = info_of(network, worker_id)
    assert info.state is WorkerState.STOPPED
    assert "ValueError: no such learner" in str(info.reason)


# -- what is left behind ------------------------------------------------------------------------


def test_closing_leaves_no_process_no_client_and_no_file(
    server: EmbeddedServer,
    network_id: str,
    pids: list[int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    connection, keys = Connection(server.url), NetworkKeys(network_id)
    with Network(network_id, server.url) as network:
        network.start_workers(evaluating, 2)
        pids += [task.config["pid"] for task in wait_for_tasks(network, 2).values()]
        network.push_tasks([{"x": 1}])
        network.fetch_new_tasks(timeout_s=0.01)
        assert connection.execute(pack(("HLEN", keys.clients))) == 3
        assert list(tmp_path.iterdir())
    assert not any(map(is_alive, pids))
    assert list(tmp_path.iterdir()) == []
    for key in (keys.clients, keys.waiting, keys.idle):
        assert connection.execute(pack(("EXISTS", key))) == 0
    with Network(network_id, server.url) as later:
        assert later.count_tasks() == (1, 0, 0, 2)
        assert {info.state for info in later.fetch_workers()} == {WorkerState.KILLED}
        later.reset()
    # Lists of wake-ups that nobody reads are gone by themselves after a minute.
    _, left = connection.execute(
        pack(("SCAN", "0", "MATCH", f"rush:{{{network_id}}}:*", "COUNT", "100000"))
    )
    assert all(b":wake:" in key and connection.execute(pack(("TTL", key))) > 0 for key in left)
    connection.close()


def test_closing_twice_is_no_error(network: Network, worker: Worker) -> None:
    worker.close()
    worker.close()
    network.push_tasks([{"x": 1}])
    network.close()
    network.close()


def test_reset_kills_the_workers_and_forgets_them(network: Network, pids: list[int]) -> None:
    network.start_workers(evaluating, 2)
    pids += [task.config["pid"] for task in wait_for_tasks(network, 2).values()]
    network.reset()
    assert not any(map(is_alive, pids))
    assert network.fetch_workers() == []
    assert network.count_tasks() == (0, 0, 0, 0)
    assert network.detect_lost_workers() == []
    network.start_workers(evaluating, 1)
    wait_for_tasks(network, 1)


def test_threads_and_children_that_a_loop_left_behind_are_not_waited_for_long(
    network: Network, tmp_path: Path, pids: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)

    def loop(worker: Worker) -> None:
        atexit.register(lambda: print("at the exit"))  # the last, for it was the first
        children = multiprocessing.get_context("fork")
        leashed = children.Process(target=time.sleep, args=(600.0,), daemon=True)
        leashed.start()
        free = children.Process(target=time.sleep, args=(600.0,))
        free.start()
        threading.Thread(target=time.sleep, args=(600.0,)).start()
        for child in (leashed, free):
            key = worker.start_task({"pid": child.pid})
            assert key is not None
            worker.finish_task(key, {})

    (worker_id,) = network.start_workers(loop, 1, log_folder=tmp_path)
    assert network.join_workers(PATIENCE_S)
    assert info_of(network, worker_id).state is WorkerState.STOPPED
    leashed, free = [task.config["pid"] for task in network.fetch_finished_tasks()]
    pids.append(leashed)
    os.kill(free, signal.SIGKILL)  # asked for nothing else, it goes on by itself
    assert "at the exit" in (tmp_path / f"{worker_id}.log").read_text()


def test_a_thread_that_a_loop_left_behind_may_end_what_it_does(
    network: Network, tmp_path: Path
) -> None:
    has_left, is_written = tmp_path / "left", tmp_path / "written"

    def write() -> None:
        wait_until(has_left.exists, PATIENCE_S)
        is_written.touch()

    def loop(worker: Worker) -> None:
        threading.Thread(target=write).start()

    (worker_id,) = network.start_workers(loop, 1)
    network.wait_for_workers()
    wait_until(lambda: info_of(network, worker_id).ended_at is not None, PATIENCE_S)
    assert not network.join_workers(0.0)
    has_left.touch()
    assert network.join_workers(PATIENCE_S)
    assert is_written.exists()


def test_a_child_forked_by_a_loop_ends_at_a_signal(network: Network) -> None:
    def loop(worker: Worker) -> None:
        for _ in range(50):
            child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600.0,))
            child.start()
            child.terminate()  # whether it has begun to run or not
            child.join()
            key = worker.start_task({})
            assert key is not None
            worker.finish_task(key, {"exit": child.exitcode})
        assert not worker.should_stop()

    (worker_id,) = network.start_workers(loop, 1)
    assert network.join_workers(PATIENCE_S)
    assert info_of(network, worker_id).reason == ""
    results = network.fetch_finished_tasks().results
    assert results == [{"exit": -signal.SIGTERM}] * 50


def test_nothing_survives_a_manager_that_is_killed(tmp_path: Path, pids: list[int]) -> None:
    script = tmp_path / "manager.py"
    script.write_text(
        textwrap.dedent("""
        import os, sys, time
        from rush_core import Network

        def loop(worker):
            worker.start_task({"pid": os.getpid()})
            while True:
                time.sleep(60.0)

        network = Network("orphans")
        network.start_workers(loop, 2)
        while network.count_tasks().running < 2:
            network.fetch_new_tasks(timeout_s=0.05)
        pids = [task.config["pid"] for task in network.fetch_tasks("running")]
        print(network.url, *pids, flush=True)
        time.sleep(600)
        """)
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    manager = subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, text=True, env=environment
    )
    try:
        assert manager.stdout is not None
        url, *workers = manager.stdout.readline().split()
        family = psutil.Process(manager.pid).children(recursive=True)
        pids += [process.pid for process in family]
        assert {int(pid) for pid in workers} <= set(pids)
        assert any("server" in process.name() for process in family)
    finally:
        manager.kill()
        manager.communicate()
    folder = Path(url.removeprefix("unix://")).parent
    wait_until(lambda: not any(map(is_alive, pids)), PATIENCE_S)
    wait_until(lambda: not folder.exists(), PATIENCE_S)


# -- waiting and waking -------------------------------------------------------------------------


def in_background(call: Callable[[], object]) -> Callable[[], object]:
    """Run `call` in a thread; return what waits for its result."""
    results: list[object] = []
    thread = threading.Thread(target=lambda: results.append(call()), daemon=True)
    thread.start()

    def result() -> object:
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
        return results[0]

    return result


def wait_for_sleeper(network: Network, place: str) -> None:
    """Wait until the server holds the name of somebody who sleeps."""
    connection = Connection(network.url)
    sleepers = getattr(NetworkKeys(network.network_id), place)
    wait_until(lambda: connection.execute(pack(("SCARD", sleepers))), PATIENCE_S)
    connection.close()


def test_a_waiting_claim_wakes_when_a_task_is_pushed(network: Network, worker: Worker) -> None:
    claimed = in_background(lambda: worker.claim_task(timeout_s=600.0))
    wait_for_sleeper(network, "idle")
    (key,) = network.push_tasks([{"x": 1}])
    task = claimed()
    assert isinstance(task, Task)
    assert task.key == key


@pytest.mark.parametrize("named", [True, False])
def test_a_waiting_claim_wakes_when_the_worker_is_asked_to_stop(
    network: Network, worker: Worker, named: bool
) -> None:
    claimed = in_background(lambda: worker.claim_task(timeout_s=600.0))
    wait_for_sleeper(network, "idle")
    network.stop_workers([worker.worker_id] if named else None)
    assert claimed() is None
    assert worker.should_stop()


def test_each_pushed_task_wakes_one_of_several_waiting_claims(network: Network, join: Join) -> None:
    keys = NetworkKeys(network.network_id)
    workers = [join() for _ in range(3)]
    claims = [in_background(lambda w=w: w.claim_task(timeout_s=600.0)) for w in workers]
    connection = Connection(network.url)
    wait_until(lambda: connection.execute(pack(("SCARD", keys.idle))) == 3, PATIENCE_S)
    network.push_tasks([{"x": 1}, {"x": 2}])
    wait_until(lambda: network.count_tasks().running == 2, PATIENCE_S)
    assert connection.execute(pack(("SCARD", keys.idle))) == 1
    network.stop_workers()
    claimed = [claim() for claim in claims]
    assert sorted(task.config["x"] for task in claimed if isinstance(task, Task)) == [1, 2]
    connection.close()


def test_a_worker_that_was_asked_to_stop_waits_for_nothing(
    network: Network, worker: Worker
) -> None:
    worker.fetch_new_tasks(timeout_s=0.01)  # nothing is new any more
    assert not worker.should_stop()
    network.stop_workers()
    assert in_background(lambda: len(worker.fetch_new_tasks(timeout_s=600.0)))() == 0
    assert worker.should_stop()


def test_a_claim_sleeps_while_what_waits_is_beyond_the_budget(network: Network, join: Join) -> None:
    holder, waiting = join(), join()
    network.push_tasks([{"x": 1}, {"x": 2}])
    assert holder.claim_task(limit=1) is not None
    claimed = in_background(lambda: waiting.claim_task(timeout_s=600.0, limit=1))
    wait_for_sleeper(network, "idle")  # although a task waits
    holder.close()  # its task is lost, which gives its place back
    task = claimed()
    assert isinstance(task, Task)
    assert task.config == {"x": 2}


def test_a_claimed_task_starts_when_its_worker_wakes_and_not_when_it_went_to_sleep(
    network: Network, worker: Worker
) -> None:
    claimed = in_background(lambda: worker.claim_task(timeout_s=600.0))
    wait_for_sleeper(network, "idle")
    before = network.now()
    wait_until(lambda: network.now() > before + 0.1)
    network.push_tasks([{"x": 1}])
    task = claimed()
    assert isinstance(task, Task)
    assert task.started_at is not None
    assert task.started_at > before + 0.05  # the clocks agree to about a round trip


def test_a_worker_that_pushes_wakes_a_waiting_claim(network: Network, join: Join) -> None:
    proposer, waiting = join(), join()
    claimed = in_background(lambda: waiting.claim_task(timeout_s=600.0))
    wait_for_sleeper(network, "idle")
    (key,) = proposer.push_tasks([{"x": 1}])
    task = claimed()
    assert isinstance(task, Task)
    assert task.key == key


def test_a_claim_that_waits_in_vain_ends_in_time(network: Network, worker: Worker) -> None:
    before = time.monotonic()
    assert worker.claim_task(timeout_s=0.2) is None
    assert 0.2 <= time.monotonic() - before < PATIENCE_S


@pytest.mark.parametrize("end", ["finish", "push"])
def test_waiting_for_new_tasks_ends_when_one_is_finished(
    network: Network, worker: Worker, end: str
) -> None:
    key = worker.start_task({"x": 1})
    assert key is not None
    network.fetch_new_tasks(timeout_s=0.01)
    waited = in_background(lambda: network.fetch_new_tasks(timeout_s=600.0).configs)
    wait_for_sleeper(network, "waiting")
    if end == "finish":
        worker.finish_task(key, {"y": 1})
    else:
        network.push_finished_tasks([{"x": 1}], [{"y": 1}])
    assert waited() == [{"x": 1}]


@pytest.mark.parametrize("event", ["fail", "leave", "join", "clear"])
def test_waiting_for_new_tasks_ends_when_something_else_happens(
    network: Network, worker: Worker, join: Join, event: str
) -> None:
    key = worker.start_task({"x": 1})
    assert key is not None
    network.push_tasks([{"x": 2}])
    network.fetch_new_tasks(timeout_s=0.01)
    waited = in_background(lambda: network.fetch_new_tasks(timeout_s=600.0).keys)
    wait_for_sleeper(network, "waiting")
    if event == "fail":
        worker.fail_task(key, "no")
    elif event == "leave":
        worker.close()
    elif event == "join":
        join()
    else:
        network.clear_queue()
    assert waited() == []


def test_waiting_for_new_tasks_does_not_begin_when_there_are_some(
    network: Network, worker: Worker
) -> None:
    keys = network.push_finished_tasks([{"x": 1}], [{"y": 1}])
    assert worker.fetch_new_tasks(timeout_s=600.0).keys == keys
    assert network.fetch_new_tasks(timeout_s=600.0).keys == keys


def test_a_network_that_waits_can_be_used_by_other_threads(network: Network) -> None:
    waited = in_background(lambda: network.fetch_new_tasks(timeout_s=600.0).keys)
    wait_for_sleeper(network, "waiting")
    assert network.count_tasks() == (0, 0, 0, 0)
    keys = network.push_finished_tasks([{"x": 1}], [{"y": 1}])
    assert waited() == keys


class Interrupted(BaseException):
    """What an interrupt in the middle of a request raises here."""


def test_an_interrupt_in_the_middle_of_a_request_does_not_mix_up_replies(
    network: Network, worker: Worker
) -> None:
    def interrupt(number: int, frame: object) -> None:
        raise Interrupted

    def raise_when_asleep() -> None:
        wait_for_sleeper(network, "idle")
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    previous = signal.signal(signal.SIGUSR1, interrupt)
    try:
        background = threading.Thread(target=raise_when_asleep)
        background.start()
        with pytest.raises(Interrupted):
            worker.claim_task(timeout_s=600.0)
        background.join()
    finally:
        signal.signal(signal.SIGUSR1, previous)
    assert worker.count_tasks() == (0, 0, 0, 0)
    keys = network.push_tasks([{"x": 1}, {"x": 2}])
    tasks = [worker.claim_task(), worker.claim_task(timeout_s=0.01)]
    assert [task and task.key for task in tasks] == keys
    for key in keys:
        assert worker.finish_task(key, {"y": 1})


def test_keyboard_interrupts_at_any_moment_leave_a_sound_worker(
    network: Network, join: Join
) -> None:
    """Interrupted loops of requests: whatever the moment, the next request gets its own reply."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    worker = join()
    previous = signal.signal(signal.SIGALRM, interrupt)
    try:
        for i in range(40):
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.001 + i * 1e-4)
                while True:
                    key = worker.start_task({"x": i})
                    assert key is not None
                    assert worker.finish_task(key, {"y": i})
            except KeyboardInterrupt:
                signal.setitimer(signal.ITIMER_REAL, 0)
            counts = worker.count_tasks()
            assert len(counts) == 4
            assert worker.fetch_tasks("running").keys == [
                task.key for task in network.fetch_tasks("running")
            ]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    keys = network.fetch_tasks().keys
    assert len(set(keys)) == len(keys)


def test_who_leaves_between_two_waits_is_not_waited_for(
    network: Network, join: Join, worker: Worker
) -> None:
    leaving = join()
    network.fetch_new_tasks(timeout_s=PATIENCE_S)  # of both that joined
    leaving.close()
    asked = time.monotonic()
    assert not network.fetch_new_tasks(timeout_s=PATIENCE_S)
    assert time.monotonic() - asked < PATIENCE_S / 2
