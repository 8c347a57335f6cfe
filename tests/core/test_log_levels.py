"""The level of the records that workers send can differ by logger."""

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from rush_core import Network, Worker
from rush_core.membership.log_levels import LogLevels
from tests.fixture_types import Launch

PATIENCE_S = 30.0
LEVELS = {"": "WARNING", "study": "DEBUG", "study.models": "ERROR", "urllib3": "CRITICAL"}
SENT = [("study", "DEBUG"), ("study", "ERROR"), ("study.data", "DEBUG"), ("study.data", "ERROR")]
SENT += [("study.models", "ERROR"), ("urllib3.pool", "CRITICAL"), ("other", "ERROR")]


def chatty(worker: Worker) -> None:
    for name in ("study", "study.data", "study.models"):
        logging.getLogger(name).debug("details")
        logging.getLogger(name).error("wrong")
    logging.getLogger("urllib3.pool").error("wrong")
    logging.getLogger("urllib3.pool").critical("gone")
    logging.getLogger("other").info("news")
    logging.getLogger("other").error("wrong")


together = threading.Barrier(2, timeout=PATIENCE_S)


def chatty_together(worker: Worker) -> None:
    """A loop of two workers in this process, both of which log while the other runs."""
    together.wait()
    logging.getLogger("study").debug("details")
    logging.getLogger("other").info("news")
    together.wait()


def sent(network: Network) -> list[tuple[str, str]]:
    return [(record.logger, record.level) for record in network.read_log()]


def test_each_logger_has_the_level_of_the_nearest_named_one(network: Network) -> None:
    network.start_workers(chatty, 1, log_level=LEVELS)
    assert network.join_workers(PATIENCE_S)
    assert sent(network) == SENT


def test_the_levels_go_with_the_command_of_a_worker(network: Network, launch: Launch) -> None:
    process = launch(network.worker_command(chatty, log_level=LEVELS))
    assert process.wait(PATIENCE_S) == 0
    assert sent(network) == SENT


def test_workers_of_one_process_send_what_each_was_asked_for(
    network: Network, threads: ThreadPoolExecutor
) -> None:
    names = ("", "study", "other")
    logging.getLogger("other").setLevel("ERROR")
    before = [logging.getLogger(name).level for name in names]
    start = partial(network.start_workers, chatty_together, 1, executor=threads)
    first = start(log_level={"study": "DEBUG"})
    start(log_level={"": "ERROR", "other": "INFO"})
    assert network.join_workers(PATIENCE_S)
    found = {(r.worker_id in first, r.logger, r.level) for r in network.read_log()}
    assert found >= {(True, "study", "DEBUG"), (False, "other", "INFO")}
    assert not found & {(False, "study", "DEBUG"), (True, "study", "INFO")}
    assert [logging.getLogger(name).level for name in names] == before
    logging.getLogger("other").setLevel("NOTSET")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("LOUD", r"log_level must be one of .*DEBUG.*, got 'LOUD'$"),
        ({"study": "loud"}, r"got 'loud' for logger 'study'$"),
        ({"a,b": "INFO"}, r"no comma and no '=', got 'a,b'"),
        ({"a=b": "INFO"}, r"no comma and no '=', got 'a=b'"),
    ],
)
def test_levels_that_do_not_exist_are_refused(
    network: Network, given: str | dict[str, str], words: str
) -> None:
    for start in (
        lambda: network.start_workers(chatty, 1, log_level=given),
        lambda: network.worker_command(chatty, log_level=given),
    ):
        with pytest.raises(ValueError, match=words):
            start()
    assert network.fetch_workers() == []


@pytest.mark.parametrize("given", ["INFO", LEVELS, {"study": "DEBUG"}, "ERROR,study=DEBUG"])
def test_the_text_form_has_all_levels(given: str | dict[str, str]) -> None:
    levels = LogLevels.of(given)
    assert LogLevels.of(str(levels)) == levels
