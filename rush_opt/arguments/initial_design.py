"""The argument `initial_design`: which configurations are evaluated first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any, cast

from rush_opt.evaluation.plan import RunPlan
from rush_opt.optimizers.base import ListingOptimizer, Optimizer, ProposingOptimizer
from rush_opt.problem.problem import Problem
from rush_opt.search.design import Design, new_rows, sobol_design
from rush_opt.space import Space

__all__ = ["initial_points", "initial_points_of"]

Given = int | Sequence[Mapping[str, Any]] | Design | None
Configs = Sequence[Mapping[str, Any]]


def initial_points(
    given: Given,
    problem: Problem,
    optimizer: Optimizer,
    *,
    n_workers: int,
    n_trials: int | None,
    known: Configs = (),
) -> list[dict[str, Any]]:
    """Return the configurations to evaluate first: at most `n_trials` of them.

    Drawn points are neither known nor equal to each other. Given configurations are not changed.
    For a listing optimizer, return all of its points that are not known, also more than `n_trials`.
    Points that exceed the budget wait in the queue for a later run.

    Parameters
    ----------
    given : int, sequence of mappings, Design or None
        The argument. None for the number of points that the optimizer's rule gives; known
        configurations count among them.
    problem : Problem
    optimizer : Optimizer
    n_workers : int
    n_trials : int or None
    known : sequence of mappings
        Configurations that were evaluated before.

    Raises
    ------
    TypeError, ValueError
        If it cannot be used with this problem or optimizer.
    """
    space = problem.space
    if optimizer.placement == "listed":
        if given is not None:
            raise ValueError(
                "a grid search evaluates its grid and nothing else, got initial_design="
                f"{given!r:.80}; remove it, or use another optimizer with initial_design=Grid(...)"
            )
        return cast(ListingOptimizer, optimizer).points(problem, known)
    if isinstance(given, Design):
        X = given.draw(space, problem.design_rng())
        return space.decode(new_rows(X, space, known)[:n_trials])
    if isinstance(given, Sequence) and not isinstance(given, str):
        for i, config in enumerate(given):
            _check_config(f"initial_design[{i}]", config, space)
        return [dict(config) for config in given][:n_trials]
    if given is None:
        rule = cast(ProposingOptimizer, optimizer).n_initial
        n = max(rule(space.n_dims, n_workers) - len(known), 0)
    else:
        n = _check_n_points(given)
    n = n if n_trials is None else min(n, n_trials)
    # With the seed of an earlier run, the design begins with the points of that run. So draw more
    # points, so that enough of them are new.
    X = sobol_design(space, n + len(known) if n else 0, problem.design_rng())
    return space.decode(new_rows(X, space, known)[:n])


def initial_points_of(
    plan: RunPlan, given: Given, known: Sequence[tuple[dict[str, Any], dict[str, Any]]]
) -> list[dict[str, Any]]:
    """Return the configurations that a run evaluates first; see `initial_points`."""
    return initial_points(
        given,
        plan.problem,
        plan.optimizer,
        n_workers=plan.n_workers,
        n_trials=plan.n_trials,
        known=[config for config, _ in known],
    )


def _check_n_points(given: object) -> int:
    if isinstance(given, bool) or not isinstance(given, Integral):
        raise TypeError(
            "initial_design must be a number of points, a sequence of configurations, a design "
            f"such as LatinHypercube(40) or None, got {given!r:.80}"
        )
    if given < 0:
        raise ValueError(f"initial_design must not be negative, got {given}")
    return int(given)


def _check_config(name: str, config: object, space: Space) -> None:
    if not isinstance(config, Mapping):
        raise TypeError(
            f"{name} must be a mapping of parameter names to values, got {config!r:.80}"
        )
    try:
        space.validate(config)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
