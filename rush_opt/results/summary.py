"""A result in words: how many trials, the best one, how long it took, why it ended."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from rush_core import duration_text, printable
from rush_opt.results.best import best_trial, pareto_front
from rush_opt.results.record import RunRecord
from rush_opt.results.table import trials_table
from rush_opt.results.trials import FrozenTrial

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "best_table",
    "best_text",
    "best_trials",
    "counts_text",
    "end_text",
    "one_line",
    "params_lines",
    "summary_text",
    "time_text",
]

# What the words of `TuneResult.stop_reason` mean; any other text is a rule or a callback's text.
_END_TEXTS = {
    "n_trials": "the budget of trials was used up",
    "timeout": "the timeout expired",
    "exhausted": "the whole grid was evaluated",
    "interrupted": "the user interrupted it",
    "workers failed": "workers were lost or failed again and again",
    "server lost": "the server was lost",
    "stopped": "another process stopped the workers",
    "not stopped": "it goes on, or its program ended early",
}


def best_trials(record: RunRecord) -> list[FrozenTrial]:
    """Return the best trial; with several objectives the Pareto front; empty if none finished."""
    if not record.finished:
        return []
    return [best_trial(record)] if len(record.goals) == 1 else pareto_front(record)


def best_table(record: RunRecord, n: int) -> pd.DataFrame:
    """Return a row for each of the best trials; see `TuneResult.best`."""
    goal = record.only_goal("no order of trials; see result.pareto_front")
    finished = [trial for trial in record.finished if goal.name in trial.result]
    ranked = sorted(
        finished,
        key=lambda t: (t.stopped_at is not None, goal.loss(t.result[goal.name]), t.number),
    )[:n]
    table = trials_table(ranked, record.metrics)
    params = [name for name in table if name.startswith("params_")]
    columns = ["number", "value", *params, "duration_s"]
    taken = {"number", "value", "duration_s"}
    plain = {name: name.removeprefix("params_") for name in params}
    shown = {name: short for name, short in plain.items() if short not in taken}
    return table[columns].rename(columns=shown).set_index("number")


def counts_text(record: RunRecord) -> str:
    """Return how many trials there are in each state: ``29 finished, 2 stopped early``."""
    n_stopped = sum(trial.stopped_at is not None for trial in record.finished)
    n_finished = len(record.finished) - n_stopped
    n_lost = sum(trial.lost for trial in record.trials)
    n_failed = len(record.trials) - len(record.finished) - n_lost
    more = ((n_stopped, "stopped early"), (n_failed, "failed"), (n_lost, "lost"))
    return ", ".join([f"{n_finished} finished", *(f"{n} {what}" for n, what in more if n)])


def best_text(record: RunRecord) -> str:
    """Return the best value, or how large the Pareto front is."""
    best = best_trials(record)
    if not best:
        return "none: no trial finished"
    if len(record.goals) > 1:
        return f"{len(best)} trials on the Pareto front"
    goal = record.goals[0]
    return f"{best[0].result[goal.name]:.6g} ({goal.direction}), trial {best[0].number}"


def end_text(record: RunRecord) -> str:
    """Return why the run ended, in words."""
    return _END_TEXTS.get(record.stop_reason, record.stop_reason)


def time_text(record: RunRecord) -> str:
    """Return how long the run took, with how many workers, and on how many hosts if several."""
    took = duration_text(record.ended_at - record.started_at)
    workers = "worker" if len(record.workers) == 1 else "workers"
    hosts = {worker.host for worker in record.workers}
    where = f" on {len(hosts)} hosts" if len(hosts) > 1 else ""
    return f"{took} with {len(record.workers)} {workers}{where}"


def one_line(record: RunRecord) -> str:
    """Return the result in one line, for the prompt of Python."""
    best = ""
    if record.finished and len(record.goals) == 1:
        best = f", best value {best_trial(record).result[record.goals[0].name]:g}"
    elif record.finished:
        best = f", {len(pareto_front(record))} on the Pareto front"
    counts = counts_text(record).replace(" finished", " trials finished", 1)
    return f"<TuneResult: {counts}{best}>"


def params_lines(params: Mapping[str, Any], columns: int | None = None) -> Iterator[str]:
    """Return a line for each parameter, with its name and value; cut to so many columns."""
    width = max((len(printable(name)) for name in params), default=0)
    for name, value in params.items():
        line = f"  {printable(name):{width}}  {printable(str(value))}"
        yield line if columns is None or len(line) <= columns else f"{line[: columns - 3]}..."


def summary_text(record: RunRecord) -> str:
    """Return the result in a few lines; see `TuneResult.summary`."""
    lines = [f"best      {printable(best_text(record))}"]
    best = best_trials(record)
    if best and len(record.goals) == 1:
        lines += params_lines(best[0].params)
    return "\n".join(
        [
            *lines,
            f"trials    {counts_text(record)}",
            f"time      {time_text(record)}",
            f"ended     {printable(end_text(record))}",
        ]
    )
