"""The `rush` command about networks and servers: status, logs, stop, reset and doctor."""

import json
import logging
import shlex
import signal
import sys

import pytest

from rush_core import EmbeddedServer, Heartbeat, Network, Worker
from rush_core.connection.connection import Connection, pack
from tests.core.commands import RUSH, check_is_refused
from tests.core.loopback import PASSWORD, LoopbackServer
from tests.core.processes import evaluating, polite, wait_for_running_tasks
from tests.fixture_types import Launch, Rush
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
    counts, line = run.stdout.splitlines()
    assert counts.split() == ["queued", "2", "running", "1", "finished", "1", "failed", "0"]
    (info,) = network.fetch_workers()
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


def test_status_is_printed_again_and_again_when_watched(
    network: Network, launch: Launch, server_in_environment: None
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


def test_reading_commands_write_nothing(
    network_id: str, rush: Rush, server: EmbeddedServer, server_in_environment: None
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
    check_is_refused(rush("status", network_id), "RUSH_REDIS_URL", network_id)


# -- logs -----------------------------------------------------------------------------------------


def test_logs_are_printed_in_order_and_at_most_n(
    network: Network, logger: logging.Logger, rush: Rush, server_in_environment: None
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
