"""The argument `warm_start`: earlier trials as configurations and results to begin with."""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rush_opt.evaluation.objective import name_values
from rush_opt.evaluation.trial import is_objective_value
from rush_opt.problem.problem import Problem
from rush_opt.results.result import TuneResult
from rush_opt.results.table import value_columns
from rush_opt.space import Constant, Parameter, Space
from rush_opt.stopping.incumbent import STOPPED_AT

if TYPE_CHECKING:
    import pandas as pd

    Pairs = Sequence[tuple[Mapping[str, Any], Any]]
    WarmStart = TuneResult | pd.DataFrame | Pairs | str | os.PathLike[str]

logger = logging.getLogger(__name__)

# Optuna writes states in capitals, and calls stopped trials PRUNED.
_NOT_WHOLE = {"failed", "FAIL", "PRUNED", "RUNNING", "WAITING"}

Known = tuple[dict[str, Any], dict[str, Any]]


def known_trials(warm_start: Any, problem: Problem) -> list[Known]:
    """Return the configurations and results of earlier trials, checked against the space.

    Parameters
    ----------
    warm_start : TuneResult, path-like, DataFrame, sequence of pairs or None
        One of:

        - a result, or the path of the file that `TuneResult.to_json` wrote;
        - a table with the columns ``params_<name>`` and ``value`` (``value_<metric>`` for several
          objectives), such as ``result.trials`` or a table of Optuna;
        - a study of Optuna;
        - pairs of a configuration and its result: a number, or a mapping with a number for each
          metric.

        Of results, tables and studies, trials that failed, were stopped, run or wait are left out.
        Parameters that have a single value in the space are added where they are missing. Trials
        that do not fit the space then are left out with a warning that says how many. Of pairs,
        each must fit.
    problem : Problem

    Raises
    ------
    TypeError, ValueError
        If the argument has another type, if a configuration or a value does not fit the problem, if
        no trial fits the space, or if a result had another direction.
    OSError
        If the file cannot be read.
    """
    if isinstance(warm_start, str | os.PathLike):
        warm_start = TuneResult.from_json(warm_start)
    checked, misfits, n_filled = [], [], 0
    is_strict = _is_pairs(warm_start)
    for name, config, result in _pairs(warm_start, problem):
        if not isinstance(config, Mapping):
            raise TypeError(
                f"{name}: the configuration must be a mapping of parameter names to values, got "
                f"{config!r:.80}"
            )
        filled = config if is_strict else _filled(config, problem.space)
        try:
            problem.space.validate(filled)
        except ValueError as error:
            misfits.append(f"{name}: {error}")
            if is_strict:
                raise ValueError(misfits[0]) from None
            continue
        n_filled += len(filled) > len(config)
        returned = with_numbers(name, result, problem.metrics)
        for metric in problem.metrics:
            if not math.isfinite(returned[metric]):
                raise ValueError(
                    f"{name}: {metric!r} must be finite, got {returned[metric]!r}; remove the trial"
                )
        checked.append((dict(filled), returned))
    _warn(len(checked), n_filled, misfits)
    return checked


def _is_pairs(warm_start: Any) -> bool:
    return isinstance(warm_start, Sequence)


def _filled(config: Mapping[str, Any], space: Space) -> Mapping[str, Any]:
    """Add the parameters that have a single value and that a configuration lacks."""
    return {
        name: parameter.value
        for name, parameter in zip(space.names, space.parameters, strict=True)
        if isinstance(parameter, Constant) and parameter.when is None and name not in config
    } | dict(config)


def _warn(n_used: int, n_filled: int, misfits: Sequence[str]) -> None:
    """Say how many trials of a warm start were filled and left out.

    Raises
    ------
    ValueError
        If there are trials, and none fits.
    """
    n = n_used + len(misfits)
    if misfits and not n_used:
        raise ValueError(f"none of the {n} trials of warm_start fits the space; {misfits[0]}")
    if n_filled:
        logger.warning(
            "warm_start: fixed parameters were added to %d of %d trials that lack them", n_filled, n
        )
    if misfits:
        logger.warning(
            "warm_start: %d of %d trials do not fit the space and are left out; %s",
            *(len(misfits), n, misfits[0]),
        )


def _pairs(warm_start: Any, problem: Problem) -> Iterator[tuple[str, Any, Any]]:
    """Yield the configuration and the result of each trial, and its name in error messages."""
    if warm_start is None:
        return
    if isinstance(warm_start, TuneResult):
        yield from _whole_trials(warm_start, problem)
    elif hasattr(warm_start, "trials") and hasattr(warm_start, "directions"):
        yield from _study_trials(warm_start, problem)
    elif hasattr(warm_start, "columns") and hasattr(warm_start, "to_dict"):
        yield from _rows(warm_start, problem)
    elif isinstance(warm_start, Sequence):
        for i, pair in enumerate(warm_start):
            if not isinstance(pair, tuple | list) or len(pair) != 2:
                raise TypeError(
                    f"warm_start[{i}] must be a pair of a configuration and a result, got "
                    f"{pair!r:.80}"
                )
            yield f"warm_start[{i}]", *pair
    else:
        raise TypeError(
            "warm_start must be a TuneResult, the path of a file with one, a study of Optuna, a "
            "DataFrame with the "
            "columns params_<name> and value of result.trials, a sequence of pairs of a "
            "configuration and a result, or None, got "
            f"{warm_start!r:.80} ({type(warm_start).__name__})"
        )


def _whole_trials(earlier: TuneResult, problem: Problem) -> Iterator[tuple[str, Any, Any]]:
    trials = [t for t in earlier.frozen_trials if t.state == "finished" and t.stopped_at is None]
    here, there = problem.metrics, earlier.metrics
    # Two runs may have different names for their only objective.
    is_renamed = len(here) == len(there) == 1 and not any(here[0] in t.result for t in trials)
    known = dict(zip(here if is_renamed else there, earlier.directions, strict=True))
    for goal in problem.goals:
        if known.get(goal.name, goal.direction) != goal.direction:
            raise ValueError(
                f"warm_start must have the directions of this run, but {goal.name!r} has "
                f"{known[goal.name]!r} there and {goal.direction!r} here; give pairs of a "
                "configuration and a value in the direction of this run instead"
            )
    for trial in trials:
        result = trial.result | ({here[0]: trial.value} if is_renamed else {})
        yield f"trial {trial.number} of warm_start", trial.params, result


def _study_trials(study: Any, problem: Problem) -> Iterator[tuple[str, Any, Any]]:
    """Yield the complete trials of a study of Optuna, whose objectives have no names."""
    directions = [direction.name.lower() for direction in study.directions]
    wanted = [goal.direction for goal in problem.goals]
    if directions != wanted:
        raise ValueError(
            f"warm_start must have the directions of this run, {wanted}, but the study has "
            f"{directions}; give pairs of a configuration and a value instead"
        )
    for trial in study.trials:
        if trial.state.name == "COMPLETE":
            result = dict(zip(problem.metrics, trial.values, strict=True))
            yield f"trial {trial.number} of the study", trial.params, result


def _rows(table: pd.DataFrame, problem: Problem) -> Iterator[tuple[str, Any, Any]]:
    columns = [str(column) for column in table.columns]
    values = value_columns(problem.metrics)
    for column in values:
        if column not in columns:
            raise ValueError(
                f"warm_start must have a column {column!r}, as result.trials has; got {columns}"
            )
    for i, row in enumerate(table.to_dict("records")):
        step = row.get(f"notes_{STOPPED_AT}")
        if row.get("state") in _NOT_WHOLE or (step is not None and step == step):
            continue
        params = {
            column.removeprefix("params_"): _plain(row[column])
            for column in columns
            if column.startswith("params_")
        }
        config = _config_of(params, problem.space)
        yield f"row {i} of warm_start", config, {name: row[c] for c, name in values.items()}


def _config_of(params: Mapping[str, Any], space: Space) -> dict[str, Any]:
    """Return the configuration in a row of a table.

    An empty cell, None or NaN, means that the trial did not have the parameter, or that its value
    was None.
    """
    kinds = dict(zip(space.names, space.parameters, strict=True))
    config = {
        name: _own_value(kinds[name], value) if name in kinds else value
        for name, value in params.items()
        if value is not None and value == value
    }
    empty = [name for name in params if name not in config]
    may_be_none = [name for name in empty if name in kinds and not kinds[name].problem_with(None)]
    active = space.active_part(config | dict.fromkeys(may_be_none))
    return config | {name: None for name in may_be_none if name in active}


def _own_value(parameter: Parameter, value: Any) -> Any:
    """Return the parameter's value that equals a cell; the cell itself if there is none.

    A table turns whole numbers into floats if another row has a fraction or an empty cell. A file
    stores a column as texts if its values have several types; in Parquet these texts are JSON.
    """
    if isinstance(value, str) and parameter.problem_with(value):
        try:
            read = _own_value(parameter, json.loads(value))
        except ValueError:
            return value
        return value if parameter.problem_with(read) else read
    if not isinstance(value, float):
        return value
    for number in (value, int(value)) if value.is_integer() else (value,):
        if not parameter.problem_with(number):
            column = np.array([number], dtype=np.float64) if parameter.is_number else [number]
            own = parameter.from_unit(float(parameter.to_unit(column)[0]))
            return own if own == number else number
    return value


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def with_numbers(name: str, result: Any, metrics: Sequence[str]) -> dict[str, Any]:
    """Return a result as a mapping with a float for each metric; NaN and infinity are allowed.

    Raises
    ------
    TypeError, ValueError
        If the result has another form, or lacks a metric; the message begins with `name`.
    """
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
        try:
            returned[metric] = float(value)
        except OverflowError:
            raise ValueError(
                f"{name}: {metric!r} must be in the range of a float; remove the trial"
            ) from None
    return returned


__all__ = ["Known", "known_trials", "with_numbers"]
