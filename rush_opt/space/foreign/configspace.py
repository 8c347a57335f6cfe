"""ConfigSpace's `ConfigurationSpace` as a space."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from functools import reduce
from itertools import product
from typing import TYPE_CHECKING, Any

from rush_opt.space.choice import Categorical, Constant, Ordinal
from rush_opt.space.condition import When
from rush_opt.space.foreign.forbidden import Allowed, Among, Clause, Compared, Joined, Related
from rush_opt.space.numeric import Float, Integer
from rush_opt.space.parameter import Parameter
from rush_opt.space.search_space import Space

if TYPE_CHECKING:
    from ConfigSpace import ConfigurationSpace

__all__ = ["from_configspace"]

# A comparison with a parent becomes a list of the values for which it holds, at most this many.
_MAX_VALUES = 1_000

# Alternatives of a condition, each with the values that every named parent may have.
_Alternatives = list[dict[str, list[Any]]]

_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "Equals": operator.eq,
    "LessThan": operator.lt,
    "LessThanEquals": operator.le,
    "GreaterThan": operator.gt,
    "GreaterThanEquals": operator.ge,
}


def from_configspace(space: ConfigurationSpace) -> Space:
    """Build a space from a `ConfigurationSpace`.

    Conditions become ``when=``, and forbidden clauses become constraints. A clause about an
    inactive parameter forbids nothing. Default values are dropped, since a space has none. The
    default configuration, ``dict(space.get_default_configuration())``, is valid in the new space
    and can be part of an initial design.

    Parameters
    ----------
    space : ConfigSpace.ConfigurationSpace

    Raises
    ------
    ValueError
        If it has weights, a distribution that is not uniform, a condition on a continuous
        parameter, or a condition on a parameter with more than 1,000 values.
    """
    conditions: dict[str, _Alternatives] = {}
    for condition in space.conditions:
        child, alternatives = _child_of(condition), _alternatives(condition)
        before = conditions.get(child, [{}])
        conditions[child] = _all_hold([before, alternatives])
    parameters = {
        parameter.name: _of_hyperparameter(parameter, conditions.get(parameter.name))
        for parameter in space.values()
    }
    return Space(parameters, constraints=[Allowed(_forbidden(c)) for c in space.forbidden_clauses])


def _of_hyperparameter(given: Any, when: When) -> Parameter:
    """Return a hyperparameter of ConfigSpace as a parameter."""
    import ConfigSpace

    if when is not None and not when:
        raise ValueError(
            f"parameter {given.name!r} needs a condition that can hold, but its conditions exclude "
            "each other; leave it out"
        )
    if isinstance(given, ConfigSpace.UniformFloatHyperparameter):
        return Float(given.lower, given.upper, log=given.log, when=when)
    if isinstance(given, ConfigSpace.UniformIntegerHyperparameter):
        return Integer(given.lower, given.upper, log=given.log, when=when)
    if isinstance(given, ConfigSpace.OrdinalHyperparameter) and len(given.sequence) > 1:
        return Ordinal(given.sequence, when=when)
    if isinstance(given, ConfigSpace.CategoricalHyperparameter) and _is_uniform(given):
        return Categorical(given.choices, when=when)
    if isinstance(given, ConfigSpace.Constant | ConfigSpace.OrdinalHyperparameter):
        return Constant(given.default_value, when=when)
    raise ValueError(
        f"parameter {given.name!r} needs a uniform distribution without weights, got {given!r}; "
        "all parts of a range have the same weight here, so give its bounds only"
    )


def _is_uniform(categorical: Any) -> bool:
    """Return whether all choices have the same weight."""
    return categorical.weights is None or len(set(categorical.weights)) == 1


def _components(condition: Any) -> list[Any]:
    """Return the parts of a conjunction or disjunction; none of anything else."""
    return list(getattr(condition, "components", ()))


def _child_of(condition: Any) -> str:
    """Return the name of the parameter that has the condition."""
    while parts := _components(condition):
        condition = parts[0]
    return str(condition.child.name)


def _alternatives(condition: Any) -> _Alternatives:
    """Return a condition in disjunctive normal form."""
    import ConfigSpace

    parts = [_alternatives(part) for part in _components(condition)]
    if isinstance(condition, ConfigSpace.AndConjunction):
        return _all_hold(parts)
    if isinstance(condition, ConfigSpace.OrConjunction):
        return [alternative for part in parts for alternative in part]
    parent = condition.parent
    allowed = [v for v in _values_of(parent) if condition.satisfied_by_value({parent.name: v})]
    return [{parent.name: allowed}] if allowed else []


def _all_hold(parts: Iterable[_Alternatives]) -> _Alternatives:
    """Return the alternatives of a conjunction of conditions, without contradictory ones."""
    nothing: dict[str, list[Any]] = {}
    merged = [reduce(_both, choice, nothing) for choice in product(*parts)]
    return [alternative for alternative in merged if all(alternative.values())]


def _both(first: dict[str, list[Any]], second: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """Return the values that two conjunctions both allow."""
    common = {
        name: [value for value in values if value in first.get(name, values)]
        for name, values in second.items()
    }
    return first | common


def _values_of(parent: Any) -> list[Any]:
    """Return the values of the parent of a condition."""
    import ConfigSpace

    if isinstance(parent, ConfigSpace.CategoricalHyperparameter):
        return list(parent.choices)
    if isinstance(parent, ConfigSpace.OrdinalHyperparameter):
        return list(parent.sequence)
    if (
        isinstance(parent, ConfigSpace.UniformIntegerHyperparameter)
        and parent.upper - parent.lower < _MAX_VALUES
    ):
        return list(range(parent.lower, parent.upper + 1))
    raise ValueError(
        f"a condition needs a parent with countable values, at most {_MAX_VALUES:,}, got "
        f"{parent!r}; add a categorical parameter that says when its children are active"
    )


def _forbidden(clause: Any) -> Clause:
    """Return a forbidden clause of ConfigSpace as one of ours."""
    import ConfigSpace

    if parts := _components(clause):
        either = isinstance(clause, ConfigSpace.ForbiddenOrConjunction)
        return Joined(any if either else all, tuple(map(_forbidden, parts)))
    if isinstance(clause, ConfigSpace.ForbiddenInClause):
        return Among(clause.hyperparameter.name, tuple(clause.values))
    kind = type(clause).__name__.removeprefix("Forbidden")
    if kind.endswith("Relation"):
        compare = _COMPARISONS[kind.removesuffix("Relation")]
        return Related(clause.left.name, compare, clause.right.name)
    parent = clause.hyperparameter
    if isinstance(parent, ConfigSpace.OrdinalHyperparameter):
        forbidden = [v for v in parent.sequence if clause.is_forbidden_value({parent.name: v})]
        return Among(parent.name, tuple(forbidden))
    return Compared(parent.name, _COMPARISONS[kind.removesuffix("Clause")], clause.value)
