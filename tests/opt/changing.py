"""Results with changed records, for tests that make results by hand."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from rush_opt import TuneResult
from rush_opt.problem.goal import Direction, Goal


def changed(result: TuneResult, **changes: Any) -> TuneResult:
    """Return a result with these fields of its record replaced."""
    return TuneResult(replace(result.record, **changes))


def goals(names: str | Iterable[str], *directions: Direction) -> tuple[Goal, ...]:
    """Return goals with these names, each with its direction."""
    names = [names] if isinstance(names, str) else names
    return tuple(Goal(name, direction) for name, direction in zip(names, directions, strict=True))
