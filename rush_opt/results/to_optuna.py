"""A finished run as an Optuna study, for its visualizations, importances and dashboard."""

from __future__ import annotations

import warnings
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np

from rush_opt.results.result import TuneResult
from rush_opt.results.trials import FrozenTrial
from rush_opt.space import Boolean, Constant, Float, Integer, Parameter, Transformed

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution

__all__ = ["to_study"]


def to_study(result: TuneResult) -> optuna.Study:
    """Make an in-memory study of a run's trials.

    Numbers, parameters and values are the same. What Optuna has no place for is in the trials' user
    attributes, by the names of the columns of ``result.trials``: ``key``, ``worker``,
    ``result_<name>``, ``notes_<name>`` and ``error``. Ordinals, booleans and fixed values that
    are no numbers become categories. A `Float` whose steps lead to its upper bound only up to
    rounding, such as thirds, has none there.

    Parameters
    ----------
    result : TuneResult

    Returns
    -------
    optuna.Study
        Trials finished here are ``COMPLETE`` there, those stopped early ``PRUNED`` and failed ones
        ``FAIL``. Times are local. Steps that are no whole numbers, such as shares of the data, are
        numbered in order, in all trials alike; the user attribute ``steps`` has them by number.

    Raises
    ------
    ImportError
        If Optuna is not installed: ``pip install 'rush-hpo[optuna]'``.
    ValueError
        If the result does not know its space, or a transformed parameter has values that are
        neither numbers nor few.
    """
    try:
        import optuna
    except ImportError:
        raise ImportError(
            "a study needs Optuna, which is not installed: pip install 'rush-hpo[optuna]'"
        ) from None
    if result.space is None:
        raise ValueError(
            "a study needs the space of the run, which this result does not know: it was read from "
            "a file, and its space is made of code; add it: dataclasses.replace(result, space=...)"
        )
    space = result.space
    distributions = {
        name: _distribution(name, parameter, result)
        for name, parameter in zip(space.names, space.parameters, strict=True)
    }
    directions = [
        getattr(optuna.study.StudyDirection, direction.upper()) for direction in result.directions
    ]
    study = optuna.create_study(study_name=result.network_id, directions=directions)
    study.set_user_attr("metrics", list(result.metrics))
    if len(directions) > 1:  # of a single one the name would take the place of the table's `value`
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.set_metric_names(list(result.metrics))
    study.set_user_attr("seed", result.seed)
    study.set_user_attr("stop_reason", result.stop_reason)
    steps = sorted({step for trial in result.frozen_trials for step in trial.intermediate})
    are_whole = all(float(step).is_integer() for step in steps)
    # Optuna's steps are whole numbers.
    numbers = {step: int(step) if are_whole else place for place, step in enumerate(steps)}
    if not are_whole:
        study.set_user_attr("steps", steps)
    study.add_trials(
        [_trial(trial, result.metrics, distributions, numbers) for trial in result.frozen_trials]
    )
    return study


def _trial(
    trial: FrozenTrial,
    metrics: tuple[str, ...],
    distributions: dict[str, BaseDistribution],
    step_numbers: dict[float, int],
) -> optuna.trial.FrozenTrial:
    from optuna.trial import FrozenTrial, TrialState

    attributes: dict[str, Any] = {"key": trial.key, "worker": trial.worker}
    attributes |= {f"result_{name}": v for name, v in trial.result.items() if name not in metrics}
    attributes |= {f"notes_{name}": value for name, value in trial.notes.items()}
    if trial.error is not None:
        attributes["error"] = trial.error
    started_at = trial.ended_at if trial.started_at is None else trial.started_at
    is_finished = trial.state == "finished"
    ended = TrialState.COMPLETE if trial.stopped_at is None else TrialState.PRUNED
    return FrozenTrial(
        number=-1,  # both are given by the study
        trial_id=-1,
        state=ended if is_finished else TrialState.FAIL,
        value=None,
        values=[trial.result[name] for name in metrics] if is_finished else None,
        datetime_start=datetime.fromtimestamp(started_at),
        datetime_complete=datetime.fromtimestamp(trial.ended_at),
        params=dict(trial.params),
        distributions={name: distributions[name] for name in trial.params},
        user_attrs={name: _plain(value) for name, value in attributes.items()},
        system_attrs={},
        intermediate_values={step_numbers[step]: v for step, v in trial.intermediate.items()},
    )


def _plain(value: Any) -> Any:
    """Turn arrays into lists: what stores studies writes JSON."""
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def _leads_from_end_to_end(parameter: Float) -> bool:
    """Tell whether steps lead exactly to the upper bound, reckoned in decimals as Optuna does.

    Where they do so only up to rounding, it would put its bound below the highest value.
    """
    low, high = Decimal(str(parameter.low)), Decimal(str(parameter.high))
    return parameter.step is not None and not (high - low) % Decimal(str(parameter.step))


def _distribution(name: str, parameter: Parameter, result: TuneResult) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(parameter, Float):
        step = parameter.step if _leads_from_end_to_end(parameter) else None
        return FloatDistribution(parameter.low, parameter.high, log=parameter.log, step=step)
    if isinstance(parameter, Integer):
        return IntDistribution(
            parameter.low, parameter.high, log=parameter.log, step=parameter.step
        )
    if isinstance(parameter, Transformed) and not parameter.n_levels:
        values = [parameter.from_unit(0.0), parameter.from_unit(1.0)]
        values += [t.params[name] for t in result.frozen_trials if name in t.params]
        if not all(isinstance(value, int | float) for value in values):
            raise ValueError(
                f"parameter {name!r} needs numbers as transformed values to be one of Optuna's, "
                f"got {values[0]!r}"
            )
        return FloatDistribution(min(values), max(values))
    value = parameter.value if isinstance(parameter, Constant) else None
    # The kind decides whether a study can go on with what its trials suggest.
    if isinstance(value, float):
        return FloatDistribution(value, value)
    if isinstance(value, int) and not isinstance(value, bool):
        return IntDistribution(value, value)
    if isinstance(parameter, Boolean):
        return CategoricalDistribution([False, True])
    levels = parameter.unit_of_level(np.arange(parameter.n_levels, dtype=np.float64))
    return CategoricalDistribution([parameter.from_unit(u) for u in levels.tolist()])
