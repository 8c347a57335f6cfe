"""A manager reads and follows what workers log."""

import logging
import threading
import time
from pathlib import Path

import pytest

from rush_core import CorruptRecordError, LoopFailedError, Network, Worker, serve
from rush_core.connection.connection import Connection, pack
from rush_core.keys import NetworkKeys
from rush_core.membership.log import LogRecord
from rush_core.membership.log_handler import NetworkLogHandler
from tests.core.loopback import LoopbackServer
from tests.threads import in_background
from tests.waiting import wait_until

PATIENCE_S = 30.0


def chatty(worker: Worker, n: int) -> None:
    logger = logging.getLogger("study")
    for i in range(n):
        logger.info("step %d", i)
    logger.debug("not for the network")
    try:
        raise ValueError("no such learner")
    except ValueError:
        logger.exception("failed")


def wait_for_reader(url: str) -> None:
    """Wait until a client waits in the server for new log records."""
    connection = Connection(url)
    wait_until(lambda: b"cmd=xread" in connection.execute(pack(("CLIENT", "LIST"))), PATIENCE_S)
    connection.close()


def test_log_records_of_workers_are_read_in_order(network: Network) -> None:
    worker_ids = network.start_workers(chatty, 2, args=(3,))
    assert network.join_workers(PATIENCE_S)
    for worker_id in worker_ids:
        records = [record for record in network.read_log() if record.worker_id == worker_id]
        assert [r.message for r in records[:3]] == ["step 0", "step 1", "step 2"]
        assert records[3].message.startswith("failed\nTraceback")
        assert records[3].message.endswith("ValueError: no such learner")
        assert [r.level for r in records] == ["INFO"] * 3 + ["ERROR"]
        assert {r.logger for r in records} == {"study"}
        assert "step 0" in str(records[0])
    records = network.read_log()
    assert len(records) == 8
    assert network.read_log(3) == records[-3:]
    assert [r.time for r in records] == sorted(r.time for r in records)
    assert abs(records[-1].time - network.now()) < PATIENCE_S


def test_records_of_libraries_arrive_as_well(network: Network) -> None:
    def loop(worker: Worker) -> None:
        logging.getLogger("urllib3.connectionpool").warning("slow %s", "server")
        logging.getLogger().error("of nobody in particular")
        helper = threading.Thread(target=logging.getLogger("study").info, args=("from a thread",))
        helper.start()
        helper.join()

    (worker_id,) = network.start_workers(loop, 1)
    assert network.join_workers(PATIENCE_S)
    assert [(r.worker_id, r.level, r.logger, r.message) for r in network.read_log()] == [
        (worker_id, "WARNING", "urllib3.connectionpool", "slow server"),
        (worker_id, "ERROR", "root", "of nobody in particular"),
        (worker_id, "INFO", "study", "from a thread"),
    ]


def test_the_exception_that_ended_a_loop_is_in_the_log(network: Network) -> None:
    def loop(worker: Worker) -> None:
        known = worker.fetch_finished_tasks()
        min(task.config["x"] for task in known)

    worker_ids = network.start_workers(loop, 2)
    with pytest.raises(LoopFailedError, match="min"):
        network.join_workers(PATIENCE_S)
    records = network.read_log()
    assert {record.worker_id for record in records} == set(worker_ids)
    for record in records:
        assert (record.level, record.logger) == ("ERROR", "rush_core.launching.worker_process")
        assert record.message.startswith("the worker loop failed\nTraceback")
        assert "ValueError: min()" in record.message


@pytest.mark.parametrize(
    ("level", "expected"),
    [("ERROR", ["ERROR"]), ("DEBUG", ["INFO", "DEBUG", "ERROR"])],
)
def test_records_below_the_level_are_not_sent(
    network: Network, level: str, expected: list[str]
) -> None:
    network.start_workers(chatty, 1, args=(1,), log_level=level)
    assert network.join_workers(PATIENCE_S)
    assert [record.level for record in network.read_log()] == expected


def test_the_number_of_kept_records_is_limited(network: Network, logger: logging.Logger) -> None:
    connection, keys = Connection(network.url), NetworkKeys(network.network_id)
    fill = pack(("XADD", keys.log, "*", "r", b"\x94\xa1w\xa1l\xa1n\xa1m"))
    connection.execute_many([fill] * 12_000)
    logger.info("the last")
    kept = connection.execute(pack(("XLEN", keys.log)))
    assert 10_000 <= kept < 10_500
    assert [record.message for record in network.read_log(1)] == ["the last"]
    connection.close()


def test_a_follower_is_woken_by_a_new_record(network: Network, logger: logging.Logger) -> None:
    woken = threading.Event()

    def follow() -> list[LogRecord]:
        followed = []
        for record in network.follow_log(timeout_s=600.0):
            followed.append(record)
            woken.set()
            if record.message == "the last":
                break
        return followed

    logger.info("before anybody listened")
    following = in_background(follow)
    wait_for_reader(network.url)
    began = time.monotonic()
    logger.info("first")
    assert woken.wait(PATIENCE_S)
    assert time.monotonic() - began < 5.0  # much less than the timeout of 600 s: the record woke it
    network.count_tasks()  # the network can be used meanwhile
    for i in range(50):
        logger.info("step %d", i)
    logger.info("the last")
    followed = following()
    expected = ["first", *(f"step {i}" for i in range(50)), "the last"]
    assert [record.message for record in followed] == expected
    assert network.read_log()[1:] == followed


def test_a_follower_ends_when_no_record_comes(network: Network) -> None:
    assert network.read_log() == []
    began = time.monotonic()
    assert list(network.follow_log(timeout_s=0.1)) == []
    assert 0.1 <= time.monotonic() - began < PATIENCE_S


def test_a_follower_first_reads_the_records_that_there_are(
    network: Network, logger: logging.Logger
) -> None:
    for i in range(3):
        logger.info("step %d", i)
    records = network.read_log()
    assert list(network.follow_log(timeout_s=0.01, n=2)) == records[1:]
    assert list(network.follow_log(timeout_s=0.01, n=None)) == records


def test_no_record_is_missed_between_reading_and_following(
    network: Network, logger: logging.Logger
) -> None:
    assert network.read_log() == []
    followed = network.follow_log(timeout_s=PATIENCE_S, n=None)
    logger.info("first")
    assert next(followed).message == "first"
    logger.info("while nobody waited")  # the follower is busy with the first
    assert next(followed).message == "while nobody waited"


def test_a_record_that_cannot_be_sent_is_dropped(network: Network) -> None:
    def loop(worker: Worker) -> None:
        logging.getLogger().warning("no unicode: \udcff")
        logging.getLogger().warning("too few: %s %s", 1)
        key = worker.start_task({})
        assert key is not None
        worker.finish_task(key, {})

    network.start_workers(loop, 1)
    assert network.join_workers(PATIENCE_S)
    assert network.count_tasks() == (0, 0, 1, 0)


def test_a_loop_goes_on_when_it_logs_while_the_server_is_away(
    loopback_server: LoopbackServer, tmp_path: Path
) -> None:
    def loop(worker: Worker, signpost: Path) -> None:
        logger = logging.getLogger("study")
        key = worker.start_task({})
        assert key is not None
        logger.info("before")
        while not signpost.exists():
            logger.info("meanwhile")
            time.sleep(0.002)
        logger.info("after")
        worker.finish_task(key, {})

    signpost = tmp_path / "go on"
    with Network("away", loopback_server.url) as network:
        network.start_workers(loop, 1, args=(signpost,))
        wait_until(lambda: len(network.read_log()) > 1, PATIENCE_S)
        loopback_server.stop()
        loopback_server.start()
        signpost.touch()
        assert network.join_workers(PATIENCE_S)
        assert network.count_tasks() == (0, 0, 1, 0)
        messages = [record.message for record in network.read_log()]
        assert (messages[0], messages[-1]) == ("before", "after")


def test_logging_to_a_server_that_has_ended_raises_nothing(
    network_id: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with serve() as server:
        handler = NetworkLogHandler(server.url, NetworkKeys(network_id), "w1", "INFO")
        logger = logging.Logger("study")
        logger.addHandler(handler)
        logger.info("sent")
    logger.info("dropped")
    handler.close()
    assert capfd.readouterr().err == ""


def test_a_reset_deletes_the_log_records(network: Network, logger: logging.Logger) -> None:
    logger.info("first")
    network.reset(workers=False)
    assert len(network.read_log()) == 1
    network.reset()
    assert network.read_log() == []


def test_an_entry_that_is_not_a_log_record_is_an_error(network: Network) -> None:
    connection, keys = Connection(network.url), NetworkKeys(network.network_id)
    connection.execute(pack(("XADD", keys.log, "*", "r", b"\xc1")))
    with pytest.raises(CorruptRecordError, match="not a log record"):
        network.read_log()
    connection.close()


@pytest.mark.parametrize("timeout_s", [-1.0, float("nan"), float("inf")])
def test_an_invalid_timeout_is_refused(network: Network, timeout_s: float) -> None:
    with pytest.raises(ValueError, match="timeout_s"):
        network.follow_log(timeout_s=timeout_s)
