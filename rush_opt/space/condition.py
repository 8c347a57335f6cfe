"""Conditions: a parameter is active only for some values of other parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Term = tuple[str, tuple[Any, ...]]
Alternative = tuple[Term, ...]


@dataclass(frozen=True, repr=False)
class Condition:
    """A parameter is active if at least one of several alternatives holds.

    Usually a condition is written as ``when=`` of a parameter, and not with this class.
    ``when={"booster": ["dart", "gbdt"]}`` is one alternative. It holds if every parameter named in
    it is active and has one of the values. ``when=[{"booster": "dart"}, {"linear": True}]`` is two
    alternatives; one of them is enough.

    Parameters
    ----------
    alternatives : tuple of alternatives
        Each is a tuple of pairs of a parent's name and its values. All pairs must hold.
    """

    alternatives: tuple[Alternative, ...]

    @classmethod
    def of(cls, when: When) -> Condition | None:
        """Return the condition that the argument ``when`` of a parameter describes.

        Parameters
        ----------
        when : mapping, sequence of mappings, Condition or None
            Parent's name to its value or list of values; None if there is no condition.

        Raises
        ------
        TypeError
            If it is none of these. If values are a set: its order differs between processes.
        ValueError
            If there is no alternative, or one without a parent, or a parent without a value.
        """
        if when is None or isinstance(when, Condition):
            return when
        alternatives = [when] if isinstance(when, Mapping) else when
        if (
            isinstance(alternatives, str)
            or not isinstance(alternatives, Sequence)
            or not all(isinstance(alternative, Mapping) for alternative in alternatives)
        ):
            raise TypeError(
                "when needs a mapping of a parameter's name to its values, or a list of such "
                f"mappings of which one must hold, got {when!r}; e.g. when={{'booster': ['dart']}}"
            )
        if not all(alternatives) or not alternatives:
            raise ValueError(
                f"when needs at least one parameter, got {when!r}; leave it out if there is none"
            )
        return cls(
            tuple(
                tuple((_name(name), _values(name, values)) for name, values in alternative.items())
                for alternative in alternatives
            )
        )

    @property
    def parents(self) -> list[str]:
        """Names of the parameters that the condition is on, each once."""
        return list(dict.fromkeys(name for terms in self.alternatives for name, _ in terms))

    def holds(self, config: Mapping[str, Any]) -> bool:
        """Return whether the condition holds in a configuration without inactive parameters."""
        return any(
            all(name in config and config[name] in values for name, values in terms)
            for terms in self.alternatives
        )

    def to_plain(self) -> list[dict[str, list[Any]]]:
        """Return the condition as a list of mappings, which `of` reads."""
        return [{name: list(values) for name, values in terms} for terms in self.alternatives]

    def __str__(self) -> str:
        return " or ".join(
            " and ".join(
                f"{name} in {list(values)!r}" if len(values) > 1 else f"{name} = {values[0]!r}"
                for name, values in terms
            )
            for terms in self.alternatives
        )

    def __repr__(self) -> str:
        """Return the condition as it is written after ``when=``."""
        plain = self.to_plain()
        return repr(plain[0] if len(plain) == 1 else plain)


When = Condition | Mapping[str, Any] | Sequence[Mapping[str, Any]] | None


def _name(name: object) -> str:
    if not isinstance(name, str):
        raise TypeError(f"when needs names of parameters as keys, got {name!r}; quote it")
    return name


def _values(name: object, values: object) -> tuple[Any, ...]:
    if isinstance(values, set | frozenset):
        raise TypeError(f"when needs a value or a list of values of {name!r}, got {values!r}")
    if isinstance(values, str) or not isinstance(values, Sequence | np.ndarray):
        values = (values,)
    if not len(values):
        raise ValueError(
            f"when needs a value of {name!r}, got none; "
            "give the values for which the parameter is active"
        )
    return tuple(value.item() if isinstance(value, np.generic) else value for value in values)
