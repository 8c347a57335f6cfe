"""Objectives that raise what is hard to show, to store or to catch."""

from __future__ import annotations

import asyncio
import bdb
import threading
import warnings
from collections.abc import Callable
from typing import Any, NoReturn

from experiments.hostile_objectives.case import Case, Expected, fails

__all__ = ["CASES", "OwnError"]


class OwnError(BaseException):
    """An exception that is no `Exception`."""


class NoTextError(Exception):
    """An exception without a text."""

    def __str__(self) -> str:
        raise OwnError


class InterruptingTextError(Exception):
    """An exception whose text interrupts."""

    def __str__(self) -> str:
        raise KeyboardInterrupt


class NoReprError(Exception):
    """An exception that cannot be shown or pickled."""

    def __repr__(self) -> str:
        raise OwnError

    def __reduce__(self) -> NoReturn:
        raise OwnError


class NoAttributesError(Exception):
    """An exception that refuses to be looked at."""

    def __getattribute__(self, name: str) -> Any:
        raise OwnError(name)


def throw(error: BaseException) -> NoReturn:
    raise error


def overflow(depth: int = 0) -> int:
    return overflow(depth + 1)


def raise_from_itself() -> None:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    raise first


def raise_from_a_thousand() -> None:
    error = ValueError("0")
    for i in range(1, 1000):
        new = ValueError(str(i))
        new.__cause__ = error
        error = new
    raise error


def raise_in_finally() -> None:
    try:
        raise ValueError("first")
    finally:
        raise KeyError("second")


def raise_with_notes(notes: object) -> None:
    error = ValueError("noted")
    error.__notes__ = notes  # type: ignore[assignment]
    raise error


def nested_group(depth: int) -> BaseException:
    error: BaseException = OwnError("in it")
    for _ in range(depth):
        error = BaseExceptionGroup("mine", [error])
    return error


def warn_as_error() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.warn("mine", RuntimeWarning, stacklevel=1)


def _case(procedure: Callable[[], object], expected: Expected) -> Case:
    return Case(lambda x, trial: procedure(), *expected)


CASES = {
    name: _case(procedure, fails(pattern))
    for name, procedure, pattern in (
        ("ValueError", lambda: throw(ValueError("mine")), "ValueError: mine"),
        ("KeyboardInterrupt", lambda: throw(KeyboardInterrupt("mine")), "KeyboardInterrupt: mine"),
        ("SystemExit 0", lambda: throw(SystemExit(0)), "SystemExit: 0"),
        ("SystemExit text", lambda: throw(SystemExit("mine")), "SystemExit: mine"),
        ("GeneratorExit", lambda: throw(GeneratorExit("mine")), "GeneratorExit: mine"),
        ("own exception", lambda: throw(OwnError("mine")), "OwnError: mine"),
        ("group", lambda: throw(BaseExceptionGroup("mine", [OwnError("in it")])), "in it"),
        ("deep group", lambda: throw(nested_group(200)), "mine"),
        ("no text", lambda: throw(NoTextError()), "NoTextError"),
        ("text that interrupts", lambda: throw(InterruptingTextError()), "InterruptingTextError"),
        ("no repr, no pickle", lambda: throw(NoReprError("mine")), "NoReprError"),
        ("no attributes", lambda: throw(NoAttributesError("mine")), "NoAttributesError|OwnError"),
        ("long text", lambda: throw(ValueError("long " * 10**7)), "characters are left out"),
        ("control characters", lambda: throw(ValueError("\x1b[2J\0\r")), "ValueError"),
        ("half a character", lambda: throw(ValueError("\ud800")), "ValueError"),
        ("endless recursion", overflow, "RecursionError"),
        ("StopIteration", lambda: throw(StopIteration(0.5)), "StopIteration"),
        ("cancelled", lambda: throw(asyncio.CancelledError()), "CancelledError"),
        ("MemoryError", lambda: throw(MemoryError("mine")), "MemoryError: mine"),
        ("BdbQuit", lambda: throw(bdb.BdbQuit()), "BdbQuit"),
        ("caused by itself", raise_from_itself, "ValueError: second"),
        ("a thousand causes", raise_from_a_thousand, "ValueError: 999|recursion|Recursion"),
        ("in finally", raise_in_finally, "KeyError: 'second'"),
        ("notes that are none", lambda: raise_with_notes(5), "noted"),
        ("with a lock", lambda: throw(ValueError(threading.Lock())), "ValueError: <unlocked"),
        ("warning as error", warn_as_error, "RuntimeWarning: mine"),
        ("failed assertion", lambda: throw(AssertionError()), "AssertionError"),
    )
}
