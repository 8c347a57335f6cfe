"""Results in files, and the trials that were known when another one was proposed."""

import base64
import json
import math
import tracemalloc
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
from rush_opt.optimizers.base import Place
from rush_opt.optimizers.decider import Decider
from rush_opt.problem.goal import Goal
from rush_opt.problem.problem import Problem
from rush_opt.results.plain import from_plain, to_plain
from rush_opt.results.record import RunRecord
from rush_opt.simulation.costs import Costs
from tests.opt.changing import changed, goals
from tests.typed import unchecked

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


def test_a_result_survives_json(result: TuneResult, tmp_path: Path) -> None:
    result.to_json(tmp_path / "result.json")
    again = TuneResult.from_json(tmp_path / "result.json")
    for mine, other in zip(result.frozen_trials, again.frozen_trials, strict=True):
        assert same(vars(mine), vars(other))
    for field in fields(RunRecord):
        if field.name != "trials":
            mine, other = (getattr(r.record, field.name) for r in (result, again))
            assert mine == other, field.name
    assert again.best_trial.number == result.best_trial.number
    pd.testing.assert_frame_equal(again.utilization, result.utilization)
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]


def test_a_real_run_survives_json_with_its_workers(server: EmbeddedServer, tmp_path: Path) -> None:
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


def test_a_space_with_functions_is_left_out(result: TuneResult, tmp_path: Path) -> None:
    space = Space(SPACE, constraints=[lambda config: config["x"] < 2])
    changed(result, space=space).to_json(tmp_path / "result.json")
    assert TuneResult.from_json(tmp_path / "result.json").space is None


@pytest.mark.parametrize(
    "space",
    [
        {"$x": Float(0, 1)},
        {"C": Ordinal([0.1, 1.0, math.inf]), "x": Float(0, 1)},
        {"kind": Categorical(["$a", "b"]), "x": Float(0, 1, when={"kind": "$a"})},
    ],
)
def test_a_space_with_unusual_names_and_choices_survives_json(
    space: dict[str, Any], result: TuneResult, tmp_path: Path
) -> None:
    changed(result, space=Space(space)).to_json(tmp_path / "result.json")
    assert TuneResult.from_json(tmp_path / "result.json").space == Space(space)


@pytest.mark.parametrize("text", ["", "[1]", "{}", '{"format": "rush_opt.TuneResult"}'])
def test_another_file_is_refused_with_its_name(text: str, tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text(text)
    with pytest.raises(ValueError, match=r"other\.json' must hold"):
        TuneResult.from_json(tmp_path / "other.json")


@pytest.fixture
def content(result: TuneResult, tmp_path: Path) -> dict[str, Any]:
    result.to_json(tmp_path / "result.json")
    plain: dict[str, Any] = json.loads((tmp_path / "result.json").read_text())
    return plain


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed", "1"),
        ("ended_at", None),
        ("metrics", ["other"]),
        ("directions", ["up"]),
        ("workers", [{}]),
        ("space", {"parameters": {"x": {"kind": "Float", "low": 0, "high": 10**400}}}),
        ("frozen_trials", [{}]),
        ("frozen_trials", {}),
    ],
)
def test_a_damaged_file_is_refused_with_its_name(
    content: dict[str, Any], name: str, value: Any, tmp_path: Path
) -> None:
    (tmp_path / "damaged.json").write_text(json.dumps(content | {name: value}))
    with pytest.raises(ValueError, match=r"damaged\.json' must hold .* part of it is damaged"):
        TuneResult.from_json(tmp_path / "damaged.json")
    del content[name]
    (tmp_path / "damaged.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=f"KeyError: '{name}'"):
        TuneResult.from_json(tmp_path / "damaged.json")


@pytest.mark.parametrize(
    "change", [{"value": "half"}, {"ended_at": 10**400}, {"params": 1}, {"result": {}}, {"more": 1}]
)
def test_a_damaged_trial_is_refused(
    content: dict[str, Any], change: dict[str, Any], tmp_path: Path
) -> None:
    trials = content["frozen_trials"]
    i = next(i for i, trial in enumerate(trials) if trial["state"] == "finished")
    trials[i] |= change
    (tmp_path / "damaged.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="a part of it is damaged"):
        TuneResult.from_json(tmp_path / "damaged.json")


def test_a_file_that_is_nested_too_deep_is_refused(tmp_path: Path) -> None:
    for text in ("[" * 100_000, '{"parameters": ' * 100_000):
        (tmp_path / "deep.json").write_text(text)
        with pytest.raises(ValueError, match="must hold JSON"):
            TuneResult.from_json(tmp_path / "deep.json")
        with pytest.raises(ValueError, match="too deep"):
            Space.from_json(text)


def test_an_array_that_claims_to_be_larger_than_it_is_takes_no_memory() -> None:
    written = to_plain(np.array([0.5]))
    content = base64.b64decode(written["$array"])
    claimed = content.replace(b"(1,), }" + b" " * 12, b"(99999999999,), }  ")
    assert len(claimed) == len(content)
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"shape \(99999999999,\)"):
        from_plain({"$array": base64.b64encode(claimed).decode()})
    assert tracemalloc.get_traced_memory()[1] < 10 * 2**20
    tracemalloc.stop()


@pytest.mark.parametrize("content", [b"PK\x03\x04", b"\x80\x05K\x01.", b""])
def test_an_archive_or_a_pickle_in_the_place_of_an_array_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match="magic string"):
        from_plain({"$array": base64.b64encode(content).decode()})


PLAIN = st.none() | st.booleans() | st.integers() | st.text() | st.binary() | st.floats()
NAMES = st.sampled_from(["a", "$", "$float", "$dict", "", 1, -0.5, math.inf, None, b"", (1, ())])


@settings(max_examples=50)
@given(st.recursive(PLAIN, lambda s: st.lists(s) | st.dictionaries(NAMES, s), max_leaves=10))
def test_every_kind_of_value_survives_json(value: Any) -> None:
    text = json.dumps(to_plain(value), allow_nan=False)
    # repr: a NaN does not equal itself.
    assert repr(from_plain(json.loads(text))) == repr(value)


# -- Parquet ---------------------------------------------------------------------------------------


def test_trials_survive_parquet(result: TuneResult, tmp_path: Path) -> None:
    simple = [replace(t, result={"loss": t.value, "epochs": 3}) for t in result.frozen_trials]
    result = changed(result, trials=simple)
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
    changed(result, trials=trials).to_parquet(tmp_path / "trials.parquet")
    for text in pd.read_parquet(tmp_path / "trials.parquet")["result_found"]:
        assert from_plain(json.loads(text)) == found


# -- what was known --------------------------------------------------------------------------------


def test_trials_that_ended_before_the_proposal_began_are_known(result: TuneResult) -> None:
    proposed = [trial for trial in result.frozen_trials if "n_known" in trial.notes]
    assert len(proposed) > 20
    for trial in proposed:
        began = (trial.started_at or 0.0) - 0.125 - 0.25
        ended = [t.number for t in result.frozen_trials if t.ended_at <= began]
        assert [t.number for t in result.known_at(trial)] == ended
    states = {t.state for t in result.known_at(proposed[-1])}
    assert states == {"finished", "failed"}


def test_the_known_trials_give_the_same_proposals_again() -> None:
    """One worker: its random numbers are the same if all earlier proposals are repeated."""
    result = run(n_workers=1, warm_start=[({"x": 0.5, "kind": 1}, 0.5)])
    space = result.space
    assert space is not None
    problem = Problem(space, (Goal("loss"),), result.seed)
    decider, n_told = Decider(ADBO(), problem, Place(0, 0, 1)), 0
    costs = Costs(problem, lambda n_known: (0.0, 0.0), coordination=None, n_followers=1)
    for trial in result.frozen_trials:
        if "n_known" not in trial.notes:
            continue
        for known in result.known_at(trial)[n_told:]:
            table = TaskTable.from_results([known.params], [{"loss": known.value}])
            if known.state == "finished":
                decider.archive.add(table)
            else:
                decider.archive.add_failed(table)
        n_told = len(decider.archive)
        assert decider.choose(costs.timing).proposal.config == trial.params
    assert n_told == 40


def test_lost_trials_are_not_known_and_trials_of_a_warm_start_are(result: TuneResult) -> None:
    def trial(number: int, **changes: Any) -> FrozenTrial:
        return replace(result.frozen_trials[number], **changes)

    lost = trial(1, state="failed", value=None, notes={"lost": "killed"})
    warm = trial(0, notes={"warm_start": True})
    last = trial(4, notes={"n_known": 3})
    by_hand = changed(result, trials=[warm, lost, trial(2), trial(3), last])
    assert [t.number for t in by_hand.known_at(last)] == [0, 2, 3]
    with pytest.raises(ValueError, match="trial 0 was not proposed from results of other"):
        by_hand.known_at(warm)


def test_a_worker_knows_its_own_trials_before_others_that_ended_just_before(
    result: TuneResult,
) -> None:
    def trial(number: int, worker: int, ended_at: float, **changes: Any) -> FrozenTrial:
        made = replace(result.frozen_trials[0], number=number, worker=worker, notes={})
        return replace(made, started_at=0.0, ended_at=ended_at, **changes)

    ended = [trial(0, 1, 1.0), trial(1, 2, 2.0), trial(2, 1, 2.01)]
    proposed = trial(3, 1, 4.0)
    proposed = replace(proposed, started_at=3.0, notes={"n_known": 2})
    by_hand = changed(result, trials=[*ended, proposed])
    assert [t.number for t in by_hand.known_at(proposed)] == [0, 2]
    by_another = replace(proposed, notes={"n_known": 2, "proposer": 3})
    by_hand = changed(result, trials=[*ended, by_another])
    assert [t.number for t in by_hand.known_at(by_another)] == [0, 1]


# -- files of earlier versions ---------------------------------------------------------------------


def test_a_file_of_the_first_version_opens() -> None:
    """The file was written before there was a record of a run, by 8 trials in virtual time."""
    result = TuneResult.from_json(Path(__file__).parent / "files" / "result_version_1.json")
    assert repr(result) == "<TuneResult: 6 trials finished, 2 failed, best value 0.650666>"
    assert result.record.goals == goals("loss", "maximize")
    assert (result.metric, result.direction) == ("loss", "maximize")
    assert result.space == Space(SPACE)
    assert [t.number for t in result.frozen_trials if t.error is not None] == [5, 7]
    assert result.best_trial.number == 2
    assert result.best_trial.result["curve"].tolist() == [0.0, 0.5]
    assert result.best_trial.result["worst"] == math.inf
    assert result.deadline == 100.0
    assert [worker.number for worker in result.workers] == [0, 1]
    assert result.objective_share == pytest.approx(0.9261512654320514)


def test_with_space_gives_a_result_its_space(result: TuneResult) -> None:
    without = changed(result, space=None)
    with pytest.raises(ValueError, match=r"add the space: result\.with_space\(space\)"):
        _ = without.best_estimated
    assert result.space is not None
    assert without.with_space(result.space) == result
    assert without.space is None


def test_the_earlier_way_to_add_a_space_still_works_and_warns(result: TuneResult) -> None:
    with pytest.warns(DeprecationWarning, match=r"use result\.with_space\(space\)") as warned:
        again = unchecked(replace)(changed(result, space=None), space=result.space)
    assert again == result
    assert warned[0].filename == __file__
