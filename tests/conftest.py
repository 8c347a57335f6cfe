import os
import secrets
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

import rush_core
from rush_core import EmbeddedServer, Network, Worker
from rush_core.kernel.invariants import check_network
from tests.fixture_types import Join
from tests.quick import forbid_processes, is_quick

# Examples are the same in every run, and how long one takes is the machine's business.
settings.register_profile("fixed", derandomize=True, deadline=None)
settings.load_profile("fixed")

# A shell ignores SIGINT in what it starts in the background, and tests that interrupt would hang.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark quick tests."""
    if is_quick(item):
        item.add_marker(pytest.mark.quick)


@pytest.hookimpl(trylast=True)  # when the order has been shuffled
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let long tests begin first, so that no process waits for one at the end.

    Each of the processes that run tests begins with an equal share of the list.
    """
    long = [item for item in items if item.get_closest_marker("long")]
    others = [item for item in items if not item.get_closest_marker("long")]
    n_processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    n_left = len(items)
    items.clear()
    for i in range(n_processes):
        share = n_left // (n_processes - i)
        n_left -= share
        first = long[i::n_processes]
        rest, others = others[: share - len(first)], others[share - len(first) :]
        items += first + rest
    items += others


def pytest_runtestloop(session: pytest.Session) -> None:
    """Make sure that quick tests are quick."""
    if session.config.option.markexpr == "quick" and not session.config.getoption("numprocesses"):
        forbid_processes()


@pytest.fixture(scope="session", autouse=True)
def _nothing_of_the_user(tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test may touch a server that the tests did not start, or the user's networks."""
    for name in ("RUSH_REDIS_URL", "REDIS_URL", "RUSH_REDIS_PASSWORD", "RUSH_SECRET"):
        os.environ.pop(name, None)
    if server := os.environ.get("RUSH_TEST_SERVER"):  # the binary to test with, instead of ours
        folder = tmp_path_factory.mktemp("server")
        (folder / "valkey-server").symlink_to(Path(server).resolve(strict=True))
        os.environ["PATH"] = f"{folder}:{os.environ['PATH']}"
    os.environ["RUSH_HOME"] = str(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="session")
def server() -> Iterator[EmbeddedServer]:
    """Our own server; that there is none to start is a failure."""
    with rush_core.serve() as server:
        yield server


@pytest.fixture
def network_id() -> str:
    """A name that no other test uses."""
    return f"test-{secrets.token_hex(6)}"


@pytest.fixture
def network(server: EmbeddedServer, network_id: str) -> Iterator[Network]:
    """A fresh network, which must still be in a possible state when the test is over."""
    with Network(network_id, server.url) as network:
        yield network
        check_network(network_id, server.url)
    check_network(network_id, server.url)


@pytest.fixture
def join(network: Network) -> Iterator[Join]:
    """Make workers of `network` in this process; they leave when the test is over."""
    workers: list[Worker] = []

    def join(worker_id: str | None = None) -> Worker:
        workers.append(Worker(network.network_id, url=network.url, worker_id=worker_id))
        return workers[-1]

    yield join
    for worker in workers:
        worker.close()


@pytest.fixture
def worker(join: Join) -> Worker:
    """A worker of `network` in this process."""
    return join()
