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
        self._before: dict[int, Callable[[int, FrameType | None], Any]] = {}
        self._n_allowed = 0.0
        self._is_pending = False

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                before = signal.getsignal(number)
                # SIGTERM can be made an interrupt. If not, its handler may end the program.
                if callable(before) and (
                    number == signal.SIGINT or before is signal.default_int_handler
                ):
                    self._before[number] = before
                    signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

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
        self._before[number](number, frame)
        self._n_allowed += 1  # the program's own handler has raised nothing
