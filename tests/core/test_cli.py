"""The `rush` command about networks and servers, except for `worker` and `serve`."""

import contextlib
import json
import logging
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

import pytest

from rush_core import EmbeddedServer, Heartbeat, Network, Worker, list_networks
from rush_core.connection.connection import Connection, pack
from rush_core.servers.data_folder import data_folder_of, is_served, make_private
from tests.core.commands import RUSH, check_is_refused
from tests.core.loopback import PASSWORD, LoopbackServer
from tests.core.processes import evaluating, polite, wait_for_running_tasks
from tests.fixture_types import Join, Launch, Rush
from tests.ports import free_port
from tests.waiting import wait_until

PATIENCE_S = 30.0


# -- status ---------------------------------------------------------------------------------------


def test_status_counts_tasks_and_lists_workers(
    network: Network, worker: Worker, rush: Rush, server_in_environment: None
) -> None:
    network.push_tasks([{"x": 1}, {"x": 2}])
    network.push_finished_tasks([{"x": 3}], [{"y": 1}])
    key = worker.start_task({"x": 4})
    run = rush("status", network.network_id)
    assert (run.returncode, run.stderr) == (0, "")
    counts, host, line = run.stdout.splitlines()
    assert counts.split() == ["queued", "2", "running", "1", "finished", "1", "failed", "0"]
    (info,) = network.fetch_workers()
    assert host == f"{info.host}: 1 running"
    assert line.split() == ["0", worker.worker_id, "running", f"{info.host}:{info.pid}", key]


def test_status_can_be_json(
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
    assert status["hosts"] == []


def test_status_is_printed_again_and_again_when_watched(
    network: Network, launch: Launch, server_in_environment: None
) -> None:
    network.push_tasks([{"x": 1}])
    process = launch(f"exec {RUSH} status {network.network_id} --watch 0.01")
    assert process.stdout is not None
    assert process.stdout.readline().startswith("queued 1")
    network.push_tasks([{"x": 2}])
    while not process.stdout.readline().startswith("queued 2"):
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, errors) == (130, "")


def test_reading_commands_write_nothing(
    network: Network, rush: Rush, server: EmbeddedServer, server_in_environment: None
) -> None:
    network.push_tasks([{"x": 1}])
    connection = Connection(server.url)

    def dump() -> dict[bytes, bytes]:
        pattern = f"rush:{{{network.network_id}}}:*"
        scan = pack(("SCAN", "0", "MATCH", pattern, "COUNT", "100000"))
        _, names = connection.execute(scan)
        return {name: connection.execute(pack(("DUMP", name))) for name in names}

    before = dump()
    assert before
    for command in ("list", "status", "logs"):
        assert rush(command, *([] if command == "list" else [network.network_id])).returncode == 0
    assert dump() == before
    connection.close()


# -- names ----------------------------------------------------------------------------------------


def test_the_embedded_server_of_a_named_network_is_found_while_it_runs_and_afterwards(
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
    check_is_refused(rush("remove", network_id, "--yes"), f"process {owner.pid} on", "in use")
    owner.kill()
    owner.wait(PATIENCE_S)
    assert rush("status", network_id).stdout.startswith("queued 0")
    assert not is_served(data_folder_of(network_id))  # the server ended with the command


def test_a_network_is_listed_read_reset_and_removed_after_its_program_ended(
    network_id: str, rush: Rush, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RUSH_HOME", str(tmp_path))
    assert rush("list").stdout == "no networks\n"
    with stored(network_id) as network:
        network.push_finished_tasks([{"x": 1}], [{"y": 1}])
        network.push_tasks([{"x": 1}])
    listed = rush("list")
    assert (listed.returncode, listed.stderr) == (0, "")
    assert network_id in listed.stdout
    assert rush("status", network_id).stdout.split()[:6] == [
        "queued",
        "1",
        "running",
        "0",
        "finished",
        "1",
    ]
    assert rush("logs", network_id).returncode == 0
    assert rush("reset", network_id).returncode == 0
    assert rush("status", network_id).stdout.startswith("queued 0  running 0  finished 0")
    refused = rush("remove", network_id)  # nobody answers
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.endswith("[y/N] nothing was deleted\n")
    assert data_folder_of(network_id).exists()
    assert rush("remove", network_id, "--yes").returncode == 0
    assert not data_folder_of(network_id).exists()
    assert rush("list").stdout == "no networks\n"


@contextlib.contextmanager
def stored(network_id: str) -> Iterator[Network]:
    """Use the data of a named network; its embedded server has ended afterwards."""
    make_private(data_folder_of(network_id))
    server = EmbeddedServer(data_folder_of(network_id))
    with server, Network(network_id, server.url) as network:
        yield network


@pytest.mark.parametrize("command", ["status", "logs", "stop", "reset", "remove"])
def test_a_name_that_does_not_exist_is_an_error_with_the_nearest_names(
    command: str, rush: Rush, network: Network, server_in_environment: None
) -> None:
    network.push_tasks([{"x": 1}])
    missing = f"{network.network_id}0"
    run = rush(command, missing)
    assert (run.returncode, run.stdout) == (2, "")
    (line,) = run.stderr.splitlines()
    assert line.startswith(f"rush: no network {missing!r} at unix://")
    assert f"Did you mean {network.network_id!r}" in line
    assert not list_networks(network.url).count(missing)


def test_without_a_server_the_nearest_names_are_those_on_this_machine(
    rush: Rush, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RUSH_HOME", str(tmp_path))
    for network_id in ("digits-1", "digits-2", "other"):
        with stored(network_id) as network:
            network.push_tasks([{"x": 1}])
    run = rush("status", "digit-1")
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr == (
        "rush: no network 'digit-1' is stored on this machine. Did you mean 'digits-1' or "
        "'digits-2'? If a server holds it, give --url, or set RUSH_REDIS_URL or REDIS_URL\n"
    )


def test_list_has_the_networks_of_a_server(
    network: Network, rush: Rush, server_in_environment: None
) -> None:
    network.push_tasks([{"x": 1}])
    lines = rush("list").stdout.splitlines()
    assert lines[0].split() == ["NETWORK", "STATE", "TRIALS", "BEST", "CHANGED"]
    assert [network.network_id, "no", "search", "0", "of", "1", "tasks"] in map(str.split, lines)
    rows = map(json.loads, rush("list", "--json").stdout.splitlines())
    (row,) = [row for row in rows if row["network"] == network.network_id]
    assert row["tasks"] == {"queued": 1, "running": 0, "finished": 0, "failed": 0}


# -- hostile names --------------------------------------------------------------------------------


def test_status_of_forged_hosts_is_one_line_without_control_characters(
    network: Network,
    join: Join,
    rush: Rush,
    server: EmbeddedServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    forged = "\x1b[2Jnode\n   9 intruder     running\u202e\x9b31m"
    monkeypatch.setattr(socket, "gethostname", lambda: forged)
    worker = join()
    printed = rush("status", network.network_id, "--url", server.url).stdout
    assert len(printed.splitlines()) == 3
    assert printed.replace("\n", "").isprintable()
    assert r"\x1b[2Jnode\n   9 intruder     running\u202e\x9b31m:" in printed
    as_json = json.loads(rush("status", network.network_id, "--json", "--url", server.url).stdout)
    assert [row["host"] for row in as_json["workers"]] == [forged]
    assert worker.number == 0


# -- logs -----------------------------------------------------------------------------------------


def test_messages_cannot_forge_records_or_control_the_terminal(
    network: Network, logger: logging.Logger, rush: Rush, server_in_environment: None
) -> None:
    message = "\x1b]0;title\x07 first\n1.000 w9 CRITICAL study: forged\r2.000 w9 INFO"
    logger.warning("%s", message)
    other = logging.Logger("a\x1b[1m\nb")
    other.addHandler(logger.handlers[0])
    other.warning("second")
    lines = rush("logs", network.network_id).stdout.split("\n")[:-1]
    assert [line.split(" ", 2)[2] for line in lines if not line.startswith("    ")] == [
        r"w1 WARNING study: \x1b]0;title\x07 first",
        r"w1 WARNING a\x1b[1m\nb: second",
    ]
    assert lines[1] == r"    1.000 w9 CRITICAL study: forged\r2.000 w9 INFO"
    records = rush("logs", network.network_id, "--json").stdout.splitlines()
    assert json.loads(records[0])["message"] == message


def test_logs_are_printed_in_order_and_at_most_n(
    network: Network, logger: logging.Logger, rush: Rush, server_in_environment: None
) -> None:
    for i in range(3):
        logger.warning("step %d", i)
    lines = rush("logs", network.network_id).stdout.splitlines()
    assert [line.split(maxsplit=2)[2] for line in lines] == [
        f"w1 WARNING study: step {i}" for i in range(3)
    ]
    assert rush("logs", network.network_id, "-n", "2").stdout.splitlines() == lines[1:]
    time = datetime.fromisoformat(" ".join(lines[0].split()[:2])).timestamp()
    assert time == pytest.approx(network.now(), abs=PATIENCE_S)
    (record,) = map(
        json.loads, rush("logs", network.network_id, "--json", "-n1").stdout.split("\n")[:-1]
    )
    assert record.pop("time") == pytest.approx(network.now(), abs=PATIENCE_S)
    assert record == {
        **{"worker_id": "w1", "level": "WARNING", "logger": "study", "message": "step 2"}
    }


def test_logs_are_followed_until_interrupted(
    network: Network, logger: logging.Logger, launch: Launch, server_in_environment: None
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


def test_a_reader_that_closes_the_pipe_is_no_error(
    network: Network, logger: logging.Logger, launch: Launch, server_in_environment: None
) -> None:
    for _ in range(200):
        logger.info("x" * 1000)
    process = launch(f"{RUSH} logs {network.network_id} | head -n 1")
    output, errors = process.communicate(timeout=PATIENCE_S)
    assert output.endswith("x\n")
    assert errors == ""


# -- stop, reset ----------------------------------------------------------------------------------


def test_stop_lets_workers_end_their_tasks(
    network: Network, rush: Rush, server_in_environment: None
) -> None:
    first, second = network.start_workers(polite, 2)
    wait_for_running_tasks(network, 2)
    run = rush("stop", network.network_id, first)
    assert (run.returncode, run.stderr) == (0, "")
    wait_until(lambda: network.count_tasks().finished == 1, PATIENCE_S)
    assert [task.worker_id for task in network.fetch_tasks("running")] == [second]
    assert rush("stop", network.network_id).returncode == 0
    assert network.join_workers(PATIENCE_S)
    assert network.count_tasks() == (0, 0, 2, 0)


def test_stop_kill_removes_workers(
    network: Network, rush: Rush, launch: Launch, server_in_environment: None
) -> None:
    process = launch(network.worker_command(evaluating, heartbeat=Heartbeat(0.02, 1.0)))
    wait_for_running_tasks(network)
    assert rush("stop", network.network_id, "--kill").returncode == 0
    assert network.count_tasks() == (0, 0, 0, 1)
    assert [info.state for info in network.fetch_workers()] == ["killed"]
    assert process.wait(PATIENCE_S) != 0  # its next heartbeat told it


def test_reset_deletes_everything(
    network: Network,
    worker: Worker,
    logger: logging.Logger,
    rush: Rush,
    server_in_environment: None,
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


def test_doctor_succeeds_with_advice_for_a_server_without_persistence(
    rush: Rush, server_in_environment: None
) -> None:
    run = rush("doctor")
    assert (run.returncode, run.stderr) == (0, "")
    lines = run.stdout.splitlines()
    assert [line[7:].split(":")[0] for line in lines] == [
        *(
            "version",
            "permissions",
            "persistence",
            "disk",
            "memory",
            "clients",
            "transport",
            "latency",
        )
    ]
    assert [line for line in lines if line.startswith("advice persistence: ")]
    assert [line for line in lines if line.startswith("ok     version: ")]
    assert "appendonly yes" in run.stdout


def test_doctor_fails_only_with_a_fault(loopback_server: LoopbackServer, rush: Rush) -> None:
    url, connection = loopback_server.url, Connection(loopback_server.url)
    run = rush("doctor", "--json", "--url", url)
    findings = {f["subject"]: f for f in map(json.loads, run.stdout.splitlines())}
    # The latency depends on how busy this machine is.
    judged = [finding["level"] for name, finding in findings.items() if name != "latency"]
    assert judged == ["ok"] * 7
    assert run.returncode == 0
    # A fault is reported with what to do.
    connection.execute(pack(("CONFIG", "SET", "maxmemory", "1gb")))
    connection.execute(pack(("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")))
    connection.close()
    run = rush("doctor", "--json", "--url", url)
    assert run.returncode == 1
    findings = {f["subject"]: f for f in map(json.loads, run.stdout.splitlines())}
    assert findings["memory"]["level"] == "fault"
    run = rush("doctor", "--url", url)
    assert run.returncode == 1
    assert "fault  memory: " in run.stdout
    assert "CONFIG SET maxmemory-policy noeviction" in run.stdout
    for secret in (PASSWORD, "battery", "staple"):
        assert secret not in run.stdout + run.stderr


def test_doctor_succeeds_over_a_connection_that_is_not_encrypted(
    loopback_server: LoopbackServer, rush: Rush
) -> None:
    # This spelling of 127.0.0.1 is not known to be within this machine.
    run = rush("doctor", "--url", loopback_server.url.replace("127.0.0.1", "0x7f000001"))
    assert (run.returncode, run.stderr) == (0, "")
    assert "advice transport: the connection is not encrypted" in run.stdout


# -- ping -----------------------------------------------------------------------------------------


def test_ping_tells_whether_the_server_answers(
    rush: Rush, server: EmbeddedServer, server_in_environment: None
) -> None:
    run = rush("ping")
    assert (run.returncode, run.stdout, run.stderr) == (0, f"{server.url} answers\n", "")
    check_is_refused(rush("ping", "--url", f"redis://127.0.0.1:{free_port()}"), "no server answers")


def test_ping_can_wait_for_a_server(tmp_path: Path, launch: Launch) -> None:
    server = LoopbackServer(tmp_path)
    process = launch(f"exec {RUSH} ping --wait {PATIENCE_S:g} --url {shlex.quote(server.url)}")
    with pytest.raises(subprocess.TimeoutExpired):  # it waits as long as there is none
        process.wait(1.5)
    server.start()
    output, errors = process.communicate(timeout=PATIENCE_S)
    server.stop()
    assert (process.returncode, errors) == (0, "")
    assert output == f"redis://:***@127.0.0.1:{server.port}/0 answers\n"


@pytest.mark.parametrize("seconds", ["-1", "nan", "1e10"])
def test_ping_refuses_a_wrong_time(seconds: str, rush: Rush, server_in_environment: None) -> None:
    check_is_refused(rush("ping", f"--wait={seconds}"), "between 0 and 1e9 seconds")


# -- the program -----------------------------------------------------------------------------------


def test_the_version_is_that_of_the_package(rush: Rush) -> None:
    run = rush("--version")
    assert (run.returncode, run.stdout) == (0, f"rush {version('rush-hpo')}\n")


def test_the_shell_completes_commands_and_names(
    rush: Rush, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RUSH_HOME", str(tmp_path / "home"))
    with stored("my-run") as network:
        network.push_tasks([{"x": 1}])

    def completions(line: str) -> list[str]:
        answers = tmp_path / "answers"  # argcomplete writes to a file instead of descriptor 8
        rush(
            **{"_ARGCOMPLETE": "1", "COMP_LINE": line, "COMP_POINT": str(len(line))},
            **{"_ARGCOMPLETE_STDOUT_FILENAME": str(answers), "IFS": "\n"},
        )
        return sorted(word.strip() for word in answers.read_text().split("\n"))

    assert completions("rush res") == ["reset"]
    assert completions("rush status my") == ["my-run"]
