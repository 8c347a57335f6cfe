"""Bad arguments are refused where they are given, and errors travel between processes."""

import pickle
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import rush_core
from rush_core import (
    EmbeddedServer,
    Network,
    RushError,
    ServerUnreachableError,
    Worker,
    WorkerInterrupt,
    WorkerLostError,
)
from tests.ports import free_port
from tests.typed import unchecked

PATIENCE_S = 10.0  # for what takes some hundredths of a second on an idle machine

ERRORS = [
    error
    for error in vars(rush_core).values()
    if isinstance(error, type) and issubclass(error, RushError)
]


@pytest.mark.parametrize("name", ["", "a b", "a/b", "{a}", "a*", "ü", "a\n", "a" * 101])
def test_a_name_that_cannot_stand_in_a_key_is_refused(server: EmbeddedServer, name: str) -> None:
    with pytest.raises(ValueError, match="network_id must be 1 to 100 letters"):
        Network(name, server.url)
    with pytest.raises(ValueError, match="network_id"):
        Worker(name, url=server.url)
    with pytest.raises(ValueError, match="worker_id"):
        Worker("fine", url=server.url, worker_id=name)


@pytest.mark.parametrize("name", [1.5, 5, b"name"])
def test_a_name_that_is_no_string_is_refused(server: EmbeddedServer, name: Any) -> None:
    with pytest.raises(TypeError, match="network_id must be a string"):
        Network(name, server.url)
    with pytest.raises(TypeError, match="network_id must be a string"):
        Worker(name, url=server.url)


def test_networks_without_a_name_are_never_the_same(server: EmbeddedServer) -> None:
    with Network(url=server.url) as one, Network(url=server.url) as two:
        assert one.network_id != two.network_id
        with pytest.raises(TypeError, match="network_id must be a string"):
            Worker(unchecked(None), url=server.url)  # it would be alone


@pytest.mark.parametrize("limit", [-1, 1.5, True, "10", float("nan")])
def test_a_limit_that_is_no_count_is_refused(worker: Worker, limit: Any) -> None:
    calls: list[Callable[[], object]] = [
        lambda: worker.start_task({}, limit=limit),
        lambda: worker.start_tasks([{}], limit=limit),
        lambda: worker.claim_task(limit=limit),
    ]
    for call in calls:
        with pytest.raises((TypeError, ValueError), match="limit must be a count"):
            call()


@pytest.mark.parametrize("timeout_s", [-1.0, float("nan"), float("inf"), "1", None])
def test_a_timeout_that_is_no_time_is_refused(
    network: Network, worker: Worker, timeout_s: Any
) -> None:
    calls: list[Callable[[], object]] = [
        lambda: worker.claim_task(timeout_s=timeout_s),
        lambda: worker.fetch_new_tasks(timeout_s=timeout_s),
        lambda: network.fetch_new_tasks(timeout_s=timeout_s),
    ]
    for call in calls:
        with pytest.raises((TypeError, ValueError), match="timeout_s"):
            call()


@pytest.mark.parametrize("timeout_s", [1e-9, 1e-4, 0, 0.001])
def test_the_shortest_waits_end(network: Network, worker: Worker, timeout_s: float) -> None:
    before = time.monotonic()
    assert worker.claim_task(timeout_s=timeout_s) is None
    assert len(network.fetch_new_tasks(timeout_s=timeout_s)) == 0
    assert time.monotonic() - before < PATIENCE_S


@pytest.mark.parametrize("n_workers", [0, -1, 1.5, True, "2", None])
def test_a_number_of_workers_that_is_no_count_is_refused(network: Network, n_workers: Any) -> None:
    with pytest.raises(ValueError, match="n_workers must be a count"):
        network.start_workers(print, n_workers)


def test_numbers_of_numpy_are_numbers(network: Network, worker: Worker) -> None:
    count, time_s = unchecked(np.int64(1)), unchecked(np.float32(0.01))
    assert worker.start_task({}, limit=count, deadline=np.float64(worker.now() + 3600))
    assert worker.start_task({}, limit=count) is None
    assert worker.claim_task(timeout_s=time_s, limit=count) is None
    assert (
        worker.claim_task(timeout_s=unchecked(np.int64(0)), deadline=unchecked(np.float32(0)))
        is None
    )  # too late
    assert len(network.fetch_new_tasks(timeout_s=time_s)) == 0
    assert list(network.follow_log(timeout_s=time_s)) == []
    assert len(network.start_workers(print, count)) == 1
    network.wait_for_workers()
    with pytest.raises(ValueError, match="limit must be a count"):
        worker.start_task({}, limit=unchecked(np.float64(1)))


@pytest.mark.parametrize("error", [None, 5, b"bytes", ValueError])
def test_an_error_that_is_no_text_is_refused(network: Network, worker: Worker, error: Any) -> None:
    key = worker.start_task({})
    assert key is not None
    calls: list[Callable[[], object]] = [
        lambda: worker.fail_task(key, error),
        lambda: worker.fail_tasks([key], [error]),
        lambda: network.push_failed_tasks([{}], [error]),
    ]
    for call in calls:
        with pytest.raises(TypeError, match="error must be a text or an exception"):
            call()
    assert network.count_tasks() == (0, 1, 0, 0)


@pytest.mark.parametrize("state", ["", "done", "Finished", None, 5])
def test_a_state_that_is_none_is_refused(network: Network, worker: Worker, state: Any) -> None:
    for client in (network, worker):
        with pytest.raises(
            ValueError, match="a state of tasks is queued, running, finished or failed, got"
        ):
            client.fetch_tasks("queued", state)


def test_a_key_that_is_no_string_is_refused(network: Network, worker: Worker) -> None:
    worker.start_task({})
    for key in (None, 5):
        with pytest.raises((TypeError, AttributeError)):
            worker.finish_task(key, {})  # type: ignore[arg-type]
    assert network.count_tasks() == (0, 1, 0, 0)


@pytest.mark.parametrize("kind", ERRORS)
def test_errors_survive_pickling(kind: type[RushError]) -> None:
    error = kind("what went wrong", key="k-1", expected="this", found=["that", 5])
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert str(copy) == "what went wrong"
    assert (copy.key, copy.expected, copy.found) == ("k-1", "this", ["that", 5])


def test_errors_are_of_one_family() -> None:
    assert issubclass(ServerUnreachableError, ConnectionError)
    assert not issubclass(WorkerInterrupt, Exception)


def test_an_error_raised_by_a_removed_worker_survives_pickling(
    network: Network, worker: Worker
) -> None:
    network.stop_workers([worker.worker_id], kill=True)
    with pytest.raises(WorkerLostError) as error:
        worker.start_task({})
    copy = pickle.loads(pickle.dumps(error.value))
    assert (str(copy), copy.key) == (str(error.value), worker.worker_id)


def test_public_names_are_those_listed() -> None:
    for name in rush_core.__all__:
        assert getattr(rush_core, name).__doc__, name
    assert rush_core.__all__ == sorted(rush_core.__all__, key=lambda name: (name.islower(), name))


def test_objects_tell_what_they_are(network: Network, worker: Worker) -> None:
    assert network.network_id in repr(network)
    assert worker.worker_id in repr(worker)
    assert network.network_id in repr(worker)
    assert abs(network.now() - worker.now()) < 5.0


def test_a_state_that_does_not_exist_is_named_with_the_nearest(network: Network) -> None:
    message = r"is queued, running, finished or failed, got 'queue'\. Did you mean 'queued'\?"
    with pytest.raises(ValueError, match=message):
        network.fetch_tasks("queue")


@pytest.mark.parametrize("args", [3, "text", b"bytes", {1}])
def test_arguments_of_a_loop_must_be_a_sequence(network: Network, args: Any) -> None:
    with pytest.raises(TypeError, match="args must be a sequence of the loop's further arguments"):
        network.start_workers(print, 1, args=args)
    with pytest.raises(TypeError, match="args must be a sequence"):
        network.worker_command(print, args=args)


@pytest.mark.parametrize("name", ["RUSH_REDIS_URL", "REDIS_URL"])
def test_an_error_about_the_url_of_the_environment_names_the_variable(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"redis://:secret@127.0.0.1:{free_port()}/0"
    monkeypatch.setenv(name, url)
    with pytest.raises(ServerUnreachableError, match=f"the environment variable {name}") as error:
        Network("any")
    assert "secret" not in str(error.value)
    with pytest.raises(ServerUnreachableError) as error:
        Network("any", url)
    assert name not in str(error.value)
