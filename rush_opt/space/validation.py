"""The problems of a configuration, as text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rush_opt.space.choice import Constant
from rush_opt.space.condition import Condition
from rush_opt.space.constraint import Config
from rush_opt.space.parameter import Parameter

__all__ = ["Validator", "check_name"]


def check_name(name: str) -> None:
    """Check that a name can be sent to a server.

    Raises
    ------
    ValueError
        If it is no text that can be written as UTF-8.
    """
    try:
        name.encode()
    except UnicodeEncodeError:
        raise ValueError(
            f"the name {name!r} cannot be written as UTF-8: it contains a part of a character; "
            "choose another name"
        ) from None


class Validator:
    """Checks configurations name by name; it does not check constraints.

    Parameters
    ----------
    names : sequence of str
        Names of all parameters.
    parameters : sequence of Parameter
        In the same order.
    order : sequence of str
        All names, parents before children.
    """

    def __init__(
        self, names: Sequence[str], parameters: Sequence[Parameter], order: Sequence[str]
    ) -> None:
        self._parameters = dict(zip(names, parameters, strict=True))
        self._order = order

    def active_part(self, config: Config) -> dict[str, Any]:
        """Return the active parameters of a configuration, parents first."""
        active: dict[str, Any] = {}
        for name in self._order:
            condition = self._condition(name)
            if name in config and (condition is None or condition.holds(active)):
                active[name] = config[name]
        return active

    def problems(self, config: Config) -> list[str]:
        """Return all problems of a configuration."""
        unknown = [f"unknown parameter {name!r}" for name in config if name not in self._parameters]
        active = self.active_part(config)
        inactive = [
            f"parameter {name!r} is active only when {self._condition(name)}, got {config[name]!r}"
            for name in self._parameters
            if name in config and name not in active
        ]
        return unknown + self._problems_with(active, config) + inactive

    def refuse(self, problems: Sequence[str]) -> None:
        """Raise a ValueError with these problems, if there are any."""
        if problems:
            raise ValueError(
                "; ".join(problems) + f"; the space has the parameters {list(self._parameters)!r}"
            )

    def explain(self, configs: Sequence[Config]) -> None:
        """Raise an error that says why one of these could not be encoded.

        Only parameters that are active and searched count; the others have no coordinate.
        """
        fixed = {n: p.value for n, p in self._parameters.items() if isinstance(p, Constant)}
        for config in configs:
            known = {name: value for name, value in config.items() if name in self._parameters}
            searched = known | fixed
            self.refuse(self._problems_with(self.active_part(searched), searched))

    def _problems_with(self, active: Config, config: Config) -> list[str]:
        """Return the problems of active parameters, in the order of the names."""
        problems = []
        for name, parameter in self._parameters.items():
            if name in active:
                if problem := parameter.problem_with(active[name]):
                    problems.append(f"parameter {name!r} {problem}, got {active[name]!r}")
            elif name not in config:
                condition = self._condition(name)
                if condition is None or condition.holds(active):
                    problems.append(f"parameter {name!r} is missing")
        return problems

    def _condition(self, name: str) -> Condition | None:
        return Condition.of(self._parameters[name].when)
