"""Reads that Ctrl-C interrupts at any line: what they had read is returned by the next read."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import pytest

import rush_core.kernel.logs
import rush_core.kernel.reader
from rush_core import Network, Worker
from tests.core.proxy import BreakingProxy

_FILES = {rush_core.kernel.logs.__file__, rush_core.kernel.reader.__file__}


@contextmanager
def interrupted_before_line(n: int) -> Iterator[list[int]]:
    """Interrupt the block before the line number `n` that it executes in the reading modules.

    Yields a list whose only item counts the lines that are still to come.
    """
    left = [n]

    def interrupt(frame: FrameType, event: str, argument: object) -> Any:
        if event == "line":
            left[0] -= 1
            if left[0] == 0:
                raise KeyboardInterrupt
        return interrupt

    sys.settrace(lambda frame, *_: interrupt if frame.f_code.co_filename in _FILES else None)
    try:
        yield left
    finally:
        sys.settrace(None)


def read_with_interrupts(
    read: Callable[[], list[str]], push: Callable[[], object]
) -> tuple[list[str], int]:
    """Push and read, each time interrupted one line later, until a read is not interrupted.

    Returns what all reads have returned, and how many were interrupted.
    """
    seen: list[str] = []
    n = 0
    while True:
        n += 1
        push()
        try:
            with interrupted_before_line(n) as left:
                seen += read()
        except KeyboardInterrupt:
            seen += read()
        if left[0] > 0:
            return seen, n - 1


@pytest.mark.parametrize("kind", ["new", "new, waiting", "failed", "ended", "ended, waiting"])
def test_no_new_task_is_dropped_or_repeated_by_an_interrupt(
    network: Network, worker: Worker, kind: str
) -> None:
    def push() -> None:
        network.push_finished_tasks([{"x": 1}, {"x": 2}], [{"y": 1}, {"y": 2}])
        network.push_failed_tasks([{"x": 3}], ["no"])

    def read_ended(timeout_s: float) -> list[str]:
        ended = worker.fetch_new_ended_tasks(timeout_s=timeout_s)
        return ended.finished.keys + ended.failed.keys

    reads: dict[str, Callable[[], list[str]]] = {
        "new": lambda: worker.fetch_new_tasks().keys,
        "new, waiting": lambda: worker.fetch_new_tasks(timeout_s=0.1).keys,
        "failed": lambda: worker.fetch_new_failed_tasks().keys,
        "ended": lambda: read_ended(0.0),
        "ended, waiting": lambda: read_ended(0.1),
    }
    places = {"n": ["finished"], "f": ["failed"], "e": ["finished", "failed"]}[kind[0]]
    seen, n_interrupts = read_with_interrupts(reads[kind], push)
    assert n_interrupts > 10
    assert sorted(seen) == sorted(network.fetch_tasks(*places).keys)


def test_no_report_is_dropped_or_repeated_by_an_interrupt(network: Network, worker: Worker) -> None:
    key = worker.start_task({"x": 1})
    assert key is not None

    def read() -> list[str]:
        return [report.values["step"] for report in network.fetch_new_reports()]

    steps = iter(range(1000))
    seen, n_interrupts = read_with_interrupts(
        read, lambda: worker.report_task(key, {"step": str(next(steps))})
    )
    assert n_interrupts > 10
    assert seen == [str(step) for step in range(n_interrupts + 1)]


def test_the_copy_of_all_finished_tasks_is_whole_after_interrupts(network: Network) -> None:
    tables = []

    def push() -> None:
        network.push_finished_tasks([{"x": 1}, {"x": 2}], [{"y": 1}, {"y": 2}])

    def read() -> list[str]:
        tables.append(network.fetch_finished_tasks())
        assert tables[-1].keys == network.fetch_tasks("finished").keys
        return []

    _, n_interrupts = read_with_interrupts(read, push)
    assert n_interrupts > 10
    keys = network.fetch_tasks("finished").keys
    assert len(tables[-1]) == len(keys) == 2 * (n_interrupts + 1)
    assert [table.keys for table in tables] == [keys[: len(table)] for table in tables]


@pytest.mark.parametrize("kind", ["tasks", "ended tasks", "failed tasks", "reports"])
def test_a_cut_while_a_thread_reads_again_what_another_one_has_read_is_survived(
    network: Network, kind: str
) -> None:
    """Another thread reads between the reply to an end and the taking of what is new."""
    with BreakingProxy(network.url) as proxy, Worker(network.network_id, url=proxy.url) as worker:
        first, second = worker.start_tasks([{"x": 1}, {"x": 2}])
        transitions = worker._transitions
        name = {"t": "finish", "e": "finish", "f": "fail", "r": "report"}[kind[0]] + "_and_read"
        end_and_read = getattr(transitions, name)

        def let_another_thread_read(*arguments: bytes) -> Any:
            reply = end_and_read(*arguments)
            worker.report_task(second, {"step": 2})
            worker.finish_task(second, {"y": 2})
            worker.fetch_new_ended_tasks()
            worker.fetch_new_reports()
            proxy.cut_before_request()
            return reply

        setattr(transitions, name, let_another_thread_read)
        calls: dict[str, Callable[[], tuple[bool, object]]] = {
            "tasks": lambda: worker.finish_and_fetch_new(first, {"y": 1}),
            "ended tasks": lambda: worker.finish_and_fetch_ended(first, {"y": 1}),
            "failed tasks": lambda: worker.fail_and_fetch_ended(first, "no"),
            "reports": lambda: worker.report_and_fetch_new(first, {"step": 1}),
        }
        assert calls[kind]()[0]
        assert proxy.n_breaks == 1
        worker.finish_task(first, {"y": 1})
    assert network.count_tasks().running == 0
