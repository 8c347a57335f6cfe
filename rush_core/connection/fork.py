"""Keep apart what a process and its forked children must not share: sockets, pipes, locks, names.

A forked child has copies of all objects of its parent, but the same sockets and pipes. What only
one of the two may use is renewed or closed in the child, before any other code runs there.
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
    """Call ``renew(owner)`` in each child that is forked while `owner` exists."""
    _renewals[owner] = renew


def keep_from_children(pipe: IO[bytes] | None) -> None:
    """Close `pipe` in each child that is forked from now on.

    A process that reads from the pipe sees its end when the owner dies. A child with a copy of the
    pipe, such as a process of an idle pool, would hide this end.
    """
    assert pipe is not None
    renew_in_child(pipe, _close_copy)


def _close_copy(pipe: IO[bytes]) -> None:
    if not pipe.closed:
        # `pipe.close` would take a lock that a thread of the parent may hold. So its descriptor is
        # replaced instead.
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, pipe.fileno(), inheritable=False)
        os.close(nothing)


def _renew_all() -> None:
    for owner, renew in list(_renewals.items()):
        renew(owner)


os.register_at_fork(after_in_child=_renew_all)
