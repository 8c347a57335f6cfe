"""Logs in memory: whatever happens to the writer, readers get each record once and unchanged."""

from __future__ import annotations

import errno
import functools
import multiprocessing
import os
import random
import resource
import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rush_core.kernel.shared_log import Place, SharedLog, SharedLogs, pack_frame, read_frames
from rush_core.node.log_writer import SharedLogWriter
from tests.waiting import wait_until

# Later versions of Python warn of forks beside threads, of which these tests are.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")

FORK = multiprocessing.get_context("fork")
START = Place(0, 0)


def record(index: int) -> bytes:
    """Return the record that tests write at this index; some are large."""
    return b"%d " % index * (1 + index % 7) * (2000 if index % 501 == 500 else 1)


def records(start: int, end: int) -> list[bytes]:
    return [record(index) for index in range(start, end)]


@pytest.fixture
def log() -> SharedLog:
    return SharedLogs().finished


def test_what_was_appended_is_read_in_parts_and_as_a_whole(log: SharedLog) -> None:
    writer = SharedLogWriter(log)
    places = [START]
    for end in (1, 3, 3, 1003, 1004):
        new = records(writer.n_records, end)
        writer.append(new)
        found, behind = log.read(places[-1], log.end)
        assert found == new
        places.append(behind)
    assert writer.n_records == places[-1].n_records == 1004
    assert writer.last == record(1003)
    for place in places:
        assert log.read(place, log.end) == (records(place.n_records, 1004), places[-1])


def test_logs_do_not_mix() -> None:
    logs = SharedLogs()
    SharedLogWriter(logs.finished).append([b"finished"])
    SharedLogWriter(logs.failed).append([b"failed"])
    assert logs.finished.read(START, logs.finished.end)[0] == [b"finished"]
    assert logs.failed.read(START, logs.failed.end)[0] == [b"failed"]


def test_a_frame_that_is_larger_than_a_chunk_is_read(log: SharedLog) -> None:
    writer = SharedLogWriter(log)
    large = [b"a" * 5 * 1024**2, b"b" * 4 * 1024**2]
    for new in ([b"before"], large, [b"behind"]):
        writer.append(new)
    assert log.read(START, log.end)[0] == [b"before", *large, b"behind"]
    assert SharedLogWriter(log).n_records == 4


def test_a_new_writer_cuts_off_any_beginning_of_a_frame(log: SharedLog) -> None:
    SharedLogWriter(log).append(records(0, 5))
    end = log.end
    frame = pack_frame(records(5, 7), 5)
    for size in range(len(frame)):
        os.pwrite(log.file, frame[:size], end)
        writer = SharedLogWriter(log)
        assert (writer.n_records, writer.last) == (5, record(4))
        assert os.fstat(log.file).st_size == log.end == end
        assert log.read(START, log.end)[0] == records(0, 5)
    # The writer died when the frame was whole, before it stated the new end.
    os.pwrite(log.file, frame, end)
    writer = SharedLogWriter(log)
    assert (writer.n_records, writer.last) == (7, record(6))
    writer.append(records(7, 9))
    assert log.read(START, log.end)[0] == records(0, 9)


@functools.cache
def logs_of_examples() -> SharedLogs:
    return SharedLogs()


def emptied_log() -> SharedLog:
    log = logs_of_examples().finished
    os.ftruncate(log.file, 0)
    log.set_end(0)
    return log


@given(data=st.data())
def test_bytes_that_were_overwritten_are_never_taken_for_records(data: st.DataObject) -> None:
    log = emptied_log()
    writer = SharedLogWriter(log)
    for end in (3, 4, 9, 12):
        writer.append(records(writer.n_records, end))
    for _ in range(data.draw(st.integers(1, 3))):
        size = data.draw(st.sampled_from([1, 4, 30, 200]))
        at = data.draw(st.integers(0, log.end - 1))
        what = data.draw(st.sampled_from([bytes(size), b"\xff" * size, os.urandom(size)]))
        os.pwrite(log.file, what[: log.end - at], at)
    found, behind = log.read(START, log.end)
    assert found == records(0, len(found))
    assert behind.n_records == len(found)
    assert len(found) in (0, 3, 4, 9, 12)
    assert (behind.offset == log.end) == (len(found) == 12)


def test_frames_that_were_moved_are_not_taken_for_later_ones(log: SharedLog) -> None:
    SharedLogWriter(log).append(records(0, 2))
    frame = os.pread(log.file, log.end, 0)
    os.pwrite(log.file, frame, log.end)
    found = [new for new, _ in read_frames(log.file, START, 2 * log.end)]
    assert found == [records(0, 2)]


def test_a_damaged_log_has_no_new_writer(log: SharedLog) -> None:
    writer = SharedLogWriter(log)
    writer.append(records(0, 2))
    writer.append(records(2, 4))
    os.pwrite(log.file, b"\xff", log.end - 1)
    with pytest.raises(OSError, match=r"damaged: \d+ bytes of it were whole"):
        SharedLogWriter(log)


def in_child(call: Callable[[], object]) -> multiprocessing.process.BaseProcess:
    child = FORK.Process(target=call, daemon=True)
    child.start()
    return child


def test_a_writer_without_room_appends_nothing(log: SharedLog) -> None:
    def fill() -> None:
        writer = SharedLogWriter(log)
        limit = 100_000
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        try:
            while True:
                writer.append(records(writer.n_records, writer.n_records + 100))
        except OSError as error:
            os._exit(error.errno or 0)

    child = in_child(fill)
    child.join()
    assert child.exitcode == errno.EFBIG
    found, behind = log.read(START, log.end)
    assert found == records(0, len(found))
    assert len(found) % 100 == 0
    assert behind.offset == log.end < os.fstat(log.file).st_size == 100_000
    writer = SharedLogWriter(log)
    assert writer.n_records == len(found) > 0


def is_longer(log: SharedLog, end: int) -> bool:
    return log.end > end


def test_readers_see_each_record_once_while_writers_are_killed(log: SharedLog) -> None:
    """Processes read on while one writer after the other is killed at a random moment."""
    n_enough, results = 60_000, FORK.SimpleQueue()

    def write() -> None:
        writer = SharedLogWriter(log)
        rng = random.Random(writer.n_records)
        while True:
            n = rng.choice([1, 2, 30, 300])
            writer.append(records(writer.n_records, writer.n_records + n))

    def read() -> None:
        place, n_reads = START, 0
        while place.n_records < n_enough:
            found, behind = log.read(place, log.end)
            if found != records(place.n_records, behind.n_records):
                results.put(f"wrong records from {place} to {behind}")
                return
            n_reads += bool(found)
            place = behind
        results.put(n_reads)

    readers = [in_child(read) for _ in range(2)]
    rng, n_killed, n_before = random.Random(1), 0, 0
    while any(reader.is_alive() for reader in readers) and n_killed < 500:
        writer = in_child(write)
        wait_until(functools.partial(is_longer, log, log.end))
        time.sleep(rng.random() * 0.01)
        writer.kill()
        writer.join()
        n_killed += 1
        n_now = sum(len(new) for new, _ in read_frames(log.file, START, log.end))
        assert n_now > n_before  # each writer has gone on where the last one stopped
        n_before = n_now
    assert n_killed > 3
    for reader in readers:
        reader.join()
    found = [results.get() for _ in readers]
    assert all(isinstance(n_reads, int) and n_reads > 3 for n_reads in found), found


# -- the board ----------------------------------------------------------------------------------


@pytest.fixture
def logs() -> Iterator[SharedLogs]:
    logs = SharedLogs()
    yield logs
    logs.close()


def test_logs_are_fresh_for_a_second_after_the_server_was_read(logs: SharedLogs) -> None:
    assert not logs.is_fresh()
    logs.stamp(time.monotonic_ns())
    assert logs.is_fresh()
    logs.stamp(time.monotonic_ns() - 1_000_000_000)
    assert not logs.is_fresh()


def test_who_needs_the_logs_asks_for_them_once(logs: SharedLogs) -> None:
    with pytest.raises(BlockingIOError):
        os.eventfd_read(logs.wanted)
    for _ in range(3):
        assert not logs.is_fresh()
    assert os.eventfd_read(logs.wanted) == 1


def test_all_processes_see_the_same_board(logs: SharedLogs) -> None:
    def write() -> None:
        SharedLogWriter(logs.failed).append([b"record"])
        logs.stamp(time.monotonic_ns())

    in_child(write).join()
    assert logs.is_fresh()
    assert logs.failed.read(START, logs.failed.end)[0] == [b"record"]


def test_closed_logs_are_never_fresh_and_take_no_memory(logs: SharedLogs) -> None:
    SharedLogWriter(logs.finished).append([b"record"])
    logs.stamp(time.monotonic_ns())
    in_child(logs.close).join()
    assert logs.is_closed
    assert not logs.is_fresh()
    assert os.fstat(logs.finished.file).st_size == 0
    assert logs.finished.read(START, logs.finished.end) == ([], START)
