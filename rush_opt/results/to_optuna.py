"""A run as an Optuna study, for Optuna's pictures, importances and dashboard."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np

from rush_opt.results.record import RunRecord
from rush_opt.results.trials import FrozenTrial
from rush_opt.space import Boolean, Constant, Float, Integer, Parameter, Transformed

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution

__all__ = ["to_study"]


def to_study(record: RunRecord) -> optuna.Study:
    """Make an Optuna study in memory from the trials of a run.

    Numbers, parameters and values are the same. Optuna has no place for some data of a trial. The
    user attributes of the trial hold them, under the names of the columns of ``result.trials``:
    ``key``, ``worker``, ``result_<name>``, ``notes_<name>`` and ``error``. Ordinals, booleans, and
    constants that are not numbers become categories. If the steps of a `Float` do not lead exactly
    to its upper bound, such as steps of one third, the `Float` becomes continuous.

    Parameters
    ----------
    record : RunRecord

    Returns
    -------
    optuna.Study
        Finished trials are ``COMPLETE``, those that were stopped early are ``PRUNED``, and failed
        ones are ``FAIL``. Times are in the local time zone. Optuna's steps are whole numbers. If a
        run has other steps, such as fractions of the data, the steps of the study are their indices
        in the sorted list of all steps. The user attribute ``steps`` of the study holds this list.

    Raises
    ------
    ImportError
        If Optuna is not installed: ``pip install 'rush-hpo[optuna]'``.
    ValueError
        If the search space is not known, or a transformed parameter has many values that are not
        numbers.
    """
    try:
        import optuna  # noqa: F401
    except ImportError:
        raise ImportError(
            "a study needs Optuna, which is not installed: pip install 'rush-hpo[optuna]'"
        ) from None
    space = record.known_space("a study")
    distributions = {
        name: _distribution(name, parameter, record.trials)
        for name, parameter in zip(space.names, space.parameters, strict=True)
    }
    step_numbers = _step_numbers(record)
    study = _empty_study(record)
    if any(step != number for step, number in step_numbers.items()):
        study.set_user_attr("steps", list(step_numbers))
    study.add_trials(
        [_trial(trial, record.metrics, distributions, step_numbers) for trial in record.trials]
    )
    return study


def _empty_study(record: RunRecord) -> optuna.Study:
    """Make a study with the goals of a run, and without trials."""
    import optuna

    directions = [
        getattr(optuna.study.StudyDirection, goal.direction.upper()) for goal in record.goals
    ]
    study = optuna.create_study(study_name=record.network_id, directions=directions)
    study.set_user_attr("metrics", list(record.metrics))
    study.set_user_attr("seed", record.seed)
    study.set_user_attr("stop_reason", record.stop_reason)
    if len(directions) > 1:  # with a name, Optuna's table would not call a single column `value`
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.set_metric_names(list(record.metrics))
    return study


def _step_numbers(record: RunRecord) -> dict[float, int]:
    """Return Optuna's number for each step: the step itself, or its index if not all are whole."""
    steps = sorted({step for trial in record.trials for step in trial.intermediate})
    are_whole = all(float(step).is_integer() for step in steps)
    return {step: int(step) if are_whole else place for place, step in enumerate(steps)}


def _trial(
    trial: FrozenTrial,
    metrics: tuple[str, ...],
    distributions: Mapping[str, BaseDistribution],
    step_numbers: Mapping[float, int],
) -> optuna.trial.FrozenTrial:
    from optuna.trial import FrozenTrial, TrialState

    attributes: dict[str, Any] = {"key": trial.key, "worker": trial.worker}
    attributes |= {f"result_{name}": v for name, v in trial.result.items() if name not in metrics}
    attributes |= {f"notes_{name}": value for name, value in trial.notes.items()}
    if trial.error is not None:
        attributes["error"] = trial.error
    started_at = trial.ended_at if trial.started_at is None else trial.started_at
    is_finished = trial.state == "finished"
    state = TrialState.COMPLETE if trial.stopped_at is None else TrialState.PRUNED
    return FrozenTrial(
        number=-1,  # the study assigns the number
        trial_id=-1,
        state=state if is_finished else TrialState.FAIL,
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
    """Turn arrays into lists: Optuna's storages write JSON."""
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def _distribution(name: str, parameter: Parameter, trials: list[FrozenTrial]) -> BaseDistribution:
    """Return Optuna's distribution for a parameter."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(parameter, Float):
        step = parameter.step if _steps_reach_the_end(parameter) else None
        return FloatDistribution(parameter.low, parameter.high, log=parameter.log, step=step)
    if isinstance(parameter, Integer):
        return IntDistribution(
            parameter.low, parameter.high, log=parameter.log, step=parameter.step
        )
    if isinstance(parameter, Transformed) and not parameter.n_levels:
        return FloatDistribution(*_range_of_values(name, parameter, trials))
    value = parameter.value if isinstance(parameter, Constant) else None
    # Optuna's samplers treat values as numbers only if the distribution is numeric.
    if isinstance(value, float):
        return FloatDistribution(value, value)
    if isinstance(value, int) and not isinstance(value, bool):
        return IntDistribution(value, value)
    if isinstance(parameter, Boolean):
        return CategoricalDistribution([False, True])
    levels = parameter.unit_of_level(np.arange(parameter.n_levels, dtype=np.float64))
    return CategoricalDistribution([parameter.from_unit(u) for u in levels.tolist()])


def _steps_reach_the_end(parameter: Float) -> bool:
    """Whether the steps lead exactly to the upper bound, computed in decimals as Optuna does.

    If they do so only up to rounding, Optuna would lower its bound below the highest value.
    """
    low, high = Decimal(str(parameter.low)), Decimal(str(parameter.high))
    return parameter.step is not None and not (high - low) % Decimal(str(parameter.step))


def _range_of_values(
    name: str, parameter: Transformed, trials: list[FrozenTrial]
) -> tuple[float, float]:
    """Return the least and the greatest of the values at both ends and in the trials."""
    values = [parameter.from_unit(0.0), parameter.from_unit(1.0)]
    values += [trial.params[name] for trial in trials if name in trial.params]
    if not all(isinstance(value, int | float) for value in values):
        raise ValueError(
            f"parameter {name!r} needs numbers as transformed values, because Optuna has no other "
            f"ranges, got {values[0]!r}"
        )
    return min(values), max(values)
