"""Pipes that close when this process ends, however it ends.

Who reads from one learns so that its owner is gone. A child that the owner has forked would hold
its copy open: an idle process pool outlives its owner, and the reader would wait for it for ever.
"""

from __future__ import annotations

import os
import weakref
from typing import IO

__all__ = ["keep_from_children"]

_kept: weakref.WeakSet[IO[bytes]] = weakref.WeakSet()


def keep_from_children(pipe: IO[bytes] | None) -> None:
    """Let no child that this process forks from now on hold `pipe` open."""
    assert pipe is not None
    _kept.add(pipe)


def _let_go() -> None:
    # Closing one takes its lock, which a thread that the child does not have may hold.
    nothing = os.open(os.devnull, os.O_WRONLY)
    for pipe in list(_kept):
        if not pipe.closed:
            os.dup2(nothing, pipe.fileno(), inheritable=False)
    os.close(nothing)


os.register_at_fork(after_in_child=_let_go)
