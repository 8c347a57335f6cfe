"""Calls submitted to executors: cancelled, failed, late, interrupted or refused."""

import itertools
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Any

import pytest

from rush_core import (
    EmbeddedServer,
    Heartbeat,
    LoopError,
    Network,
    Worker,
    WorkerLostError,
    WorkersFailedError,
    WorkerState,
    serve,
)
from rush_core.launching.ends import WorkerEnd
from rush_core.launching.local import LocalWorkers
from rush_core.launching.shipping import fetch_loop
from rush_core.launching.submitted import SubmittedWorkers
from rush_core.launching.worker_process import run_worker
from tests.core.clients import wait_until_alone
from tests.core.loopback import LoopbackServer
from tests.core.processes import insisting, polite, wait_for_running_tasks

PATIENCE_S = 30.0
QUICK = Heartbeat(period_s=0.02, expire_s=1.0)


def test_a_call_that_has_not_begun_is_cancelled(
    network: Network, threads: ThreadPoolExecutor
) -> None:
    free = threading.Event()
    for _ in range(2):
        threads.submit(free.wait)
    (worker_id,) = network.start_workers(polite, 1, executor=threads, heartbeat=QUICK)
    with pytest.raises(TimeoutError):
        network.wait_for_workers(timeout_s=0.01)
    network.stop_workers(kill=True)
    free.set()
    assert network.join_workers(PATIENCE_S)
    assert network.fetch_workers() == []
    with pytest.raises(WorkersFailedError, match="its call was cancelled") as error:
        network.wait_for_workers(timeout_s=PATIENCE_S)
    assert error.value.key == worker_id


class Gate:
    """An argument of a loop that is held up while it is unpickled, in this process."""

    reached, is_open = threading.Event(), threading.Event()

    def __reduce__(self) -> tuple[Callable[[], None], tuple[()]]:
        return Gate.wait, ()

    @staticmethod
    def wait() -> None:
        Gate.reached.set()
        assert Gate.is_open.wait(PATIENCE_S)


def counting(worker: Worker, gate: None) -> None:
    """A loop of one task."""
    key = worker.start_task({})
    assert key is not None
    worker.finish_task(key, {})


@pytest.mark.parametrize("point", ["before it has its loop", "before it has joined"])
def test_a_worker_that_starts_while_the_server_is_away_waits_for_it(
    loopback_server: LoopbackServer, point: str
) -> None:
    begin = threading.Event()
    Gate.reached.clear()
    Gate.is_open.clear()
    with (
        ThreadPoolExecutor(1) as pool,
        Network("restarted", loopback_server.url) as network,
    ):
        pool.submit(begin.wait)
        network.start_workers(counting, 1, args=(Gate(),), executor=pool)
        if point == "before it has joined":
            begin.set()
            assert Gate.reached.wait(PATIENCE_S)
        loopback_server.kill()
        with socket.create_server(("127.0.0.1", loopback_server.port)) as nobody:
            nobody.settimeout(PATIENCE_S)
            begin.set()
            Gate.is_open.set()
            nobody.accept()[0].close()
        loopback_server.start()
        assert network.join_workers(PATIENCE_S)
        assert network.count_tasks().finished == 1


class ClusterLike(Executor):
    """An executor whose futures can be cancelled while they run, as those of clusters can."""

    def __init__(self) -> None:
        self.threads: list[threading.Thread] = []

    def submit(self, fn, /, *args, **kwargs):  # type: ignore[no-untyped-def]
        future: Future[None] = Future()

        def run() -> None:
            fn(*args, **kwargs)
            if not future.cancelled():
                future.set_result(None)

        self.threads.append(threading.Thread(target=run))
        self.threads[-1].start()
        return future


def test_a_worker_whose_running_call_is_cancelled_counts_as_killed(
    server: EmbeddedServer, network_id: str
) -> None:
    cluster = ClusterLike()
    with Network(network_id, server.url, max_retries=3) as network:
        network.start_workers(insisting, 2, executor=cluster, heartbeat=QUICK)
        wait_for_running_tasks(network, 2)
        network.stop_workers(kill=True)
        assert network.count_tasks() == (0, 0, 0, 2)
        assert {info.state for info in network.fetch_workers()} == {WorkerState.KILLED}
        assert network.detect_lost_workers() == []
        for thread in cluster.threads:
            thread.join(PATIENCE_S)
            assert not thread.is_alive()


def test_forgetting_waits_for_an_end_that_is_being_handled(
    threads: ThreadPoolExecutor,
) -> None:
    told: list[tuple[str, str]] = []
    was_waited_for: list[bool] = []

    def handle(worker_id: str, end: WorkerEnd) -> None:
        told.append((worker_id, end.how))
        forgetting.append(threads.submit(workers.forget))
        # The manager closes its connection after `forget`, and this function still uses it.
        was_waited_for.append(not wait(forgetting, timeout=0.2).done)

    forgetting: list[Future[None]] = []
    workers = SubmittedWorkers(handle)
    workers.start(threads, "first", lambda: None)
    assert workers.ends.wait(PATIENCE_S, None)
    forgetting[0].result(PATIENCE_S)
    assert told == [("first", "its call returned")]
    assert was_waited_for == [True]
    assert workers.started() == []


@contextmanager
def interrupted_before_line(n: int, function: Callable[..., object]) -> Iterator[None]:
    """Raise KeyboardInterrupt before the n-th line that is run of a function."""
    left = itertools.count(n, -1)

    def interrupt(frame: FrameType, event: str, argument: object) -> Any:
        if event == "line" and next(left) == 0:
            raise KeyboardInterrupt
        return interrupt

    previous = sys.gettrace()
    sys.settrace(lambda frame, *_: interrupt if frame.f_code is function.__code__ else None)
    try:
        yield
    finally:
        sys.settrace(previous)


# A process whose start was interrupted loses its owner's end of the pipe, and so it ends.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("is_call", [True, False])
def test_after_an_interrupt_at_any_line_of_a_start_no_wait_is_endless(
    server: EmbeddedServer, network_id: str, threads: ThreadPoolExecutor, is_call: bool
) -> None:
    start = SubmittedWorkers.start if is_call else LocalWorkers.start
    where: dict[str, Any] = {"executor": threads, "heartbeat": QUICK} if is_call else {}
    for n in range(100):
        with Network(f"{network_id}-{n}", server.url) as network:
            try:
                with interrupted_before_line(n, start):
                    network.start_workers(polite, 1, **where)
            except KeyboardInterrupt:
                network.stop_workers(kill=True)
                assert network.join_workers(PATIENCE_S)
            else:
                break
    assert n >= 5


class Failing(Executor):
    """An executor whose calls fail before they begin."""

    def submit(self, fn, /, *args, **kwargs):  # type: ignore[no-untyped-def]
        future: Future[None] = Future()
        future.set_exception(ImportError("no such library here"))
        return future


class SlowToBegin(Executor):
    """An executor whose calls count as running, but wait until a test lets them begin."""

    def __init__(self) -> None:
        self.may_begin = threading.Event()
        self.threads: list[threading.Thread] = []
        self.errors: list[BaseException] = []

    def submit(self, fn, /, *args, **kwargs):  # type: ignore[no-untyped-def]
        future: Future[None] = Future()
        future.set_running_or_notify_cancel()

        def run() -> None:
            assert self.may_begin.wait(PATIENCE_S)
            try:
                fn(*args, **kwargs)
            except BaseException as error:
                self.errors.append(error)
            future.set_result(None)

        self.threads.append(threading.Thread(target=run))
        self.threads[-1].start()
        return future


@pytest.mark.parametrize("end", ["close", "kill", "reset"])
def test_a_worker_that_joins_after_its_manager_was_closed_is_refused(
    server: EmbeddedServer, network_id: str, end: str
) -> None:
    cluster = SlowToBegin()
    with Network(network_id, server.url) as network:
        (worker_id,) = network.start_workers(insisting, 1, executor=cluster, heartbeat=QUICK)
        if end == "close":
            network.close()
        elif end == "kill":
            network.stop_workers(kill=True)
        else:
            network.reset()
        cluster.may_begin.set()
        cluster.threads[0].join(PATIENCE_S)
        assert not cluster.threads[0].is_alive()
    (error,) = cluster.errors
    if end == "reset":
        assert isinstance(error, LoopError)  # the loop was deleted too
    else:
        assert isinstance(error, WorkerLostError)
        assert (error.key, "may not join" in str(error)) == (worker_id, True)
    with Network(network_id, server.url) as later:
        assert later.fetch_workers() == []
        assert later.count_tasks() == (0, 0, 0, 0)


def test_a_loop_with_a_wrong_signature_is_reported(
    network: Network, threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = threading.Event()
    for _ in range(2):
        threads.submit(free.wait)
    (worker_id,) = network.start_workers(polite, 1, executor=threads, heartbeat=QUICK)
    monkeypatch.setenv("RUSH_SECRET", "set too late")
    free.set()
    assert network.join_workers(PATIENCE_S)
    with pytest.raises(WorkersFailedError, match=r"LoopError.*RUSH_SECRET") as error:
        network.wait_for_workers(timeout_s=PATIENCE_S)
    assert error.value.key == worker_id


def test_a_call_that_finds_no_loop_leaves_no_connection_open(network_id: str) -> None:
    with serve() as own_server:
        load = partial(fetch_loop, own_server.url, network_id, "0" * 64, 0.0)
        call: dict[str, Any] = {"url": own_server.url, "load": load, "worker_id": None}
        with pytest.raises(LoopError) as refusal:
            run_worker(network_id, heartbeat=None, log_level="INFO", owns_process=False, **call)
        # The traceback keeps all objects of the call alive.
        wait_until_alone(own_server.url)
        assert refusal.value.key == "0" * 64


def test_a_loop_that_cannot_be_shipped_is_not_submitted(
    network: Network, threads: ThreadPoolExecutor
) -> None:
    lock = threading.Lock()

    def loop(worker: Worker) -> None:
        with lock:
            pass

    with pytest.raises(LoopError, match="lock"):
        network.start_workers(loop, 1, executor=threads)
    assert network.join_workers(0.0)


def test_an_executor_that_refuses_a_call_is_an_error(
    network: Network, threads: ThreadPoolExecutor
) -> None:
    threads.shutdown()
    with pytest.raises(WorkersFailedError, match=r"took no worker .* after shutdown"):
        network.start_workers(polite, 2, executor=threads)
    assert network.join_workers(0.0)


def test_a_wait_for_some_workers_ignores_others_that_never_joined(
    network: Network, threads: ThreadPoolExecutor
) -> None:
    cluster = Failing()
    (failed,) = network.start_workers(polite, 1, executor=cluster)
    (joined,) = network.start_workers(polite, 1, executor=threads, heartbeat=QUICK)
    network.wait_for_workers(worker_ids=[joined], timeout_s=PATIENCE_S)
    with pytest.raises(TimeoutError):
        network.wait_for_workers(worker_ids=["somebody else's"], timeout_s=0.0)
    with pytest.raises(WorkersFailedError, match="no such library here") as error:
        network.wait_for_workers(worker_ids=[joined, failed], timeout_s=PATIENCE_S)
    assert error.value.key == failed


class BatchJobs:
    """An executor of a batch system: it has `submit`, but is no `concurrent.futures.Executor`."""

    def submit(self, fn, /, *args, **kwargs):  # type: ignore[no-untyped-def]
        raise AssertionError("a job was submitted")


def test_an_object_that_is_no_executor_is_refused_before_anything_is_submitted(
    network: Network,
) -> None:
    jobs: Any = BatchJobs()
    with pytest.raises(
        TypeError, match=r"concurrent\.futures\.Executor.*BatchJobs.*worker_command"
    ):
        network.start_workers(polite, 1, executor=jobs)
