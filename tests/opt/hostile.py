"""What objectives may raise and return that is hard for a worker to handle."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn


class OwnError(BaseException):
    """An exception that is no `Exception`."""


class UnreadableError(Exception):
    """An exception without a text."""

    def __str__(self) -> str:
        raise OwnError


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


def throw(error: BaseException) -> NoReturn:
    raise error


def nested(depth: int) -> list[Any]:
    """Return a list in a list in a list."""
    inner: list[Any] = []
    for _ in range(depth):
        inner = [inner]
    return inner


# What an objective does, and a pattern that is found in the error of its trial.
HOSTILE: dict[str, tuple[Callable[[], Any], str]] = {
    "KeyboardInterrupt": (lambda: throw(KeyboardInterrupt("mine")), "KeyboardInterrupt: mine"),
    "GeneratorExit": (lambda: throw(GeneratorExit("mine")), "GeneratorExit: mine"),
    "own exception": (lambda: throw(OwnError("mine")), "OwnError: mine"),
    "group": (lambda: throw(BaseExceptionGroup("mine", [OwnError("in it")])), "OwnError: in it"),
    "no text": (lambda: throw(UnreadableError()), "UnreadableError"),
    "long text": (lambda: throw(ValueError("long " * 10**7)), "characters are left out"),
    "nested result": (lambda: {"value": 0.5, "model": nested(5_000)}, "nested|cannot be sent"),
    "nested value": (lambda: nested(100_000), ""),
    "mapping": (Broken, ""),
    "repr": (lambda: {"value": 0.5, "model": Shy()}, "'model'"),
    "repr of value": (Shy, "Shy"),
    "number": (NoNumber, "no number"),
    "large": (lambda: {"value": 0.5, "model": bytes(600 * 10**6)}, "600,000,"),
}
