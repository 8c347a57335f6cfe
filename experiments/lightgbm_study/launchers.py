"""Where the workers run: what `--launcher` means for `tune()`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

LAUNCHERS = ("local",)


@contextmanager
def launching(launcher: str) -> Iterator[dict[str, Any]]:
    """Yield the arguments of `tune` that start workers this way."""
    yield {}
