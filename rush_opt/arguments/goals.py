"""The arguments `metric` and `direction`: the goals of a run."""

from __future__ import annotations

from typing import Any, cast, get_args

from rush_opt.problem.goal import Direction, Goal

__all__ = ["make_goals"]


def make_goals(metric: object, direction: object) -> tuple[Goal, ...]:
    """Return the goals, each with a name from `metric` and a direction from `direction`.

    Raises
    ------
    TypeError, ValueError
        If there are more names than directions or fewer, a name is given twice, or a direction is
        unknown.
    """
    metrics, directions = _as_list(metric), _as_list(direction)
    for name in metrics:
        if not isinstance(name, str) or not name:
            raise TypeError(
                "metric must be the name of a result, or a list of several, one per objective, got "
                f"{metric!r:.80}"
            )
    if len(set(metrics)) < len(metrics):
        raise ValueError(f"metric must name each objective once, got {metric!r:.80}")
    for each in directions:
        if each not in get_args(Direction):
            raise ValueError(
                "direction must be 'minimize' or 'maximize', or a list of these for several "
                f"objectives, got {direction!r:.80}"
            )
    if len(metrics) != len(directions):
        raise ValueError(
            f"need a metric for each direction, got metric={metric!r:.80} and "
            f"direction={direction!r:.80}; several objectives are given as "
            "metric=['error', 'recall'], direction=['minimize', 'maximize']"
        )
    pairs = zip(metrics, directions, strict=True)
    return tuple(Goal(name, cast(Direction, each)) for name, each in pairs)


def _as_list(value: object) -> list[Any]:
    """Return the values of a sequence; return any other value in a list of one."""
    return list(value) if isinstance(value, list | tuple) and value else [value]
