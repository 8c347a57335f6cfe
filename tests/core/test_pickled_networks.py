"""A network object can be pickled: another process, also a later one, opens the network by it."""

import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from rush_core import EmbeddedServer, Network, ServerUnreachableError, Worker, WorkerState
from tests.core.loopback import PASSWORD, QUOTED_PASSWORD, LoopbackServer
from tests.waiting import wait_until

PUSHING = """
import pickle, sys
network = pickle.load(sys.stdin.buffer)
with network:
    print(network.push_tasks([{"x": 2}])[0], network.count_tasks().finished)
"""

# The program opens a named network with a server of its own, which ends with the program.
OPENING = """
import pickle, sys
from rush_core import Network
network = Network("kept", max_retries=2)
network.push_finished_tasks([{"x": 1}], [{"y": 1}])
open(sys.argv[1], "wb").write(pickle.dumps(network))
"""

REOPENING = """
import pickle, sys
network = pickle.load(open(sys.argv[1], "rb"))
print(network.network_id, network.fetch_tasks().configs)
"""


def run(code: str, *arguments: str, given: bytes | None = None) -> str:
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, input=given, stdout=subprocess.PIPE, check=True, timeout=60.0)
    return done.stdout.decode().strip()


def test_another_process_uses_a_pickled_network(network: Network, worker: Worker) -> None:
    network.push_finished_tasks([{"x": 1}], [{"y": 1}])
    key, n_finished = run(PUSHING, given=pickle.dumps(network)).split()
    assert n_finished == "1"
    claimed = worker.claim_task()
    assert claimed is not None
    assert (claimed.key, claimed.config) == (key, {"x": 2})


def test_a_loaded_network_is_another_client(network: Network, server: EmbeddedServer) -> None:
    original = Network(network.network_id, server.url, max_retries=1)
    with original, pickle.loads(pickle.dumps(original)) as loaded:
        keys = [*original.push_tasks([{"x": 1}]), *loaded.push_tasks([{"x": 2}])]
        original.push_finished_tasks([{"x": 3}], [{"y": 3}])
        assert len(original.fetch_new_tasks()) == 1
        assert len(loaded.fetch_new_tasks()) == 1
        with Worker(network.network_id, url=server.url) as lost:
            lost.claim_task()
            loaded._registry.remove(lost.worker_id, WorkerState.LOST, "by the test", loaded.now())
        assert original.fetch_tasks("queued").keys == keys
    assert network.count_tasks() == (2, 0, 1, 0)


def test_a_named_network_is_opened_again_after_its_server_ended(tmp_path: Path) -> None:
    file = str(tmp_path / "network.pickle")
    run(OPENING, file)
    assert run(REOPENING, file) == "kept [{'x': 1}]"


def test_a_nameless_network_is_gone_with_its_server(tmp_path: Path) -> None:
    file = str(tmp_path / "network.pickle")
    url = run(OPENING.replace('"kept", ', "") + "print(network.url)", file)
    # The server ends a moment after its program.
    wait_until(lambda: not Path(url.removeprefix("unix://")).exists())
    with pytest.raises(ServerUnreachableError, match="no server answers"):
        pickle.loads(Path(file).read_bytes())


def test_a_pickle_contains_the_password(loopback_server: LoopbackServer, network_id: str) -> None:
    """As SECURITY.md states, a person who can read the pickle can use the server."""
    with Network(network_id, loopback_server.url) as network:
        assert QUOTED_PASSWORD.encode() in pickle.dumps(network)
        assert PASSWORD not in repr(network)
