"""A worker loop with a function that prepares the process from which its workers are forked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["WarmedLoop", "with_warm_up"]


@dataclass(frozen=True)
class WarmedLoop:
    """A worker loop that can be called as such, and its warm-up.

    Parameters
    ----------
    loop : callable
        Called as ``loop(worker, *args, **kwargs)``.
    warm_up : callable
        Called once as ``warm_up(*args, **kwargs)`` before workers are forked.
    """

    loop: Callable[..., Any]
    warm_up: Callable[..., object]

    @property
    def __name__(self) -> str:
        """The name of the loop, for messages."""
        return getattr(self.loop, "__name__", type(self.loop).__name__)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the loop."""
        return self.loop(*args, **kwargs)


def with_warm_up(
    loop: Callable[..., Any], warm_up: Callable[..., object] | None
) -> Callable[..., Any]:
    """Return a loop to be shipped with its warm-up, if it has one.

    Raises
    ------
    TypeError
        If one of the two cannot be called.
    """
    if warm_up is None:
        return loop
    for name, given in (("loop", loop), ("warm_up", warm_up)):
        if not callable(given):
            raise TypeError(f"{name} must be callable, got {type(given).__name__}")
    return WarmedLoop(loop, warm_up)
