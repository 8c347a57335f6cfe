"""What tests do beside their main thread, and at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

_PATIENCE_S = 60.0  # for what takes seconds on an idle machine


def in_background(call: Callable[[], T]) -> Callable[[], T]:
    """Run `call` in a thread; return what waits for its result, or raises what it raised."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return lambda: future.result(_PATIENCE_S)


def at_once(calls: Sequence[Callable[[], object]]) -> None:
    """Run calls at the same time, each in a thread; an exception of one is raised here."""
    barrier = threading.Barrier(len(calls))

    def run(call: Callable[[], object]) -> None:
        barrier.wait()
        call()

    with ThreadPoolExecutor(len(calls)) as pool:
        list(pool.map(run, calls))
