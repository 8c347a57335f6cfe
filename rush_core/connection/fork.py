"""What a process and the children that it forks must not share: sockets, pipes, locks, names.

A forked child has copies of all objects of its parent, and of the parent's sockets and pipes the
very same. Where they must not be used on both sides, they are made anew or let go in the child
before anything runs in it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import IO, Any, TypeVar
from weakref import WeakKeyDictionary

__all__ = ["keep_from_children", "renew_in_child"]

T = TypeVar("T")

_renewals: WeakKeyDictionary[Any, Callable[[Any], None]] = WeakKeyDictionary()


def renew_in_child(owner: T, renew: Callable[[T], None]) -> None:
    """Call ``renew(owner)`` first in each child that is forked while `owner` lives."""
    _renewals[owner] = renew


def keep_from_children(pipe: IO[bytes] | None) -> None:
    """Let no child that is forked from now on hold `pipe` open.

    Who reads from it learns by its end that its owner is gone. An idle process pool outlives its
    owner, and with a copy of the pipe the reader would wait for it for ever.
    """
    assert pipe is not None
    renew_in_child(pipe, _let_go)


def _let_go(pipe: IO[bytes]) -> None:
    if not pipe.closed:
        # Closing it takes its lock, which a thread that the child does not have may hold.
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, pipe.fileno(), inheritable=False)
        os.close(nothing)


def _renew_all() -> None:
    for owner, renew in list(_renewals.items()):
        renew(owner)


os.register_at_fork(after_in_child=_renew_all)
