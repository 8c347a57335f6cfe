"""The table of a run's trials: a row for each trial that ended."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rush_opt.results.trials import FrozenTrial

if TYPE_CHECKING:
    # pandas takes a third of a second to load. Workers import this package and do not need pandas.
    import pandas as pd

__all__ = ["trials_table", "value_columns"]

# `TuneResult.trials` describes the columns.
_TIMES = ("started_at", "ended_at")


def value_columns(metrics: Sequence[str]) -> dict[str, str]:
    """Return the columns of the objective values: name of the column to name of the metric."""
    if len(metrics) == 1:
        return {"value": metrics[0]}
    return {f"value_{metric}": metric for metric in metrics}


def trials_table(trials: Sequence[FrozenTrial], metrics: Sequence[str]) -> pd.DataFrame:
    """Return the table of the trials; see `TuneResult.trials`."""
    import pandas as pd

    values = value_columns(metrics)
    rows = [_row(trial, values) for trial in trials]
    names = dict.fromkeys(name for row in rows for name in row)  # each once, in order

    def group(prefix: str) -> list[str]:
        return [name for name in names if name.startswith(prefix)]

    columns = [
        *("number", *values, *group("params_"), "duration_s", "state"),
        *group("result_"),
        *("worker", *_TIMES, "error", *group("notes_")),
    ]
    table = pd.DataFrame(rows, columns=columns)
    for name in _TIMES:
        table[name] = pd.to_datetime(table[name], unit="s", utc=True)
    return table


def _row(trial: FrozenTrial, values: dict[str, str]) -> dict[str, Any]:
    started_at = math.nan if trial.started_at is None else trial.started_at
    further = {name: v for name, v in trial.result.items() if name not in values.values()}
    return {
        "number": trial.number,
        "state": trial.state,
        **{column: trial.result.get(name, math.nan) for column, name in values.items()},
        **{f"params_{name}": value for name, value in trial.params.items()},
        "duration_s": trial.ended_at - started_at,
        **{f"result_{name}": value for name, value in further.items()},
        "worker": trial.worker,
        "started_at": started_at,
        "ended_at": trial.ended_at,
        "error": trial.error,
        **{f"notes_{name}": value for name, value in trial.notes.items()},
    }
