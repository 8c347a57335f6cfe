"""Results in files, and what was known when."""

import json
import math
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rush_core import EmbeddedServer, TaskTable
from rush_opt import (
    ADBO,
    Categorical,
    Float,
    FrozenTrial,
    Integer,
    Ordinal,
    Space,
    TuneResult,
    simulate,
    tune,
)
from rush_opt.evaluation.runner import Problem
from rush_opt.results.files import from_plain, to_plain
from rush_opt.search.archive import Archive
from rush_opt.simulation.virtual_run import Charges

SPACE = {
    "x": Float(0, 1),
    "kind": Categorical(["a", 1, None]),
    "n": Integer(1, 9, when={"kind": "a"}),
}


def objective(config: dict[str, Any]) -> dict[str, Any]:
    if config["x"] > 0.8:
        raise ValueError("too much")
    return {
        "loss": config["x"],
        "curve": np.linspace(0, config["x"], 3),
        "worst": math.inf,
        "model": b"\x00\xff",
        "phase": np.complex128(1 + 2j),
        "parts": {"a": [1, 2.5], "$odd": None},
    }


def run(**changes: Any) -> TuneResult:
    given: dict[str, Any] = {
        "n_workers": 3,
        "n_trials": 40,
        "seed": 1,
        "metric": "loss",
        "optimizer": "adbo",
    }
    return simulate(
        objective,
        SPACE,
        duration=lambda config, number: 1.0 + config["x"],
        cost=lambda n_known: (0.125, 0.25),
        **(given | changes),
    )


@pytest.fixture(scope="module")
def result() -> TuneResult:
    return run()


def same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and np.array_equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    return type(a) is type(b) and a == b


# -- JSON ------------------------------------------------------------------------------------------


def test_a_result_comes_back_from_json_as_it_was(result: TuneResult, tmp_path: Path) -> None:
    result.to_json(tmp_path / "result.json")
    again = TuneResult.from_json(tmp_path / "result.json")
    for mine, other in zip(result.frozen_trials, again.frozen_trials, strict=True):
        assert same(vars(mine), vars(other))
    for field in fields(TuneResult):
        if field.name != "frozen_trials":
            assert getattr(again, field.name) == getattr(result, field.name), field.name
    assert again.best_trial.number == result.best_trial.number
    pd.testing.assert_frame_equal(again.utilization, result.utilization)
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]


def test_a_real_run_comes_back_with_its_workers(server: EmbeddedServer, tmp_path: Path) -> None:
    result = tune(
        lambda config: config["x"],
        {"x": Float(0, 1)},
        n_workers=1,
        n_trials=3,
        url=server.url,
        progress=False,
    )
    result.to_json(tmp_path / "result.json")
    assert TuneResult.from_json(tmp_path / "result.json") == result


def test_the_file_is_plain_json(result: TuneResult, tmp_path: Path) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    result.to_json(tmp_path / "result.json")
    text = (tmp_path / "result.json").read_text()
    content = json.loads(text, parse_constant=refuse)
    assert content["format"] == "rush_opt.TuneResult"
    finished = next(t for t in content["frozen_trials"] if t["state"] == "finished")
    assert finished["result"]["worst"] == {"$float": "inf"}
    assert content["space"]["parameters"]["x"]["kind"] == "Float"


def test_a_space_made_of_code_is_left_out(result: TuneResult, tmp_path: Path) -> None:
    space = Space(SPACE, constraints=[lambda config: config["x"] < 2])
    replace(result, space=space).to_json(tmp_path / "result.json")
    assert TuneResult.from_json(tmp_path / "result.json").space is None


@pytest.mark.parametrize(
    "space",
    [
        {"$x": Float(0, 1)},
        {"C": Ordinal([0.1, 1.0, math.inf]), "x": Float(0, 1)},
        {"kind": Categorical(["$a", "b"]), "x": Float(0, 1, when={"kind": "$a"})},
    ],
)
def test_a_space_comes_back_whatever_its_names_and_choices(
    space: dict[str, Any], result: TuneResult, tmp_path: Path
) -> None:
    replace(result, space=Space(space)).to_json(tmp_path / "result.json")
    assert TuneResult.from_json(tmp_path / "result.json").space == Space(space)


@pytest.mark.parametrize("text", ["", "[1]", "{}", '{"format": "rush_opt.TuneResult"}'])
def test_another_file_is_refused_by_its_name(text: str, tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text(text)
    with pytest.raises(ValueError, match=r"other\.json' must hold"):
        TuneResult.from_json(tmp_path / "other.json")


PLAIN = st.none() | st.booleans() | st.integers() | st.text() | st.binary() | st.floats()
NAMES = st.sampled_from(["a", "$", "$float", "$dict", "", 1, -0.5, math.inf, None, b"", (1, ())])


@settings(max_examples=50)
@given(st.recursive(PLAIN, lambda s: st.lists(s) | st.dictionaries(NAMES, s), max_leaves=10))
def test_every_value_comes_back(value: Any) -> None:
    text = json.dumps(to_plain(value), allow_nan=False)
    # repr: a NaN does not equal itself.
    assert repr(from_plain(json.loads(text))) == repr(value)


# -- Parquet ---------------------------------------------------------------------------------------


def test_trials_come_back_from_parquet(result: TuneResult, tmp_path: Path) -> None:
    simple = [replace(t, result={"loss": t.value, "epochs": 3}) for t in result.frozen_trials]
    result = replace(result, frozen_trials=simple)
    result.to_parquet(tmp_path / "trials.parquet")
    again = pd.read_parquet(tmp_path / "trials.parquet")
    assert list(again) == list(result.trials)
    for name in ("number", "value", "worker", "params_x", "result_epochs", "notes_objective_s"):
        pd.testing.assert_series_equal(again[name], result.trials[name])
    assert (again["ended_at"] == result.trials["ended_at"]).all()


def test_a_column_of_several_types_is_json_in_parquet(result: TuneResult, tmp_path: Path) -> None:
    result.to_parquet(tmp_path / "trials.parquet")
    again = pd.read_parquet(tmp_path / "trials.parquet")
    kinds = [json.loads(text) if pd.notna(text) else None for text in again["params_kind"]]
    assert kinds == [trial.params["kind"] for trial in result.frozen_trials]
    first = result.best_trial.number
    assert again["result_curve"][first].tolist() == result.best_trial.result["curve"].tolist()


@pytest.mark.parametrize("found", [{}, {"a": {}}, [{}], {1: 2.0, 2: 3.0}])
def test_a_mapping_that_parquet_has_no_type_for_is_json_in_it(
    found: Any, result: TuneResult, tmp_path: Path
) -> None:
    trials = [replace(t, result={"loss": t.value, "found": found}) for t in result.frozen_trials]
    replace(result, frozen_trials=trials).to_parquet(tmp_path / "trials.parquet")
    for text in pd.read_parquet(tmp_path / "trials.parquet")["result_found"]:
        assert from_plain(json.loads(text)) == found


# -- what was known --------------------------------------------------------------------------------


def test_known_are_the_trials_that_ended_before_the_proposal_began(result: TuneResult) -> None:
    proposed = [trial for trial in result.frozen_trials if "n_known" in trial.notes]
    assert len(proposed) > 20
    for trial in proposed:
        began = (trial.started_at or 0.0) - 0.125 - 0.25
        ended = [t.number for t in result.frozen_trials if t.ended_at <= began]
        assert [t.number for t in result.known_at(trial)] == ended
    states = {t.state for t in result.known_at(proposed[-1])}
    assert states == {"finished", "failed"}


def test_a_proposal_repeats_from_what_was_known() -> None:
    """With one worker: its stream is at the same place once all earlier proposals are repeated."""
    result = run(n_workers=1, warm_start=[({"x": 0.5, "kind": 1}, 0.5)])
    space, state = result.space, None
    assert space is not None
    problem = Problem(objective, space, ("loss",), (1.0,), 40, None, result.seed)
    archive, n_told = Archive(space, "loss"), 0
    state = ADBO().state(problem, archive, 0, n_before=0)
    charges = Charges(problem, lambda n_known: (0.0, 0.0))
    for trial in result.frozen_trials:
        if "n_known" not in trial.notes:
            continue
        for known in result.known_at(trial)[n_told:]:
            table = TaskTable.from_results([known.params], [{"loss": known.value}])
            if known.state == "finished":
                archive.add(table)
            else:
                archive.add_failed(table)
        n_told = len(archive)
        assert state.propose(charges.timing)[0] == trial.params
    assert n_told == 40


def test_lost_trials_are_not_known_and_known_ones_are(result: TuneResult) -> None:
    def trial(number: int, **changes: Any) -> FrozenTrial:
        return replace(result.frozen_trials[number], **changes)

    lost = trial(1, state="failed", value=None, notes={"lost": "killed"})
    warm = trial(0, notes={"warm_start": True})
    last = trial(4, notes={"n_known": 3})
    by_hand = replace(result, frozen_trials=[warm, lost, trial(2), trial(3), last])
    assert [t.number for t in by_hand.known_at(last)] == [0, 2, 3]
    with pytest.raises(ValueError, match="trial 0 was not proposed by looking at others"):
        by_hand.known_at(warm)
