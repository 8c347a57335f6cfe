"""Earlier trials in whatever form they come, as configurations and results to begin with."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rush_opt.evaluation import Problem, name_values
from rush_opt.frozen_trial import value_columns
from rush_opt.result import TuneResult
from rush_opt.space import Integer
from rush_opt.trial import STOPPED_AT, is_objective_value

if TYPE_CHECKING:
    import pandas as pd

Known = tuple[dict[str, Any], dict[str, Any]]


def known_trials(warm_start: Any, problem: Problem) -> list[Known]:
    """Return the configurations and results of earlier trials, checked against the space.

    Parameters
    ----------
    warm_start : TuneResult, DataFrame, sequence of pairs or None
        A result; a table with the columns ``params_<name>`` and ``value`` of ``result.trials``, or
        ``value_<metric>`` for several objectives; or pairs of a configuration and a number, or a
        mapping with a number under each metric. Failed and stopped trials of the first two are
        left out.
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
        checked.append((dict(config), _checked_result(name, result, problem.metrics)))
    return checked


def _pairs(warm_start: Any, problem: Problem) -> Iterator[tuple[str, Any, Any]]:
    """Yield a name for messages, configuration and result of each trial."""
    if warm_start is None:
        return
    if isinstance(warm_start, TuneResult):
        for trial in warm_start.frozen_trials:
            if trial.state == "finished" and trial.stopped_at is None:
                result = dict(trial.result)
                if len(problem.metrics) == 1 and trial.value is not None:
                    result[problem.metrics[0]] = trial.value
                yield f"trial {trial.number} of warm_start", trial.params, result
    elif hasattr(warm_start, "columns") and hasattr(warm_start, "to_dict"):
        yield from _rows(warm_start, problem)
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


def _rows(table: pd.DataFrame, problem: Problem) -> Iterator[tuple[str, Any, Any]]:
    columns = [str(column) for column in table.columns]
    values = value_columns(problem.metrics)
    for column in values:
        if column not in columns:
            raise ValueError(
                f"warm_start must have a column {column!r}, as result.trials; got {columns}"
            )
    kinds = dict(zip(problem.space.names, problem.space.parameters, strict=True))
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
        yield f"row {i} of warm_start", config, {name: row[c] for c, name in values.items()}


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _checked_result(name: str, result: Any, metrics: Sequence[str]) -> dict[str, Any]:
    returned = name_values(result, metrics)
    if returned is None:
        raise TypeError(
            f"{name}: the result must be a mapping with the names {list(metrics)}, or as many "
            f"numbers in that order, got {result!r:.80}"
        )
    for metric in metrics:
        if metric not in returned:
            raise ValueError(
                f"{name}: the result has no {metric!r}, only {sorted(map(str, returned))}"
            )
        value = returned[metric]
        if not is_objective_value(value):
            raise TypeError(f"{name}: {metric!r} must be a number, got {value!r:.80}")
        if not math.isfinite(float(value)):
            raise ValueError(
                f"{name}: {metric!r} must be finite, got {value!r}; leave the trial out"
            )
        returned[metric] = float(value)
    return returned


__all__ = ["Known", "known_trials"]
