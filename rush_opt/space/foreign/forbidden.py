"""Forbidden clauses of ConfigSpace as constraints, which pickle and do not need ConfigSpace."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from rush_opt.space.constraint import Config

__all__ = ["Allowed", "Among", "Clause", "Compared", "Joined", "Related"]


@dataclass(frozen=True)
class Among:
    """The named parameter is active and has one of the values."""

    name: str
    values: tuple[Any, ...]

    def __call__(self, config: Config) -> bool:
        """Tell whether that is so in a configuration."""
        return self.name in config and config[self.name] in self.values


@dataclass(frozen=True)
class Compared:
    """The named parameter is active and compares so with a value."""

    name: str
    compare: Callable[[Any, Any], bool]
    value: Any

    def __call__(self, config: Config) -> bool:
        """Tell whether that is so in a configuration."""
        return self.name in config and self.compare(config[self.name], self.value)


@dataclass(frozen=True)
class Related:
    """Two parameters are active and compare so with each other."""

    left: str
    compare: Callable[[Any, Any], bool]
    right: str

    def __call__(self, config: Config) -> bool:
        """Tell whether that is so in a configuration."""
        both = self.left in config and self.right in config
        return both and self.compare(config[self.left], config[self.right])


@dataclass(frozen=True)
class Joined:
    """All, or any, of several clauses hold."""

    combine: Callable[[Iterable[bool]], bool]
    clauses: tuple[Clause, ...]

    def __call__(self, config: Config) -> bool:
        """Tell whether that is so in a configuration."""
        return self.combine(clause(config) for clause in self.clauses)


Clause = Among | Compared | Related | Joined


@dataclass(frozen=True)
class Allowed:
    """The constraint that something is not so. It pickles, and needs no ConfigSpace."""

    forbidden: Clause

    def __call__(self, config: Config) -> bool:
        """Tell whether a configuration is allowed."""
        return not self.forbidden(config)
