"""Objectives that return what is no value, or no value that can be stored."""

from __future__ import annotations

import math
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any, NoReturn

from experiments.hostile_objectives.case import FINE, Case, Expected, Outcome, fails
from experiments.hostile_objectives.raising import OwnError

__all__ = ["CASES"]


class Shy:
    """A value that cannot be shown."""

    def __repr__(self) -> str:
        raise OwnError("no text")


class Broken(Mapping[str, float]):
    """A mapping none of whose methods can be called."""

    def __getitem__(self, name: str) -> float:
        raise OwnError("no item")

    def __iter__(self) -> Iterator[str]:
        raise OwnError("no names")

    def __len__(self) -> int:
        raise OwnError("no length")


class NoNumber:
    """A value that ends what wants it as a number."""

    def __float__(self) -> float:
        raise KeyboardInterrupt("no number")


class TextAsNumber:
    """A value whose number is a text."""

    def __float__(self) -> float:
        return "0.5"  # type: ignore[return-value]


class NoPickle:
    """A value that cannot be sent to another process."""

    def __reduce__(self) -> NoReturn:
        raise OwnError("no pickle")


class ExitsWhenLoaded:
    """A value that ends the process that unpickles it."""

    def __reduce__(self) -> Any:
        return os._exit, (9,)


class NoClass:
    """A value that does not tell its class."""

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        raise OwnError("no class")


class Number(float):
    """A number of a class of its own."""


async def coroutine() -> float:
    return 0.5


def nested(depth: int) -> list[Any]:
    """Return a list in a list in a list."""
    inner: list[Any] = []
    for _ in range(depth):
        inner = [inner]
    return inner


def itself() -> dict[str, Any]:
    """Return a mapping that has itself in it."""
    result: dict[str, Any] = {"value": 0.5}
    result["me"] = result
    return result


def array(value: object) -> Any:
    import numpy as np

    return np.array(value)


def unawaited() -> Any:
    """Return a coroutine that is never awaited, and that causes no warning."""
    made = coroutine()
    made.close()
    return made


def _case(value: Callable[[], object], expected: Expected) -> Case:
    return Case(lambda x, trial: value(), *expected)


# The error of a trial whose value is no number, or whose extras cannot be stored.
_NO_NUMBER = "must return a number|no number|must return a mapping"
_ANY = ""

CASES = {
    name: _case(value, expected)
    for name, value, expected in (
        ("None", lambda: None, fails(_NO_NUMBER)),
        ("text", lambda: "0.5", fails(_NO_NUMBER)),
        ("bytes", lambda: b"0.5", fails(_NO_NUMBER)),
        ("NaN", lambda: math.nan, fails("returned nan")),
        ("infinity", lambda: -math.inf, fails("returned -inf")),
        ("truth value", lambda: True, fails(_NO_NUMBER)),
        ("complex number", lambda: 1j, fails(_NO_NUMBER)),
        ("list", lambda: [0.5], fails(_NO_NUMBER)),
        ("empty mapping", dict, fails("has no 'value'")),
        ("other name", lambda: {"loss": 0.5}, fails("has no 'value'")),
        ("value None", lambda: {"value": None}, fails(_NO_NUMBER)),
        ("names are numbers", lambda: {1: 0.5}, fails("has no 'value'")),
        ("one name is a number", lambda: {"value": 0.5, 1: 2}, fails(_ANY)),
        ("function", lambda: len, fails(_NO_NUMBER)),
        ("generator", lambda: (i for i in range(3)), fails(f"{_NO_NUMBER}|cannot be sent")),
        ("coroutine", unawaited, fails(f"{_NO_NUMBER}|cannot be sent")),
        ("module", lambda: sys, fails(_NO_NUMBER)),
        ("error", lambda: ValueError("mine"), fails(_NO_NUMBER)),
        ("class", lambda: float, fails(_ANY)),
        ("huge number", lambda: 10**400, fails("no number|too large")),
        ("array of two", lambda: array([0.5, 1.0]), fails(_ANY)),
        ("array of text", lambda: array("0.5"), fails(_NO_NUMBER)),
        ("lock beside it", lambda: {"value": 0.5, "model": threading.Lock()}, fails(_ANY)),
        ("file beside it", lambda: {"value": 0.5, "file": sys.stdout}, fails(_ANY)),
        ("nested result", lambda: {"value": 0.5, "m": nested(5_000)}, fails("nested|cannot be")),
        ("nested value", lambda: nested(100_000), fails(_ANY)),
        ("mapping in itself", itself, fails(_ANY)),
        ("broken mapping", Broken, fails(_ANY)),
        ("no repr beside it", lambda: {"value": 0.5, "model": Shy()}, fails("'model'")),
        ("no repr", Shy, fails("Shy")),
        ("interrupting number", NoNumber, fails("no number")),
        ("text as number", TextAsNumber, fails("no number")),
        ("no pickle", NoPickle, fails(f"{_NO_NUMBER}|cannot be sent")),
        ("no class", NoClass, fails(_ANY)),
        ("half a character", lambda: {"value": 0.5, "text": "\ud800"}, fails(_ANY)),
        ("600 MB", lambda: {"value": 0.5, "m": bytes(600 * 10**6)}, fails("600,000,|memory")),
        ("Decimal", lambda: Decimal("0.5"), FINE),
        ("fraction", lambda: Fraction(1, 2), FINE),
        ("array without axes", lambda: array(0.5), FINE),
        ("own number", lambda: Number(0.5), FINE),
        (
            "100,000 names",
            lambda: {"value": 0.5, **dict.fromkeys(map(str, range(10**5)), 1)},
            FINE,
        ),
    )
} | {
    "exits when loaded": Case(
        lambda x, trial: ExitsWhenLoaded(),
        Outcome("failed", _NO_NUMBER),
        Outcome("lost", "exit code 9"),
        n_together=1,
    )
}
