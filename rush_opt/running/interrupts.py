"""Ctrl-C in the process of a manager: it interrupts a run only where nothing gets lost."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Self

__all__ = ["Interrupts"]


class Interrupts:
    """Delays Ctrl-C, in a ``with`` block, until a block in which it is allowed.

    An interrupt that comes after the last such block has no effect. In threads other than the main
    one Python raises no `KeyboardInterrupt`; there this does nothing.
    """

    def __init__(self) -> None:
        self._before: Callable[[int, FrameType | None], Any] | None = None
        self._n_allowed = 0.0
        self._is_pending = False

    def __enter__(self) -> Self:
        before = signal.getsignal(signal.SIGINT)
        if callable(before) and threading.current_thread() is threading.main_thread():
            self._before = before
            signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    @contextmanager
    def allowed(self, n: float = 1) -> Iterator[None]:
        """Allow `n` interrupts during a ``with`` block; further ones are delayed again.

        Raises
        ------
        KeyboardInterrupt
            At once, if one was delayed.
        """
        self._n_allowed = n
        try:
            if self._is_pending:
                self._is_pending = False
                self._handle(signal.SIGINT, None)
            yield
        finally:
            self._n_allowed = 0.0

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._n_allowed < 1:
            self._is_pending = True
            return
        self._n_allowed -= 1
        assert self._before is not None
        self._before(number, frame)
        self._n_allowed += 1  # the program's own handler has raised nothing
