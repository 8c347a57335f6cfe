"""Who can run code and who can see a password: one test for each claim."""

import hashlib
import pickle
import stat
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from rush_core import EmbeddedServer, Heartbeat, Network, RushError, Worker
from rush_core.connection.connection import Connection, pack
from rush_core.kernel.codec import encode
from rush_core.keys import NetworkKeys
from tests.core.loopback import PASSWORD, QUOTED_PASSWORD, LoopbackServer
from tests.core.processes import polite, wait_for_running_tasks
from tests.fixture_types import Launch

PATIENCE_S = 30.0
SECRETS = (PASSWORD, QUOTED_PASSWORD, "battery", "staple")


def evaluate(worker: Worker) -> None:
    while task := worker.claim_task():
        worker.finish_task(task.key, {"y": task.config["x"]})


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.fixture
def bomb(tmp_path: Path) -> bytes:
    content = pickle.dumps(Bomb(tmp_path / "exploded"))
    pickle.loads(content)  # it does go off
    (tmp_path / "exploded").unlink()
    return content


def test_a_pickle_among_the_values_of_a_task_stays_bytes(
    network: Network, worker: Worker, bomb: bytes, tmp_path: Path
) -> None:
    network.push_tasks([{"x": bomb}], extras=[{"note": bomb}])
    task = worker.claim_task()
    assert task is not None
    assert task.config == {"x": bomb}
    assert worker.finish_task(task.key, {"y": bomb})
    (finished,) = network.fetch_finished_tasks()
    assert (finished.result, finished.extra) == ({"y": bomb}, {"note": bomb})
    network.fetch_finished_tasks().to_pandas()
    assert not (tmp_path / "exploded").exists()


HASHES, LISTS = ("running", "workers", "clients", "loops"), ("queued", "finished", "failed")


@pytest.mark.parametrize("place", [*HASHES, *LISTS, "log"])
def test_a_pickle_in_the_place_of_a_record_is_never_unpickled(
    server: EmbeddedServer, network_id: str, bomb: bytes, tmp_path: Path, place: str
) -> None:
    connection, redis_key = Connection(server.url), getattr(NetworkKeys(network_id), place)
    command: tuple[Any, ...] = ("RPUSH", redis_key, bomb)
    if place in HASHES:
        command = ("HSET", redis_key, "0" * 64, bomb)
    if place == "log":
        command = ("XADD", redis_key, "*", "r", bomb)
    connection.execute(pack(command))
    with Network(network_id, server.url) as network:
        looks: list[Callable[[], object]] = [
            network.fetch_tasks,
            network.fetch_finished_tasks,
            lambda: network.fetch_new_tasks(timeout_s=0.01),
            network.fetch_workers,
            network.detect_lost_workers,
            network.read_log,
        ]
        n_refused = 0
        for look in looks:
            try:
                look()
            except RushError:
                n_refused += 1
        # Only a worker that was started with a loop reads it.
        assert (n_refused > 0) is (place != "loops")
        network.reset()
    connection.close()
    assert not (tmp_path / "exploded").exists()


def test_a_loop_put_in_by_somebody_else_is_never_unpickled(
    network: Network, launch: Launch, bomb: bytes, tmp_path: Path
) -> None:
    """Neither in the place of the one that was announced, nor under a digest of its own."""
    command = network.worker_command(polite)
    digest = command.split("--loop ")[1].split()[0]
    connection = Connection(network.url)
    loops = NetworkKeys(network.network_id).loops
    connection.execute(pack(("HSET", loops, digest, bytes(32) + bomb)))
    connection.close()
    for secret in ("", "sesame"):
        process = launch(command, RUSH_SECRET=secret)
        _, errors = process.communicate(timeout=PATIENCE_S)
        assert process.returncode != 0
        assert "altered" in errors
    assert not (tmp_path / "exploded").exists()
    assert network.fetch_workers() == []


def test_who_reaches_the_server_can_forge_and_delete_but_not_run_code(
    network: Network,
    launch: Launch,
    bomb: bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The attacker has only a connection to the server; workers are started with a secret."""
    monkeypatch.setenv("RUSH_SECRET", "sesame")
    keys, attacker = NetworkKeys(network.network_id), Connection(network.url)
    command = network.worker_command(evaluate)
    digest = command.split("--loop ")[1].split()[0]
    network.push_tasks([{"x": 1}])
    attacker.execute(pack(("DEL", keys.queued)))  # delete a task, and forge another one
    attacker.execute(pack(("RPUSH", keys.queued, encode(("", 0, "forged", {"x": 666}, None)))))
    launch(command).communicate(timeout=PATIENCE_S)
    assert network.fetch_finished_tasks().results == [{"y": 666}]
    attacker.execute(pack(("SET", keys.stop, "1")))  # stop all workers that join
    attacker.execute(pack(("RPUSH", keys.queued, encode(("", 0, "more", {"x": 1}, None)))))
    launch(command).communicate(timeout=PATIENCE_S)
    assert network.count_tasks() == (1, 0, 1, 0)
    # Code under the known digest, code under a digest of its own, and a signature of another loop.
    own = hashlib.sha256(bomb).hexdigest()
    signature: bytes = attacker.execute(pack(("HGET", keys.loops, digest)))[:32]
    for name in (digest, own):
        for signed in (bytes(32), signature):
            attacker.execute(pack(("HSET", keys.loops, name, signed + bomb)))
            process = launch(command.replace(digest, name))
            _, errors = process.communicate(timeout=PATIENCE_S)
            assert process.returncode == 1
            assert ("altered" if name == digest else "not signed") in errors
    assert not (tmp_path / "exploded").exists()
    attacker.close()


def test_the_embedded_server_of_a_named_network_is_its_owners_only(network_id: str) -> None:
    program = f"""
import os, stat
from pathlib import Path
import psutil
from rush_core import Network
from rush_core.servers.data_folder import data_folder_of
os.umask(0)  # the most permissive there is
with Network("{network_id}") as network:
    network.push_tasks([{{"x": 1}}])
    socket = Path(network.url.removeprefix("unix://"))
    for path in (socket, socket.parent, data_folder_of("{network_id}")):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700, path
    family = psutil.Process().children(recursive=True)
    kinds = {{c.family.name for process in family for c in process.net_connections("all")}}
    assert kinds == {{"AF_UNIX"}}, kinds
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_no_password_is_seen_by_others_or_written_anywhere(
    loopback_server: LoopbackServer, network_id: str, tmp_path: Path
) -> None:
    """Not in process lists, output, logs or printed commands; environments are their owner's."""
    url = loopback_server.url
    with Network(network_id, url) as network:
        shown = [repr(network), network.worker_command(polite), repr(Connection(url))]
        heart = Heartbeat(period_s=0.05, expire_s=30.0, own_process=True)
        network.start_workers(polite, 2, log_folder=tmp_path, log_level="DEBUG")
        with Worker(network_id, url=url, heartbeat=heart) as worker:
            shown.append(repr(worker))
            wait_for_running_tasks(network, 2)
            # What has ended, and its parent does not know yet, has no command line any more.
            family = [
                process
                for process in psutil.Process().children(recursive=True)
                if process.status() != psutil.STATUS_ZOMBIE
            ]
            lines = [" ".join(process.cmdline()) for process in family]
            # Two workers, their reader, the process that forked them, and its supervisor.
            assert len([line for line in lines if "rush_core node" in line]) == 5
            assert len([line for line in lines if "rush_core beat" in line]) == 1
            assert len([line for line in lines if f":{loopback_server.port}" in line]) == 1
            shown += lines
            for process in family:
                mode = Path(f"/proc/{process.pid}/environ")
                assert not mode.exists() or stat.S_IMODE(mode.stat().st_mode) == 0o400
        loopback_server.stop()
        with pytest.raises(RushError) as error:
            Network(network_id, url)
        shown += traceback.format_exception(error.value)
        loopback_server.start()
    shown += [path.read_text() for path in tmp_path.rglob("*.???")]
    for secret in SECRETS:
        assert not [text for text in shown if secret in text]
