"""A parameter that is searched on one scale and used on another."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rush_opt.arrays import FloatArray
from rush_opt.space.choice import Constant
from rush_opt.space.parameter import Parameter, is_number


@dataclass(frozen=True, repr=False)
class Transformed(Parameter):
    """A parameter whose values are transformed by a function.

    ``Transformed(Integer(3, 9), lambda k: 2**k, inverse=lambda n: n.bit_length() - 1)`` is a power
    of two from 8 to 512. The objective receives the transformed value, and the record of the trial
    keeps it. The inverse is needed to find the point of a recorded or given configuration. It is
    tested with a few values when the parameter is made.

    Parameters
    ----------
    parameter : Parameter
        The searched parameter, without a condition.
    transform : callable
        Maps its value to the value in the configuration, which must be a plain value.
    inverse : callable
        Maps the value in the configuration back.
    when : mapping or sequence of mappings, optional
        Values of other parameters for which this one is active; see `Condition`.

    Raises
    ------
    TypeError
        If the first is not a searched parameter, or one of the others cannot be called.
    ValueError
        If the parameter has a condition, or the inverse does not return the original value.
    """

    parameter: Parameter
    transform: Callable[[Any], Any]
    inverse: Callable[[Any], Any] = field(kw_only=True)
    is_number = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.parameter, Parameter) or isinstance(self.parameter, Constant):
            raise TypeError(
                f"Transformed needs a parameter to search, got {self.parameter!r}; e.g. Float(0, 1)"
            )
        if not callable(self.transform) or not callable(self.inverse):
            raise TypeError(
                "Transformed needs functions as transform and inverse, got "
                f"{self.transform!r} and {self.inverse!r}"
            )
        if self.parameter.when is not None:
            raise ValueError(
                f"Transformed needs a parameter without a condition, got {self.parameter!r}; "
                "write when= beside inverse="
            )
        for u in self.parameter.grid(5).tolist():
            self._check_way_back(self.parameter.from_unit(u))

    def _check_way_back(self, value: Any) -> None:
        after = self.transform(value)
        again = self._search_value(after)
        close = is_number(value) and is_number(again) and math.isclose(value, again, abs_tol=1e-9)
        if not close and value != again:
            raise ValueError(
                f"Transformed needs an inverse that leads back, got {value!r} -> {after!r} -> "
                f"{again!r}; correct inverse="
            )

    def _search_value(self, value: Any) -> Any:
        """Apply the inverse; a result that differs from a value only by rounding is that value."""
        found = self.inverse(value)
        if is_number(found) and self.parameter.is_number and self.parameter.problem_with(found):
            with np.errstate(all="ignore"):  # the logarithm of a value out of range
                u = float(self.parameter.to_unit(np.array([found], dtype=np.float64))[0])
            nearest = self.parameter.from_unit(u) if math.isfinite(u) else math.nan
            if math.isclose(found, nearest, rel_tol=1e-9, abs_tol=1e-9):
                return nearest
        return found

    @property
    def ordered(self) -> bool:
        """Whether the values have an order."""
        return self.parameter.ordered

    @property
    def n_levels(self) -> int:
        """Number of values; 0 if the parameter is continuous."""
        return self.parameter.n_levels

    @property
    def equal_bins(self) -> bool:
        """Whether the bins of all levels have the same width."""
        return self.parameter.equal_bins

    def problem_with(self, value: object) -> str | None:
        """Return why a value does not belong to this parameter; None if it does."""
        try:
            found = self._search_value(value)
        except Exception as error:
            return f"needs a value that its inverse takes ({type(error).__name__}: {error})"
        problem = self.parameter.problem_with(found)
        return f"{problem} before its transform ({found!r})" if problem else None

    def to_unit(self, column: Sequence[Any]) -> FloatArray:
        """Map values to coordinates."""
        try:
            found = [self._search_value(value) for value in column]
        except Exception as error:
            raise ValueError(f"an inverse failed: {error!r}") from error
        if not self.parameter.is_number:
            return self.parameter.to_unit(found)
        return self.parameter.to_unit(np.fromiter(found, np.float64, len(found)))

    def from_unit(self, u: float) -> Any:
        """Map a coordinate to a value."""
        return self.transform(self.parameter.from_unit(u))

    def level_of(self, column: FloatArray) -> FloatArray:
        """Map coordinates to levels."""
        return self.parameter.level_of(column)

    def unit_of_level(self, levels: FloatArray) -> FloatArray:
        """Map levels to the middle of their bins."""
        return self.parameter.unit_of_level(levels)

    def domain(self) -> str:
        """Return the values as text for a table."""
        name = getattr(self.transform, "__name__", repr(self.transform))
        return f"{name} of {type(self.parameter).__name__} {self.parameter.domain()}"
