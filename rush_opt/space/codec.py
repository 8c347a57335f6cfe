"""The codec: configurations to rows of the unit cube, and back.

============  ==========  ======================================================================
symbol        shape       meaning
============  ==========  ======================================================================
``X``         ``(n, d)``  rows of the unit cube, one per configuration; ``d`` searched parameters
``u``         scalar      one coordinate, in [0, 1]; `INACTIVE` if its parameter is inactive
============  ==========  ======================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from rush_opt.arrays import BoolArray, FloatArray
from rush_opt.space.active import INACTIVE, ActiveParameters
from rush_opt.space.choice import Constant
from rush_opt.space.constraint import Config
from rush_opt.space.parameter import Parameter
from rush_opt.space.validation import Validator

__all__ = ["Codec"]

# The logarithm of a bound, computed in two ways, may differ in the last bits. A value out of range
# is outside the cube by more than this.
_ROUNDING = 1e-9


class Codec:
    """Maps configurations to rows and rows to configurations.

    Parameters
    ----------
    names : sequence of str
        Names of all parameters.
    parameters : sequence of Parameter
        In the same order.
    active : ActiveParameters
        Their conditions.
    validator : Validator
        Explains configurations that cannot be encoded.

    Attributes
    ----------
    number_names, other_names : list of str
        Searched parameters with numbers or booleans as values and without a condition, and the
        other searched ones.
    """

    def __init__(
        self,
        names: Sequence[str],
        parameters: Sequence[Parameter],
        active: ActiveParameters,
        validator: Validator,
    ) -> None:
        self._names, self._active, self._validator = names, active, validator
        self._searched = [i for i, p in enumerate(parameters) if not isinstance(p, Constant)]
        self._columns = [(names[i], parameters[i]) for i in self._searched]
        numbers = [j for j, (_, p) in enumerate(self._columns) if p.is_number and p.when is None]
        self._numbers = [(j, self._columns[j][1].to_unit) for j in numbers]
        self._others = [j for j in range(len(self._columns)) if j not in numbers]
        self.number_names = [self._columns[j][0] for j in numbers]
        self.other_names = [self._columns[j][0] for j in self._others]
        self._decoders: list[Callable[[float], Any]] = [p.from_unit for p in parameters]
        self._is_plain = len(self._columns) == len(names) and not active.has_conditions

    def encode(self, numbers: FloatArray, configs: Sequence[Config]) -> FloatArray:
        """Encode values; see `Space.encode_columns`."""
        X = np.empty((len(numbers), len(self._columns)))
        with np.errstate(all="ignore"):  # the logarithm of a value out of range: refused below
            for column, (j, to_unit) in zip(numbers.T, self._numbers, strict=True):
                X[:, j] = to_unit(column)
            try:
                for j in self._others:
                    self._encode_other(X[:, j], j, configs)
            except (KeyError, TypeError, ValueError, OverflowError):
                self._validator.explain(configs)
                raise
        if self._active.has_conditions:
            return self._check_active(X, self._active.impute(X), configs)
        # Written so that NaN is refused as well.
        if len(X) and not (X.min() >= -_ROUNDING and X.max() <= 1.0 + _ROUNDING):
            self._validator.explain(configs)
            for values, (j, _) in zip(numbers.T, self._numbers, strict=True):
                is_inside = (X[:, j] >= -_ROUNDING) & (X[:, j] <= 1.0 + _ROUNDING)
                self._refuse(j, values[~is_inside].tolist())
        return np.clip(X, 0.0, 1.0, out=X)

    def _encode_other(self, into: FloatArray, j: int, configs: Sequence[Config]) -> None:
        """Encode a column of a parameter that has a condition or whose values are not numbers."""
        name, parameter = self._columns[j]
        if parameter.when is None:
            into[:] = parameter.to_unit([config[name] for config in configs])
            return
        present = np.fromiter((name in config for config in configs), np.bool_, len(configs))
        values: Any = [config[name] for config in configs if name in config]
        if parameter.is_number:
            values = np.fromiter(values, np.float64, len(values))
        into[:] = np.nan
        into[present] = parameter.to_unit(values)

    def _check_active(
        self, X: FloatArray, active: BoolArray, configs: Sequence[Config]
    ) -> FloatArray:
        """Clip active coordinates to the cube; refuse those that are outside or missing."""
        if not ((X >= -_ROUNDING) & (X <= 1.0 + _ROUNDING) | ~active).all():
            self._validator.explain(configs)
        np.clip(X, 0.0, 1.0, out=X)
        X[~active] = INACTIVE
        return X

    def _refuse(self, j: int, values: Iterable[Any]) -> None:
        """Raise for the first of these that is not a value of the j-th searched parameter."""
        name, parameter = self._columns[j]
        for value in values:
            plain = int(value) if isinstance(value, float) and value.is_integer() else value
            if problem := parameter.problem_with(plain):
                raise ValueError(f"parameter {name!r} {problem}, got {plain!r}")

    def decode(self, rows: FloatArray) -> list[dict[str, Any]]:
        """Decode rows, which are snapped if some parameter may be inactive; see `Space.decode`."""
        if not self._is_plain:
            return self._decode_active(rows)
        return [
            {
                name: value(u)
                for name, value, u in zip(self._names, self._decoders, row, strict=True)
            }
            for row in rows.tolist()
        ]

    def _decode_active(self, rows: FloatArray) -> list[dict[str, Any]]:
        full = np.full((len(rows), len(self._names)), 0.5)
        full[:, self._searched] = rows
        for i, is_active in self._active.fixed(rows):
            full[~is_active, i] = INACTIVE
        return [
            {
                name: value(u)
                for name, value, u in zip(self._names, self._decoders, row, strict=True)
                if u != INACTIVE
            }
            for row in full.tolist()
        ]
