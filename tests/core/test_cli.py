"""The `rush` command: what it prints, how it ends, and what it never shows."""

import json
import logging
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from loopback import PASSWORD, LoopbackServer, free_port
from waiting import wait_until

from rush_core import EmbeddedServer, Heartbeat, Network, Worker
from rush_core.cli import main
from rush_core.connection import Connection, pack
from rush_core.invariants import check_network
from rush_core.keys import NetworkKeys
from rush_core.log import NetworkLogHandler

PATIENCE_S = 30.0
RUSH = shlex.quote(str(Path(sys.executable).parent / "rush"))

Launch = Callable[..., "subprocess.Popen[str]"]
Rush = Callable[..., "subprocess.CompletedProcess[str]"]


def evaluating(worker: Worker) -> None:
    """A loop in the middle of a task until it is asked to stop."""
    key = worker.start_task({"pid": os.getpid()})
    assert key is not None
    wait_until(worker.should_stop, 60.0)
    worker.finish_task(key, {})


@pytest.fixture
def url(server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """The server that commands use if they are told no other."""
    monkeypatch.setenv("RUSH_REDIS_URL", server.url)
    return server.url


@pytest.fixture
def logger(network: Network) -> Iterator[logging.Logger]:
    """A logger whose records go to `network` in the name of a worker."""
    logger = logging.Logger("study")
    logger.addHandler(
        NetworkLogHandler(network.url, NetworkKeys(network.network_id), "w1", "DEBUG")
    )
    yield logger
    logger.handlers[0].close()


def check_is_told(run: "subprocess.CompletedProcess[str]", *words: str) -> None:
    """Check that a command failed and standard error says in one paragraph why."""
    assert run.returncode == 1
    assert run.stdout == ""
    assert run.stderr.startswith("rush: ")
    assert "\n\n" not in run.stderr
    assert "Traceback" not in run.stderr
    for word in words:
        assert word in run.stderr


# -- status ---------------------------------------------------------------------------------------


def test_status_counts_tasks_and_lists_workers(
    network: Network, worker: Worker, rush: Rush, url: str
) -> None:
    network.push_tasks([{"x": 1}, {"x": 2}])
    network.push_finished_tasks([{"x": 3}], [{"y": 1}])
    key = worker.start_task({"x": 4})
    run = rush("status", network.network_id)
    assert (run.returncode, run.stderr) == (0, "")
    counts, line = run.stdout.splitlines()
    assert counts.split() == ["queued", "2", "running", "1", "finished", "1", "failed", "0"]
    (info,) = network.fetch_workers()
    assert line.split() == ["0", worker.worker_id, "running", f"{info.host}:{info.pid}", key]


def test_status_for_machines_is_json(
    network: Network, worker: Worker, rush: Rush, server: EmbeddedServer
) -> None:
    network.push_failed_tasks([{"x": 1}], ["no"])
    worker.close()
    run = rush("status", network.network_id, "--json", "--url", server.url)
    assert run.returncode == 0
    (line,) = run.stdout.splitlines()
    status = json.loads(line)
    assert status["tasks"] == {"queued": 0, "running": 0, "finished": 0, "failed": 1}
    (row,) = status["workers"]
    assert (row["worker_id"], row["number"], row["state"]) == (worker.worker_id, 0, "stopped")
    assert row["heartbeat_s"] == 15.0
    assert row["task_keys"] == []


def test_status_is_printed_again_and_again_when_watched(
    network: Network, launch: Launch, url: str
) -> None:
    process = launch(f"exec {RUSH} status {network.network_id} --watch 0.01")
    assert process.stdout is not None
    assert process.stdout.readline().startswith("queued 0")
    network.push_tasks([{"x": 1}])
    while not process.stdout.readline().startswith("queued 1"):
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, errors) == (130, "")


def test_a_look_from_the_terminal_leaves_no_trace(
    network_id: str, rush: Rush, server: EmbeddedServer, url: str
) -> None:
    for command in ("status", "logs"):
        assert rush(command, network_id).returncode == 0
    connection = Connection(server.url)
    pattern = f"rush:{{{network_id}}}:*"
    found = connection.execute(pack(("SCAN", "0", "MATCH", pattern, "COUNT", "100000")))
    connection.close()
    assert found == [b"0", []]


def test_the_embedded_server_of_a_named_network_is_found_while_it_runs(
    network_id: str, rush: Rush, launch: Launch
) -> None:
    program = f"""
import signal
from rush_core import Network
network = Network({network_id!r})
network.push_tasks([{{"x": 1}}])
print(flush=True)
signal.pause()
"""
    owner = launch(f"exec {shlex.join([sys.executable, '-c', program])}")
    assert owner.stdout is not None
    owner.stdout.readline()
    run = rush("status", network_id)
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.startswith("queued 1")
    for command in ("logs", "stop", "reset"):
        assert rush(command, network_id).returncode == 0
    assert rush("status", network_id).stdout.startswith("queued 0")
    owner.kill()
    wait_until(lambda: rush("status", network_id).returncode != 0, PATIENCE_S)
    check_is_told(rush("status", network_id), "RUSH_REDIS_URL", network_id)


# -- logs -----------------------------------------------------------------------------------------


def test_logs_are_printed_in_order_and_cut(
    network: Network, logger: logging.Logger, rush: Rush, url: str
) -> None:
    for i in range(3):
        logger.warning("step %d", i)
    lines = rush("logs", network.network_id).stdout.splitlines()
    assert [line.split(maxsplit=1)[1] for line in lines] == [
        f"w1 WARNING study: step {i}" for i in range(3)
    ]
    assert rush("logs", network.network_id, "-n", "2").stdout.splitlines() == lines[1:]
    (record,) = map(
        json.loads, rush("logs", network.network_id, "--json", "-n1").stdout.split("\n")[:-1]
    )
    assert record.pop("time") == pytest.approx(network.now(), abs=PATIENCE_S)
    assert record == {
        **{"worker_id": "w1", "level": "WARNING", "logger": "study", "message": "step 2"}
    }


def test_logs_are_followed_until_interrupted(
    network: Network, logger: logging.Logger, launch: Launch, url: str
) -> None:
    logger.info("one before")
    logger.info("before")
    process = launch(f"exec {RUSH} logs {network.network_id} -n 1 --follow")
    assert process.stdout is not None
    assert process.stdout.readline().endswith("before\n")
    for i in range(3):  # each is printed when it comes, not when a buffer is full
        logger.info("step %d", i)
        assert process.stdout.readline().endswith(f"w1 INFO study: step {i}\n")
    process.send_signal(signal.SIGINT)
    output = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, output) == (130, ("", ""))


def test_a_reader_that_has_seen_enough_is_no_error(
    network: Network, logger: logging.Logger, launch: Launch, url: str
) -> None:
    for _ in range(200):
        logger.info("x" * 1000)
    process = launch(f"{RUSH} logs {network.network_id} | head -n 1")
    output, errors = process.communicate(timeout=PATIENCE_S)
    assert output.endswith("x\n")
    assert errors == ""


# -- stop, reset ----------------------------------------------------------------------------------


def test_stop_lets_workers_end_their_tasks(network: Network, rush: Rush, url: str) -> None:
    first, second = network.start_workers(evaluating, 2)
    wait_until(lambda: network.count_tasks().running == 2, PATIENCE_S)
    run = rush("stop", network.network_id, first)
    assert (run.returncode, run.stderr) == (0, "")
    wait_until(lambda: network.count_tasks().finished == 1, PATIENCE_S)
    assert [task.worker_id for task in network.fetch_tasks("running")] == [second]
    assert rush("stop", network.network_id).returncode == 0
    assert network.join_workers(PATIENCE_S)
    assert network.count_tasks() == (0, 0, 2, 0)


def test_stop_kill_puts_workers_out(network: Network, rush: Rush, launch: Launch, url: str) -> None:
    def loop(worker: Worker) -> None:
        worker.start_task({})
        time.sleep(600.0)

    process = launch(network.worker_command(loop, heartbeat=Heartbeat(0.02, 1.0)))
    wait_until(lambda: network.count_tasks().running == 1, PATIENCE_S)
    assert rush("stop", network.network_id, "--kill").returncode == 0
    assert network.count_tasks() == (0, 0, 0, 1)
    assert [info.state for info in network.fetch_workers()] == ["killed"]
    assert process.wait(PATIENCE_S) != 0  # learned by its next sign of life


def test_reset_deletes_everything(
    network: Network, worker: Worker, logger: logging.Logger, rush: Rush, url: str
) -> None:
    network.push_tasks([{"x": 1}])
    worker.start_task({"x": 2})
    logger.info("first")
    run = rush("reset", network.network_id)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
    assert network.count_tasks() == (0, 0, 0, 0)
    assert network.fetch_workers() == []
    assert network.read_log() == []


# -- doctor ---------------------------------------------------------------------------------------


def test_doctor_finds_a_server_without_persistence_to_mend(rush: Rush, url: str) -> None:
    run = rush("doctor")
    assert (run.returncode, run.stderr) == (1, "")
    lines = run.stdout.splitlines()
    assert [line[5:].split(":")[0] for line in lines] == [
        *("version", "permissions", "persistence", "memory", "clients", "transport", "latency")
    ]
    assert [line for line in lines if line.startswith("mend persistence")]
    assert "appendonly yes" in run.stdout


def test_doctor_is_content_with_a_server_that_keeps_its_data(
    loopback_server: LoopbackServer, rush: Rush
) -> None:
    url, connection = loopback_server.url, Connection(loopback_server.url)
    run = rush("doctor", "--json", "--url", url)
    findings = {f["subject"]: f for f in map(json.loads, run.stdout.splitlines())}
    # How fast the machine is at the moment is not the tests' business.
    judged = [finding["good"] for name, finding in findings.items() if name != "latency"]
    assert judged == [True] * 6
    assert run.returncode == (0 if findings["latency"]["good"] else 1)
    # What is wrong is said with what to do about it.
    connection.execute(pack(("CONFIG", "SET", "maxmemory", "1gb")))
    connection.execute(pack(("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")))
    connection.close()
    run = rush("doctor", "--url", url)
    assert run.returncode == 1
    assert "mend memory" in run.stdout
    assert "CONFIG SET maxmemory-policy noeviction" in run.stdout
    for secret in (PASSWORD, "battery", "staple"):
        assert secret not in run.stdout + run.stderr


# -- serve ----------------------------------------------------------------------------------------


def served_url(process: "subprocess.Popen[str]") -> str:
    """Read the URL that a starting server prints when it answers there."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_serve_keeps_its_data_in_a_folder_of_its_own(tmp_path: Path, launch: Launch) -> None:
    folder = tmp_path / "new" / "study"
    for beginning in (True, False):
        process = launch(f"exec {RUSH} serve {shlex.quote(str(folder))}")
        url = served_url(process)
        assert url.startswith("unix://")
        assert folder.stat().st_mode & 0o777 == 0o700
        assert psutil.Process(process.pid).net_connections("tcp") == []
        with Network("kept", url) as network:
            if beginning:
                network.push_tasks([{"x": 1}])
            assert network.fetch_tasks("queued").configs == [{"x": 1}]
        check_network("kept", url)
        process.send_signal(signal.SIGINT if beginning else signal.SIGTERM)
        process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0


def test_serve_at_an_address_needs_a_password_and_hides_it(
    tmp_path: Path, launch: Launch, rush: Rush
) -> None:
    port, secret = str(free_port()), r'quo"te\back slash'
    arguments = ("serve", str(tmp_path / "study"), "--host", "127.0.0.1", "--port", port)
    check_is_told(rush(*arguments, RUSH_REDIS_PASSWORD=""), "RUSH_REDIS_PASSWORD", "127.0.0.1")
    process = launch(f"exec {RUSH} {shlex.join(arguments)}", RUSH_REDIS_PASSWORD=secret)
    url = served_url(process)
    assert url == f"redis://127.0.0.1:{port}/0"
    environment = {"RUSH_REDIS_URL": url, "RUSH_REDIS_PASSWORD": secret}
    assert rush("status", "any", **environment).returncode == 0
    check_is_told(rush("status", "any", RUSH_REDIS_URL=url))
    wrong = rush("status", "any", RUSH_REDIS_URL=url, RUSH_REDIS_PASSWORD="mistyped")
    check_is_told(wrong, "password")
    assert "mistyped" not in wrong.stderr
    assert secret not in " ".join(psutil.Process(process.pid).cmdline())
    assert (tmp_path / "study" / "server.conf").stat().st_mode & 0o077 == 0
    process.send_signal(signal.SIGINT)
    output = "".join(process.communicate(timeout=PATIENCE_S))
    assert secret not in output


def test_serve_has_the_password_of_its_environment_on_a_socket_too(
    tmp_path: Path, launch: Launch, rush: Rush
) -> None:
    folder = shlex.quote(str(tmp_path / "study"))
    process = launch(f"exec {RUSH} serve {folder}", RUSH_REDIS_PASSWORD="secret")
    url = served_url(process)
    assert url.startswith("unix://")
    assert rush("status", "any", "--url", url, RUSH_REDIS_PASSWORD="secret").returncode == 0
    check_is_told(rush("status", "any", "--url", url), "Authentication required")


def test_a_second_server_in_the_same_folder_is_refused(
    tmp_path: Path, launch: Launch, rush: Rush
) -> None:
    folder = str(tmp_path / "study")
    process = launch(f"exec {RUSH} serve {shlex.quote(folder)}")
    url = served_url(process)
    check_is_told(rush("serve", folder), "already", folder)
    with Network("kept", url) as network:  # and the first one was not disturbed
        network.push_tasks([{"x": 1}])
        # A server that is killed leaves the folder free, its socket and its lock behind.
        process.kill()
        process.wait(PATIENCE_S)
        again = launch(f"exec {RUSH} serve {shlex.quote(folder)}")
        assert served_url(again) == url
        assert network.count_tasks().queued == 1


def test_a_server_that_cannot_start_prints_no_url(tmp_path: Path, launch: Launch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        arguments = ("serve", str(tmp_path / "study"), "--host", "127.0.0.1", "--port", str(port))
        process = launch(f"exec {RUSH} {shlex.join(arguments)}", RUSH_REDIS_PASSWORD="secret")
        output, words = process.communicate(timeout=PATIENCE_S)
    assert process.returncode != 0
    assert output == ""
    assert str(port) in words


def test_a_folder_too_deep_for_a_socket_is_refused(tmp_path: Path, rush: Rush) -> None:
    folder = tmp_path / ("d" * 100)
    check_is_told(rush("serve", str(folder)), "103 bytes", "shorter folder")
    assert not folder.exists()


# -- what is wrong is said ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["unknown"],
        ["status"],
        ["status", "any", "--unknown"],
        ["status", "any", "--watch", "soon"],
        ["logs", "any", "-n", "few"],
        ["worker", "any"],
        ["worker", "any", "--loop", "x", "--heartbeat", "1"],
        ["serve"],
        ["serve", "folder", "--port", "redis"],
    ],
)
def test_a_wrong_command_line_is_explained(
    arguments: list[str], capsys: pytest.CaptureFixture[str], url: str
) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    assert capsys.readouterr().err.startswith("usage: rush")


def test_the_console_command_ends_with_2_on_a_wrong_command_line(rush: Rush) -> None:
    run = rush("status")
    assert (run.returncode, run.stdout) == (2, "")
    assert "network_id" in run.stderr


@pytest.mark.parametrize("command", ["status", "logs", "stop", "reset", "doctor", "worker"])
def test_without_a_server_none_is_started(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RUSH_REDIS_URL", "REDIS_URL"):
        monkeypatch.delenv(name, raising=False)
    arguments = [command] if command == "doctor" else [command, "any"]
    with pytest.raises(SystemExit) as exit_:
        main([*arguments, *(["--loop", "x"] if command == "worker" else [])])
    assert "RUSH_REDIS_URL" in str(exit_.value.code)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("command", ["status", "logs", "stop", "reset", "doctor", "worker"])
def test_a_server_that_does_not_answer_is_named_without_its_password(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    monkeypatch.setenv("RUSH_REDIS_URL", f"redis://:secret@127.0.0.1:{port}")
    arguments = [command] if command == "doctor" else [command, "any"]
    with pytest.raises(SystemExit) as exit_:
        main([*arguments, *(["--loop", "x"] if command == "worker" else [])])
    assert str(exit_.value.code).startswith("rush: no server answers")
    assert f"127.0.0.1:{port}" in str(exit_.value.code)
    assert "secret" not in str(exit_.value.code)


def test_the_console_command_tells_errors_without_a_traceback(rush: Rush) -> None:
    check_is_told(rush("status", "any"), "RUSH_REDIS_URL")
    check_is_told(rush("status", "any", "--url", f"redis://127.0.0.1:{free_port()}"), "no server")
    check_is_told(rush("status", "any", "--url", "unix:///nowhere/server.sock"), "no server")


@pytest.mark.parametrize(
    "url",
    [
        "http://:secret@127.0.0.1/0",
        "redis://:sec/ret@127.0.0.1:1/0",
        "redis://:sec#ret@127.0.0.1:1/0",
        "redis://:sec?ret@127.0.0.1:1/0",
        "redis://:secret@127.0.0.1:port/0",
        "redis://user:secret@127.0.0.1:1/0?unknown=1",
        "unix:///nowhere/server.sock?password=secret",
    ],
)
def test_a_url_that_cannot_be_used_is_told_without_its_password(url: str) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["status", "any", "--url", url])
    assert str(exit_.value.code).startswith("rush: ")
    for part in ("secret", "sec", "ret@"):
        assert part not in str(exit_.value.code)


@pytest.mark.parametrize("network_id", ["two words", "", "a{b}", "x" * 101])
def test_a_name_that_is_none_is_refused(network_id: str, url: str) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["status", network_id])
    assert str(exit_.value.code).startswith("rush: network_id must be")


@pytest.mark.parametrize("heartbeat", [("0", "1"), ("2", "1"), ("nan", "1")])
def test_a_heartbeat_out_of_order_is_refused(heartbeat: tuple[str, str], url: str) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["worker", "any", "--loop", "x", "--heartbeat", *heartbeat])
    assert "period_s" in str(exit_.value.code)
