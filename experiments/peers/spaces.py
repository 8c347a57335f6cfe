"""Our spaces in the words of the other packages, each in the way that its documentation shows.

=============  =====================================  =====================================
package        whole number on a logarithmic scale    condition
=============  =====================================  =====================================
Optuna         ``log=True``                           not asked for while inactive
ConfigSpace    ``log=True``                           ``InCondition``
Hyperopt       ``qloguniform`` with steps of one      ``choice`` with a branch per value
=============  =====================================  =====================================
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rush_opt.space import Boolean, Categorical, Condition, Float, Integer, Parameter, Space


def choices_of(parameter: Parameter) -> Sequence[Any]:
    """Return the values of a boolean or a categorical parameter."""
    if isinstance(parameter, Boolean):
        return (False, True)
    if isinstance(parameter, Categorical):
        return parameter.choices
    raise TypeError(
        f"need Float, Integer, Categorical or Boolean, got {parameter!r}; say here how the other "
        "packages write it"
    )


def parent_of(parameter: Parameter) -> tuple[str, tuple[Any, ...]] | None:
    """Return the parent and its values for which a parameter is active; None without condition."""
    condition = Condition.of(parameter.when)
    if condition is None:
        return None
    terms = [term for alternative in condition.alternatives for term in alternative]
    if len(terms) != 1:
        raise ValueError(f"need a condition on one parent, got {parameter.when!r}; choose one")
    return terms[0]


def is_active(parameter: Parameter, config: dict[str, Any]) -> bool:
    """Tell whether a parameter takes part, given those before it that do."""
    condition = Condition.of(parameter.when)
    return condition is None or condition.holds(config)


def suggest(trial: Any, space: Space) -> dict[str, Any]:
    """Ask an Optuna trial for a configuration."""
    config: dict[str, Any] = {}
    for name, parameter in zip(space.names, space.parameters, strict=True):
        if not is_active(parameter, config):
            continue
        if isinstance(parameter, Float):
            value = trial.suggest_float(name, parameter.low, parameter.high, log=parameter.log)
        elif isinstance(parameter, Integer):
            value = trial.suggest_int(name, parameter.low, parameter.high, log=parameter.log)
        else:
            value = trial.suggest_categorical(name, choices_of(parameter))
        config[name] = value
    return config


def to_configspace(space: Space, seed: int) -> Any:
    """Build a `ConfigurationSpace`; choices are written as text."""
    import ConfigSpace as cs  # noqa: N813  # as its documentation imports it

    made: dict[str, Any] = {}
    for name, parameter in zip(space.names, space.parameters, strict=True):
        if isinstance(parameter, Float):
            made[name] = cs.UniformFloatHyperparameter(
                name, parameter.low, parameter.high, log=parameter.log
            )
        elif isinstance(parameter, Integer):
            made[name] = cs.UniformIntegerHyperparameter(
                name, parameter.low, parameter.high, log=parameter.log
            )
        else:
            made[name] = cs.CategoricalHyperparameter(name, list(map(str, choices_of(parameter))))
    target = cs.ConfigurationSpace(seed=seed)
    target.add(*made.values())
    for name, parameter in zip(space.names, space.parameters, strict=True):
        if term := parent_of(parameter):
            parent, values = made[term[0]], term[1]
            written = [str(v) for v in values] if hasattr(parent, "choices") else list(values)
            target.add(cs.InCondition(made[name], parent, written))
    return target


def from_configspace_values(space: Space, values: Mapping[str, Any]) -> dict[str, Any]:
    """Turn the values of a configuration of `to_configspace` back, without inactive ones."""
    config: dict[str, Any] = {}
    for name, parameter in zip(space.names, space.parameters, strict=True):
        if not is_active(parameter, config):
            continue
        value = values[name]
        if isinstance(parameter, Float):
            config[name] = float(min(max(value, parameter.low), parameter.high))
        elif isinstance(parameter, Integer):
            config[name] = int(value)
        else:
            config[name] = next(v for v in choices_of(parameter) if str(v) == str(value))
    return config


def to_hyperopt(space: Space) -> dict[str, Any]:
    """Build a nested space: a parent is a choice whose branches hold its active children."""
    nodes: dict[str, Any] = {}
    # Children stand behind their parents. One node in several branches stays one parameter.
    for name, parameter in reversed(list(zip(space.names, space.parameters, strict=True))):
        nodes[name] = _hyperopt_node(space, name, parameter, nodes)
    pairs = zip(space.names, space.parameters, strict=True)
    return {name: nodes[name] for name, parameter in pairs if parameter.when is None}


def _hyperopt_node(space: Space, name: str, parameter: Parameter, nodes: dict[str, Any]) -> Any:
    from hyperopt import hp

    terms = {child: parent_of(p) for child, p in zip(space.names, space.parameters, strict=True)}
    children = {child: term[1] for child, term in terms.items() if term and term[0] == name}
    if children:
        values: Sequence[Any]
        if isinstance(parameter, Integer):
            values = range(parameter.low, parameter.high + 1)
        else:
            values = choices_of(parameter)
        branches = [
            {"value": value}
            | {child: nodes[child] for child in children if value in children[child]}
            for value in values
        ]
        return hp.choice(name, branches)
    if isinstance(parameter, Float):
        if parameter.log:
            return hp.loguniform(name, math.log(parameter.low), math.log(parameter.high))
        return hp.uniform(name, parameter.low, parameter.high)
    if isinstance(parameter, Integer):
        if parameter.log:
            return hp.qloguniform(name, math.log(parameter.low), math.log(parameter.high), 1)
        return hp.uniformint(name, parameter.low, parameter.high)
    return hp.choice(name, list(choices_of(parameter)))


def from_hyperopt_values(space: Space, nested: dict[str, Any]) -> dict[str, Any]:
    """Flatten a point of `to_hyperopt`."""
    flat: dict[str, Any] = {}

    def visit(values: dict[str, Any]) -> None:
        for name, value in values.items():
            if isinstance(value, dict):
                flat[name] = value["value"]
                visit({key: inner for key, inner in value.items() if key != "value"})
            else:
                flat[name] = value

    visit(nested)
    return from_configspace_values(space, flat)
