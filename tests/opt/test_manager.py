"""The manager of a run sleeps in the server, which wakes it."""

import math
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from waiting import wait_until

from rush_core import EmbeddedServer, Network, serve
from rush_core.connection import Connection, pack
from rush_opt import Float, FrozenTrial, TuneResult, tune

PATIENCE_S = 60.0
X = {"x": Float(0, 1)}

# Far less than the manager sleeps if nobody wakes it.
AT_ONCE_S = 5.0


class Gate:
    """A file for which the objective of each trial waits."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, config: dict[str, Any]) -> float:
        wait_until(self.path.exists, PATIENCE_S)
        return float(config["x"])


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


@pytest.fixture
def own_server() -> Iterator[EmbeddedServer]:
    """A server in which nobody else is asleep."""
    with serve() as server:
        yield server


def longest_sleep_s(url: str) -> float:
    """Return for how long a client has been asleep in the server, whole seconds."""
    connection = Connection(url)
    clients = connection.execute(pack(("CLIENT", "LIST"))).decode().splitlines()
    connection.close()
    fields = [dict(pair.split("=", 1) for pair in line.split()) for line in clients]
    return max((int(f["idle"]) for f in fields if f["cmd"] == "blpop"), default=-math.inf)


def test_the_manager_sleeps_while_nothing_happens_and_wakes_at_once(
    own_server: EmbeddedServer, network_id: str, tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    gate, told = Gate(tmp_path / "open"), []

    def tell(trial: FrozenTrial) -> None:
        told.append(time.monotonic())

    run: Future[TuneResult] = pool.submit(
        tune,
        gate,
        X,
        n_workers=1,
        n_trials=1,
        optimizer="random",
        seed=1,
        network_id=network_id,
        url=own_server.url,
        callbacks=[tell],
        progress=False,
    )
    with Network(network_id, own_server.url) as network:
        wait_until(lambda: network.count_tasks().running, PATIENCE_S)
        wait_until(lambda: longest_sleep_s(own_server.url) >= 2)
        opened = time.monotonic()
        gate.path.touch()
        result = run.result()
        assert told[0] - opened < AT_ONCE_S
        assert time.monotonic() - told[0] < AT_ONCE_S
    assert result.stop_reason == "n_trials"
