"""Log records on the same terminal as a progress bar: each is shown above the bar."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["records_above"]


@contextmanager
def records_above(bar: Any, stream: object) -> Iterator[None]:
    """Let handlers that write to the stream of a bar clear the bar before, and draw it after.

    Without this, a record begins at the end of the bar's line. Handlers of the root logger are
    changed, and the one that Python uses if there is none.

    Parameters
    ----------
    bar : tqdm.tqdm
    stream : file
        Where the bar is drawn.
    """
    handlers = [*logging.getLogger().handlers, logging.lastResort]
    changed = [h for h in handlers if isinstance(h, logging.StreamHandler) and h.stream is stream]
    for handler in changed:
        handler.emit = _around(bar, stream, handler.emit)  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        for handler in changed:
            del handler.emit  # the method of its class again


def _around(
    bar: Any, stream: object, emit: Callable[[logging.LogRecord], None]
) -> Callable[[logging.LogRecord], None]:
    def emit_above(record: logging.LogRecord) -> None:
        with bar.external_write_mode(file=stream):
            emit(record)

    return emit_above
