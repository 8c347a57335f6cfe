"""Forbidden clauses of ConfigSpace as constraints that can be pickled without ConfigSpace."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from rush_opt.space.constraint import Config

__all__ = ["Allowed", "Among", "Clause", "Compared", "Joined", "Related"]


@dataclass(frozen=True)
class Among:
    """The parameter is active and has one of the values."""

    name: str
    values: tuple[Any, ...]

    def __call__(self, config: Config) -> bool:
        """Return whether the clause holds in a configuration."""
        return self.name in config and config[self.name] in self.values


@dataclass(frozen=True)
class Compared:
    """The parameter is active, and the comparison of its value with another value holds."""

    name: str
    compare: Callable[[Any, Any], bool]
    value: Any

    def __call__(self, config: Config) -> bool:
        """Return whether the clause holds in a configuration."""
        return self.name in config and self.compare(config[self.name], self.value)


@dataclass(frozen=True)
class Related:
    """Both parameters are active, and the comparison of their values holds."""

    left: str
    compare: Callable[[Any, Any], bool]
    right: str

    def __call__(self, config: Config) -> bool:
        """Return whether the clause holds in a configuration."""
        both = self.left in config and self.right in config
        return both and self.compare(config[self.left], config[self.right])


@dataclass(frozen=True)
class Joined:
    """All of several clauses hold, or any of them (`combine` is `all` or `any`)."""

    combine: Callable[[Iterable[bool]], bool]
    clauses: tuple[Clause, ...]

    def __call__(self, config: Config) -> bool:
        """Return whether the clause holds in a configuration."""
        return self.combine(clause(config) for clause in self.clauses)


Clause = Among | Compared | Related | Joined


@dataclass(frozen=True)
class Allowed:
    """The constraint that a forbidden clause does not hold."""

    forbidden: Clause

    def __call__(self, config: Config) -> bool:
        """Return whether a configuration is allowed."""
        return not self.forbidden(config)
