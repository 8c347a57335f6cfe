"""Earlier trials in whatever form they come, as configurations and results to begin with."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from rush_opt.evaluation import Problem
from rush_opt.result import TuneResult
from rush_opt.space import Integer, Space
from rush_opt.trial import STOPPED_AT

if TYPE_CHECKING:
    import pandas as pd

Known = tuple[dict[str, Any], dict[str, Any]]


def known_trials(warm_start: Any, problem: Problem) -> list[Known]:
    """Return the configurations and results of earlier trials, checked against the space.

    Parameters
    ----------
    warm_start : TuneResult, DataFrame, sequence of pairs or None
        A result; a table with the columns ``params_<name>`` and ``value`` of ``result.trials``; or
        pairs of a configuration and a number, or a mapping with a number under the metric. Failed
        and stopped trials of the first two are left out.
    problem : Problem

    Raises
    ------
    TypeError, ValueError
        If it is none of these, or a configuration or value does not fit.
    """
    checked = []
    for name, config, result in _pairs(warm_start, problem):
        if not isinstance(config, Mapping):
            raise TypeError(
                f"{name}: the configuration must be a mapping of parameter names to values, got "
                f"{config!r:.80}"
            )
        try:
            problem.space.validate(config)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
        checked.append((dict(config), _checked_result(name, result, problem.metric)))
    return checked


def _pairs(warm_start: Any, problem: Problem) -> Iterator[tuple[str, Any, Any]]:
    """Yield a name for messages, configuration and result of each trial."""
    if warm_start is None:
        return
    if isinstance(warm_start, TuneResult):
        for trial in warm_start.frozen_trials:
            if trial.value is not None and trial.stopped_at is None:
                result = {**trial.result, problem.metric: trial.value}
                yield f"trial {trial.number} of warm_start", trial.params, result
    elif hasattr(warm_start, "columns") and hasattr(warm_start, "to_dict"):
        yield from _rows(warm_start, problem.space)
    elif isinstance(warm_start, Sequence) and not isinstance(warm_start, str):
        for i, pair in enumerate(warm_start):
            if not isinstance(pair, tuple | list) or len(pair) != 2:
                raise TypeError(
                    f"warm_start[{i}] must be a pair of a configuration and a result, got "
                    f"{pair!r:.80}"
                )
            yield f"warm_start[{i}]", *pair
    else:
        raise TypeError(
            "warm_start must be a TuneResult, a DataFrame with the columns params_<name> and value "
            "of result.trials, a sequence of pairs of a configuration and a result, or None, got "
            f"{warm_start!r:.80} ({type(warm_start).__name__})"
        )


def _rows(table: pd.DataFrame, space: Space) -> Iterator[tuple[str, Any, Any]]:
    columns = [str(column) for column in table.columns]
    if "value" not in columns:
        raise ValueError(f"warm_start must have a column 'value', as result.trials; got {columns}")
    kinds = dict(zip(space.names, space.parameters, strict=True))
    for i, row in enumerate(table.to_dict("records")):
        step = row.get(f"notes_{STOPPED_AT}")
        if row.get("state") == "failed" or (step is not None and step == step):
            continue
        params = {
            column.removeprefix("params_"): row[column]
            for column in columns
            if column.startswith("params_")
        }
        # A table of numbers turns whole ones into floats where another row has none, and has NaN
        # for a parameter that a trial did not have.
        config = {
            name: int(value)
            if isinstance(kinds.get(name), Integer)
            and isinstance(value, float)
            and value.is_integer()
            else value
            for name, value in ((name, _plain(value)) for name, value in params.items())
            if value is not None and value == value
        }
        yield f"row {i} of warm_start", config, row["value"]


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _checked_result(name: str, result: Any, metric: str) -> dict[str, Any]:
    returned = dict(result) if isinstance(result, Mapping) else {metric: result}
    if metric not in returned:
        raise ValueError(f"{name}: the result has no {metric!r}, only {sorted(map(str, returned))}")
    value = returned[metric]
    if isinstance(value, bool | np.bool_) or not isinstance(value, Real | np.ndarray):
        raise TypeError(f"{name}: {metric!r} must be a number, got {value!r:.80}")
    if not math.isfinite(float(value)):
        raise ValueError(f"{name}: {metric!r} must be finite, got {value!r}; leave the trial out")
    return returned | {metric: float(value)}


__all__ = ["Known", "known_trials"]
