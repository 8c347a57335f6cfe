"""Two functions for what the type checker cannot know of a test."""

from __future__ import annotations

from typing import Any, TypeVar

T = TypeVar("T")


def present(value: T | None) -> T:
    """Return a value that must be there; the test fails if it is None."""
    assert value is not None
    return value


def unchecked(value: object) -> Any:
    """Return `value` without its type: an argument that the type forbids and the test is about."""
    return value
