"""Results: the best trials, the table and the workers' time, from trials made by hand."""

import math
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import pandas as pd
import pytest

from rush_core import Network, Worker, WorkerInfo, WorkerState
from rush_opt import Boolean, Constant, Float, FrozenTrial, Integer, Space, TuneResult
from rush_opt.problem.goal import Direction
from rush_opt.results.record import RunRecord
from rush_opt.results.trials import freeze_trials
from tests.opt.changing import goals

SPACE = Space({"x": Float(0, 10), "n": Integer(0, 99), "kind": Constant("a"), "on": Boolean()})

NOTES = {
    **{"objective_s": 1.0, "surrogate_s": 0.5, "acquisition_s": 0.25, "coordination_s": 0.125},
    "cpu_s": 1.5,
}


def trial(number: int, value: float | None, **changes: Any) -> FrozenTrial:
    fields: dict[str, Any] = {
        "number": number,
        "key": f"key-{number}",
        "state": "failed" if value is None else "finished",
        "params": {"x": number / 10, "n": number, "kind": "a", "on": True},
        "value": value,
        "result": {} if value is None else {"loss": value, "epochs": 10 + number},
        "error": "it went wrong" if value is None else None,
        "worker": number % 2,
        "started_at": 1_000.0 + number,
        "ended_at": 1_000.5 + number,
        "notes": dict(NOTES),
    }
    return FrozenTrial(**fields | changes)


def worker(number: int, **changes: Any) -> WorkerInfo:
    fields: dict[str, Any] = {
        **{"worker_id": f"w{number}", "number": number, "host": "here", "pid": 1},
        **{"state": WorkerState.STOPPED, "started_at": 1_001.0 + number, "ended_at": 1_020.0},
        **{"reason": None, "heartbeat_s": None, "task_keys": ()},
    }
    return WorkerInfo(**fields | changes)


def result_of(*trials: FrozenTrial, **changes: Any) -> TuneResult:
    record = RunRecord(
        trials=list(trials),
        space=SPACE,
        goals=goals("loss", "minimize"),
        seed=1,
        stop_reason="n_trials",
        network_id="by-hand",
        started_at=1_000.0,
        ended_at=1_020.0,
        workers=[worker(0), worker(1)],
    )
    return TuneResult(replace(record, **changes))


# -- the best --------------------------------------------------------------------------------------


def test_the_best_trial_has_the_best_value_and_is_the_earliest_of_equals() -> None:
    result = result_of(*(trial(i, v) for i, v in enumerate([0.5, None, 0.25, 0.25, None, 0.75])))
    assert result.best_trial.number == 2
    assert result.best_value == 0.25
    assert result.best_params == {"x": 0.2, "n": 2, "kind": "a", "on": True}


def test_the_best_trial_of_a_maximized_objective_has_the_greatest_value() -> None:
    trials = [trial(i, v) for i, v in enumerate([-0.5, None, 0.75, 0.75, 0.25])]
    assert result_of(*trials, goals=goals("loss", "maximize")).best_trial.number == 2
    assert result_of(*trials, goals=goals("loss", "minimize")).best_trial.number == 0


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_zero_can_be_the_best_value(direction: Direction) -> None:
    sign = 1.0 if direction == "minimize" else -1.0
    trials = [trial(0, 1.0 * sign), trial(1, 0.0), trial(2, None)]
    assert result_of(*trials, goals=goals("loss", direction)).best_trial.number == 1


def test_changing_best_params_does_not_change_the_record() -> None:
    result = result_of(trial(0, 1.0))
    result.best_params["x"] = 99.0
    assert result.best_params["x"] == 0.0
    assert result.best_trial.params["x"] == 0.0


def stopped(number: int, value: float) -> FrozenTrial:
    return trial(number, value, notes=NOTES | {"stopped_at": 1})


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_a_stopped_trial_is_the_best_only_if_no_other_finished(direction: Direction) -> None:
    sign = 1.0 if direction == "minimize" else -1.0
    early = [stopped(0, -5.0 * sign), stopped(1, -6.0 * sign), trial(2, None)]
    result = result_of(*early, trial(3, 1.0), trial(4, 1.0), goals=goals("loss", direction))
    assert result.best_trial.number == 3
    assert [t.number for t in result.pareto_front] == [3, 4]
    assert result.best_estimated.trial.number == 3
    assert result.best_estimated.value == 1.0
    all_stopped = result_of(*early, goals=goals("loss", direction))
    assert all_stopped.best_trial.number == 1
    assert [t.number for t in all_stopped.pareto_front] == [1]
    assert all_stopped.best_estimated.trial.number in (0, 1)
    assert repr(result).startswith(
        "<TuneResult: 2 trials finished, 2 stopped early, 1 failed, best value 1"
    )


@pytest.mark.parametrize(
    ("trials", "said"),
    [([], "none was run"), ([trial(0, None), trial(1, None)], "see the errors in result.trials")],
)
@pytest.mark.parametrize("name", ["best_trial", "best_params", "best_value"])
def test_without_a_finished_trial_there_is_no_best_one(
    trials: list[FrozenTrial], said: str, name: str
) -> None:
    with pytest.raises(ValueError, match=f"no trial finished.*{said}"):
        getattr(result_of(*trials), name)


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([0.25, 0.5], "<TuneResult: 2 trials finished, best value 0.25>"),
        ([None, 0.125, None], "<TuneResult: 1 trials finished, 2 failed, best value 0.125>"),
        ([None], "<TuneResult: 0 trials finished, 1 failed>"),
        ([], "<TuneResult: 0 trials finished>"),
    ],
)
def test_the_repr_of_a_result_has_one_line(values: list[float | None], shown: str) -> None:
    assert repr(result_of(*(trial(i, v) for i, v in enumerate(values)))) == shown


# -- the table -------------------------------------------------------------------------------------

FIRST = ["number", "value"]
LAST = ["worker", "started_at", "ended_at", "error"]


def test_the_table_has_a_row_per_trial_and_columns_by_group() -> None:
    table = result_of(trial(0, 0.5), trial(1, None), trial(2, 0.25)).trials
    assert list(table.columns) == [
        *FIRST,
        *("params_x", "params_n", "params_kind", "params_on"),
        *("duration_s", "state"),
        "result_epochs",
        *LAST,
        *(f"notes_{name}" for name in NOTES),
    ]
    assert list(table["number"]) == [0, 1, 2]
    assert list(table["state"]) == ["finished", "failed", "finished"]
    assert table["value"].isna().tolist() == [False, True, False]
    assert table["result_epochs"].isna().tolist() == [False, True, False]
    assert table["error"][1] == "it went wrong"
    assert table["duration_s"].tolist() == [0.5, 0.5, 0.5]
    assert table["started_at"][1] == pd.Timestamp(1_001.0, unit="s", tz="UTC")


def test_a_column_has_the_type_of_its_values() -> None:
    table = result_of(trial(0, 0.5), trial(1, None)).trials
    for name in ("value", "duration_s", "params_x", "notes_cpu_s", "result_epochs"):
        assert pd.api.types.is_float_dtype(table[name]), name
    for name in ("number", "worker", "params_n"):
        assert pd.api.types.is_integer_dtype(table[name]), name
    for name in ("started_at", "ended_at"):
        assert isinstance(table[name].dtype, pd.DatetimeTZDtype), name
    assert pd.api.types.is_bool_dtype(table["params_on"])
    assert table["params_kind"].tolist() == ["a", "a"]


def test_a_trial_that_no_worker_ran_has_no_worker_and_no_start() -> None:
    table = result_of(trial(0, 0.5), trial(1, None, worker=None, started_at=None)).trials
    assert table["worker"].isna().tolist() == [False, True]
    assert table["started_at"].isna().tolist() == [False, True]
    assert math.isnan(table["duration_s"][1])


def test_the_objective_value_is_in_the_column_value_only() -> None:
    table = result_of(trial(0, 0.5, result={"loss": 0.5, "value": 3.0})).trials
    assert table["value"].tolist() == [0.5]
    assert table["result_value"].tolist() == [3.0]
    assert "result_loss" not in table


def test_an_empty_table_has_its_columns_and_types() -> None:
    table = result_of().trials
    assert list(table.columns) == [*FIRST, "duration_s", "state", *LAST]
    assert len(table) == 0
    assert isinstance(table["started_at"].dtype, pd.DatetimeTZDtype)


# -- in words, and as HTML -------------------------------------------------------------------------


def test_the_best_trials_are_a_table_with_plain_names() -> None:
    trials = [trial(0, 0.5), stopped(1, 0.1), trial(2, 0.25), trial(3, None), trial(4, 0.25)]
    table = result_of(*trials).best(4)
    assert table.index.tolist() == [2, 4, 0, 1]  # what was stopped early comes last
    assert list(table.columns) == ["value", "x", "n", "kind", "on", "duration_s"]
    assert table["x"].tolist() == [0.2, 0.4, 0.0, 0.1]
    assert result_of(*trials).best(1).index.tolist() == [2]
    upwards = result_of(*trials, goals=goals("loss", "maximize"))
    assert upwards.best().index.tolist() == [0, 2, 4, 1]
    assert result_of().best().empty


def test_a_parameter_with_the_name_of_another_column_keeps_its_prefix() -> None:
    table = result_of(trial(0, 0.5, params={"value": 1, "number": 2, "x": 3})).best()
    assert list(table.columns) == ["value", "params_value", "params_number", "x", "duration_s"]


def test_the_summary_has_the_best_trial_counts_time_and_end() -> None:
    trials = [
        trial(0, 0.5),
        stopped(1, 0.1),
        trial(2, None),
        trial(3, None, notes={"lost": "lost"}),
    ]
    assert result_of(*trials).summary().splitlines() == [
        "best      0.5 (minimize), trial 0",
        "  x     0.0",
        "  n     0",
        "  kind  a",
        "  on    True",
        "trials    1 finished, 1 stopped early, 1 failed, 1 lost",
        "time      20 s with 2 workers",
        "ended     the budget of trials was used up",
    ]
    assert result_of(stop_reason="Target(value=1)").summary().splitlines() == [
        "best      none: no trial finished",
        "trials    0 finished",
        "time      20 s with 2 workers",
        "ended     Target(value=1)",
    ]


def test_html_shows_the_best_trial_and_a_picture() -> None:
    trials = [trial(0, 0.5), stopped(1, 0.1), trial(2, None), trial(3, 0.25)]
    html = result_of(*trials)._repr_html_()
    root = ElementTree.fromstring(html)  # so it is well-formed
    text = " ".join("".join(root.itertext()).split())
    assert "Best: 0.25 (minimize), trial 3" in text
    assert "2 finished, 1 stopped early, 1 failed" in text
    assert next((row[0].text, row[1].text) for row in root.iter("tr")) == ("x", "0.3")
    (picture,) = root.iter("svg")
    assert len([*picture.iter("circle")]) == 3
    assert len([*picture.iter("path")]) == 2  # the mark of the failed trial, and the best so far


@pytest.mark.parametrize("n_trials", [0, 1, 5000])
@pytest.mark.parametrize("value", [1.0, math.inf, None])
def test_html_of_any_run_is_well_formed_and_small(n_trials: int, value: float | None) -> None:
    result = result_of(*(trial(i, value) for i in range(n_trials)))
    html = result._repr_html_()
    ElementTree.fromstring(html)
    assert "nan" not in html
    assert len(html) < 60_000


def test_html_and_summary_escape_what_comes_from_users() -> None:
    hostile = '<script>alert(1)</script>\x1b[2J&"'
    trials = [trial(0, 0.5, params={hostile: hostile})]
    result = result_of(*trials, stop_reason=hostile)
    html = result._repr_html_()
    assert "<script" not in html
    assert "\x1b" not in html + result.summary()
    ElementTree.fromstring(html)


def test_html_of_several_objectives_has_the_front() -> None:
    values = {"loss": 1.0, "time": 2.0}
    both = goals("loss", "minimize") + goals("time", "minimize")
    result = result_of(trial(0, None, state="finished", result=values), goals=both)
    assert "1 trials on the Pareto front" in result._repr_html_()
    assert "front     " not in result.summary()


# -- where the time went ---------------------------------------------------------------------------


def test_a_workers_time_adds_up_to_the_wall_clock() -> None:
    result = result_of(*(trial(i, 1.0) for i in range(6)))
    table = result.utilization
    assert table["worker"].tolist() == [0, 1]
    assert table["n_trials"].tolist() == [3, 3]
    assert table["wall"].tolist() == [20.0, 20.0]
    assert table["startup"].tolist() == [1.0, 2.0]
    assert table["objective"].tolist() == [3.0, 3.0]
    assert table["surrogate"].tolist() == [1.5, 1.5]
    assert table["acquisition"].tolist() == [0.75, 0.75]
    assert table["coordination"].tolist() == [0.375, 0.375]
    assert table["cpu"].tolist() == [4.5, 4.5]
    assert table["idle"].tolist() == [13.375, 12.375]
    assert table["objective_share"].tolist() == [0.15, 0.15]
    assert result.objective_share == pytest.approx(0.15)
    assert result.busy_share == pytest.approx(5.25 / 20)


def test_the_time_of_failed_trials_counts_and_that_of_lost_ones_does_not() -> None:
    trials = [trial(0, None), trial(2, None, notes={"lost": "lost"}), trial(4, 1.0)]
    table = result_of(*trials).utilization
    assert table["n_trials"].tolist() == [3, 0]
    assert table["objective"].tolist() == [2.0, 0.0]
    assert [t.lost for t in trials] == [False, True, False]


def test_workers_of_an_earlier_run_are_left_out() -> None:
    workers = [worker(0, started_at=900.0, ended_at=950.0), worker(1), worker(2, ended_at=None)]
    trials = [trial(0, 1.0, notes=NOTES | {"objective_s": 40.0}), trial(1, 1.0)]
    result = result_of(*trials, workers=workers)
    assert result.utilization["worker"].tolist() == [1, 2]
    assert result.objective_share == pytest.approx(1 / 40)


def test_time_after_the_deadline_does_not_count() -> None:
    # Worker 0's second trial took one second; half of it was before the deadline.
    result = result_of(trial(0, 1.0), trial(2, 1.0), deadline=1_002.25, ended_at=1_030.0)
    table = result.utilization
    assert table["wall"].tolist() == [2.25, 2.25]
    assert table["objective"].tolist() == [1.5, 0.0]
    assert table["surrogate"].tolist() == [1.0, 0.0]
    early = result_of(trial(0, 1.0), deadline=1_050.0)
    assert early.utilization["wall"].tolist() == [20.0, 20.0]


def test_a_proposers_time_counts_as_busy_and_not_as_its_workers() -> None:
    proposed = NOTES | {"proposer": 2}
    result = result_of(trial(0, 1.0, notes=proposed), trial(1, 1.0), trial(3, 1.0, notes=proposed))
    table = result.utilization
    assert table["worker"].tolist() == [0, 1]
    assert table["surrogate"].tolist() == [0.0, 0.5]
    assert table["acquisition"].tolist() == [0.0, 0.25]
    assert table["proposer"].tolist() == [0.75, 0.75]
    assert table["idle"].tolist() == [20 - 1 - 1.125, 20 - 2 - 3.0]
    assert result.objective_share == pytest.approx(3 / 40)
    assert result.busy_share == pytest.approx((3 + 3 * 0.75) / 40)


def test_notes_of_a_proposer_override_those_of_the_worker(network: Network, worker: Worker) -> None:
    network.push_tasks([{"x": 1}], extras=[{"proposer": 7, "surrogate_s": 0.5}])
    task = worker.claim_task()
    assert task is not None
    worker.finish_task(task.key, {"loss": 1.0}, extra={"surrogate_s": 0.0, "objective_s": 2.0})
    (frozen,) = freeze_trials(network.fetch_tasks("finished"), ("loss",), network.fetch_workers())
    assert frozen.notes == {"proposer": 7, "surrogate_s": 0.5, "objective_s": 2.0}


def test_without_workers_there_is_no_share() -> None:
    result = result_of(workers=[])
    assert len(result.utilization) == 0
    assert "objective" in result.utilization
    assert math.isnan(result.objective_share)
    assert math.isnan(result.busy_share)


# -- from tasks to trials --------------------------------------------------------------------------


def test_trials_are_numbered_in_order_of_completion(network: Network, worker: Worker) -> None:
    keys = worker.start_tasks([{"x": 1}, {"x": 2}, {"x": 3}])
    worker.finish_task(keys[2], {"loss": 0.5, "epochs": 3}, extra={"cpu_s": 0.25})
    worker.fail_task(keys[0], "it went wrong")
    worker.finish_task(keys[1], {"loss": 0.25})
    tasks = network.fetch_tasks("finished", "failed")
    frozen = freeze_trials(tasks, ("loss",), network.fetch_workers(), first_number=10)
    assert [t.number for t in frozen] == [10, 11, 12]
    assert [t.key for t in frozen] == [keys[2], keys[0], keys[1]]
    assert [t.state for t in frozen] == ["finished", "failed", "finished"]
    assert [t.value for t in frozen] == [0.5, None, 0.25]
    assert [t.error for t in frozen] == [None, "it went wrong", None]
    assert [t.worker for t in frozen] == [0, 0, 0]
    assert frozen[0].result == {"loss": 0.5, "epochs": 3}
    assert frozen[0].notes == {"cpu_s": 0.25}
    assert frozen[1].params == {"x": 1}
    assert not any(t.lost for t in frozen)


def test_a_trial_of_a_killed_worker_is_lost(network: Network, worker: Worker) -> None:
    worker.start_task({"x": 1})
    network.stop_workers([worker.worker_id], kill=True)
    network.push_tasks([{"x": 2}])
    network.clear_queue()
    lost, cleared = freeze_trials(network.fetch_tasks("failed"), ("loss",), network.fetch_workers())
    assert lost.lost
    assert lost.worker == 0
    assert not cleared.lost
    assert cleared.worker is None
