"""Earlier trials, and how a run uses them."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest

from rush_core import EmbeddedServer, Network
from rush_opt import (
    AllTrialsFailedError,
    Boolean,
    Categorical,
    Constant,
    Float,
    Integer,
    Ordinal,
    Space,
    Transformed,
    TuneResult,
    simulate,
    tune,
)
from rush_opt.arguments.warm_start import known_trials
from rush_opt.problem.goal import Goal
from rush_opt.problem.problem import Problem
from rush_opt.space import Parameter
from tests.opt.changing import changed, goals

SPACE = {
    **{"x": Float(0, 1), "n": Integer(1, 9)},
    **{"on": Boolean(), "kind": Categorical(["a", "b"])},
}
CONFIG = {"x": 0.5, "n": 3, "on": True, "kind": "b"}
PROBLEM = Problem(Space(SPACE), (Goal("loss"),), 1)


def objective(config: dict[str, Any]) -> dict[str, float]:
    if config["n"] == 9:
        raise ValueError("too many")
    return {"loss": config["x"] + config["n"], "epochs": 3}


@pytest.fixture(scope="module")
def earlier() -> TuneResult:
    return simulate(
        objective,
        SPACE,
        n_workers=3,
        n_trials=40,
        metric="loss",
        optimizer="random",
        seed=1,
        duration=lambda config, number: 1.0,
    )


def test_a_result_gives_its_finished_trials(earlier: TuneResult) -> None:
    finished = [trial for trial in earlier.frozen_trials if trial.value is not None]
    assert 0 < len(finished) < 40
    assert known_trials(earlier, PROBLEM) == [(t.params, t.result) for t in finished]


@pytest.mark.parametrize("as_path", [str, Path])
def test_a_file_gives_the_trials_of_the_result_in_it(
    as_path: Callable[[Path], Any], earlier: TuneResult, tmp_path: Path
) -> None:
    earlier.to_json(tmp_path / "earlier.json")
    assert known_trials(as_path(tmp_path / "earlier.json"), PROBLEM) == known_trials(
        earlier, PROBLEM
    )
    (tmp_path / "table.csv").write_text("x,value\n0.5,1.0\n")
    with pytest.raises(ValueError, match="must hold JSON"):
        known_trials(as_path(tmp_path / "table.csv"), PROBLEM)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        known_trials(as_path(tmp_path / "nowhere.json"), PROBLEM)


def test_the_only_objective_may_have_had_another_name(earlier: TuneResult) -> None:
    problem = replace(PROBLEM, goals=(Goal("error"),))
    known = known_trials(earlier, problem)
    assert [result["error"] for _, result in known] == [r["loss"] for _, r in known]


def test_a_further_value_of_a_result_can_be_the_goal_of_another_run(
    earlier: TuneResult,
) -> None:
    problem = replace(PROBLEM, goals=(Goal("epochs", "maximize"),))
    assert {result["epochs"] for _, result in known_trials(earlier, problem)} == {3.0}


@pytest.mark.parametrize("metric", ["loss", "error"])
def test_a_result_with_another_direction_is_refused(metric: str, earlier: TuneResult) -> None:
    problem = replace(PROBLEM, goals=(Goal(metric, "maximize"),))
    with pytest.raises(ValueError, match=f"'{metric}' has 'minimize' there and 'maximize' here"):
        known_trials(earlier, problem)


def test_directions_are_compared_by_the_names_of_the_objectives(earlier: TuneResult) -> None:
    two = changed(earlier, goals=goals(("loss", "epochs"), "minimize", "maximize"))
    problem = replace(PROBLEM, goals=(Goal("epochs", "maximize"), Goal("loss")))
    assert len(known_trials(two, problem)) == len(known_trials(earlier, PROBLEM))
    with pytest.raises(ValueError, match="'epochs' has 'maximize' there and 'minimize' here"):
        known_trials(two, replace(problem, goals=(Goal("epochs"), Goal("loss"))))


def test_a_table_gives_the_same_configurations_with_their_types(earlier: TuneResult) -> None:
    known = known_trials(earlier.trials, PROBLEM)
    assert known == [
        (trial.params, {"loss": trial.value})
        for trial in earlier.frozen_trials
        if trial.value is not None
    ]
    types = [type(known[0][0][name]) for name in SPACE]
    assert types == [float, int, bool, str]


def test_a_table_may_have_lost_its_integers() -> None:
    table = pd.DataFrame({f"params_{k}": [v] for k, v in CONFIG.items()} | {"value": [0.25]})
    table["params_n"] = table["params_n"].astype(float)
    ((config, _),) = known_trials(table, PROBLEM)
    assert config == CONFIG
    assert type(config["n"]) is int


def power(exponent: int) -> int:
    return int(2**exponent)


def drawn_from(space: Any) -> TuneResult:
    """Return 30 trials at random whose value is 1."""
    return simulate(
        lambda config: 1.0,
        space,
        n_workers=1,
        n_trials=30,
        optimizer="random",
        seed=1,
        duration=lambda config, number: 1.0,
    )


@pytest.mark.parametrize(
    "kind",
    [
        Integer(50, 200, step=50, when={"on": True}),
        Ordinal([50, 100, 200], when={"on": True}),
        Categorical([50, 100.5, 200], when={"on": True}),
        Constant(50, when={"on": True}),
        Transformed(Integer(3, 9), power, inverse=lambda n: n.bit_length() - 1, when={"on": True}),
        Transformed(Integer(3, 9), power, inverse=math.log2, when={"on": True}),
        Transformed(Float(0, 2), lambda x: 10**x, inverse=math.log10, when={"on": True}),
    ],
    ids=lambda kind: repr(kind).partition("(")[0],
)
def test_a_number_in_a_column_with_empty_cells_keeps_its_type(kind: Parameter) -> None:
    space = Space({"on": Boolean(), "n": kind})
    result = drawn_from(space)
    expected = [trial.params for trial in result.frozen_trials]
    assert result.trials["params_n"].isna().any()
    problem = replace(PROBLEM, space=space, goals=(Goal("value"),))
    found = [config for config, _ in known_trials(result.trials, problem)]
    assert found == expected
    assert [type(c.get("n")) for c in found] == [type(c.get("n")) for c in expected]


def test_an_empty_cell_means_none_if_none_is_a_choice(tmp_path: Path) -> None:
    space = {
        **{"weight": Categorical(["balanced", None]), "deep": Boolean()},
        **{"depth": Integer(1, 9, when={"deep": True})},
        **{"cap": Categorical([None, 1, 10], when={"deep": True})},
    }
    result = drawn_from(space)
    expected = [trial.params for trial in result.frozen_trials]
    assert {"weight": None, "deep": False} in expected
    assert any(config["deep"] and config["cap"] is None for config in expected)
    problem = replace(PROBLEM, space=Space(space), goals=(Goal("value"),))
    result.trials.to_csv(tmp_path / "trials.csv", index=False)
    for table in (result.trials, pd.read_csv(tmp_path / "trials.csv")):
        assert [config for config, _ in known_trials(table, problem)] == expected
    with pytest.raises(ValueError, match="parameter 'weight' is missing"):
        known_trials(result.trials.drop(columns="params_weight"), problem)


@pytest.mark.parametrize(
    "choices", [["sqrt", "log2", None, 0.5, 3], [True, "auto"]], ids=lambda choices: choices[0]
)
def test_choices_of_several_types_come_back_from_a_file(choices: list[Any], tmp_path: Path) -> None:
    space = {"features": Categorical(choices)}
    result = drawn_from(space)
    expected = [trial.params for trial in result.frozen_trials]
    assert {config["features"] for config in expected} == set(choices)
    result.to_parquet(tmp_path / "trials.parquet")
    problem = replace(PROBLEM, space=Space(space), goals=(Goal("value"),))
    found = [c for c, _ in known_trials(pd.read_parquet(tmp_path / "trials.parquet"), problem)]
    assert found == expected
    assert [type(c["features"]) for c in found] == [type(c["features"]) for c in expected]


def test_numbers_among_texts_come_back_from_csv(tmp_path: Path) -> None:
    space = {"features": Categorical(["sqrt", 0.5, 3])}
    result = drawn_from(space)
    result.trials.to_csv(tmp_path / "trials.csv", index=False)
    problem = replace(PROBLEM, space=Space(space), goals=(Goal("value"),))
    found = [config for config, _ in known_trials(pd.read_csv(tmp_path / "trials.csv"), problem)]
    assert found == [trial.params for trial in result.frozen_trials]
    table = pd.DataFrame({"params_features": ["cube", '"cube"', "7"], "value": [1.0] * 3})
    for text in table["params_features"]:
        with pytest.raises(ValueError, match=f"got '{text}'"):
            known_trials(table[table["params_features"] == text], problem)


def test_stopped_trials_are_left_out(earlier: TuneResult) -> None:
    whole, stopped = [trial for trial in earlier.frozen_trials if trial.value is not None][:2]
    stopped = replace(stopped, notes={**stopped.notes, "stopped_at": 3})
    result = changed(earlier, trials=[whole, stopped])
    expected = [whole.params]
    assert [config for config, _ in known_trials(result, PROBLEM)] == expected
    assert [config for config, _ in known_trials(result.trials, PROBLEM)] == expected


def test_only_complete_trials_of_an_optuna_table_are_known() -> None:
    study = optuna.create_study()
    complete, pruned, failed = (
        optuna.trial.create_trial(
            state=state,
            value=None if state == optuna.trial.TrialState.FAIL else x,
            params={"x": x},
            distributions={"x": optuna.distributions.FloatDistribution(0, 1)},
        )
        for state, x in (
            (optuna.trial.TrialState.COMPLETE, 0.5),
            (optuna.trial.TrialState.PRUNED, 0.25),
            (optuna.trial.TrialState.FAIL, 0.75),
        )
    )
    study.add_trials([pruned, complete, failed])
    study.ask()
    problem = replace(PROBLEM, space=Space({"x": Float(0, 1)}), goals=(Goal("value"),))
    table = study.trials_dataframe()
    assert table["state"].tolist() == ["PRUNED", "COMPLETE", "FAIL", "RUNNING"]
    assert known_trials(table, problem) == [({"x": 0.5}, {"value": 0.5})]


def test_pairs_have_a_number_or_a_mapping() -> None:
    given = [(CONFIG, 2), (CONFIG, np.float32(0.5)), [CONFIG, {"loss": 1, "epochs": 2}]]
    results = [result for _, result in known_trials(given, PROBLEM)]
    assert results == [{"loss": 2.0}, {"loss": 0.5}, {"loss": 1.0, "epochs": 2}]
    assert [type(result["loss"]) for result in results] == [float] * 3


def test_nothing_is_known_without_a_warm_start() -> None:
    assert known_trials(None, PROBLEM) == []
    assert known_trials([], PROBLEM) == []


@pytest.mark.parametrize(
    ("warm_start", "error", "message"),
    [
        (3, TypeError, "warm_start must be a TuneResult, the path"),
        ({"x": 1}, TypeError, "warm_start must be"),
        ([CONFIG], TypeError, "warm_start[0] must be a pair"),
        ([(CONFIG, 1.0), (CONFIG,)], TypeError, "warm_start[1] must be a pair"),
        ([(3, 1.0)], TypeError, "warm_start[0]: the configuration must be a mapping"),
        ([({"x": 0.5}, 1.0)], ValueError, "warm_start[0]: parameter 'n' is missing"),
        ([(CONFIG | {"x": 2.0}, 1.0)], ValueError, "warm_start[0]: parameter 'x' needs"),
        ([(CONFIG, math.nan)], ValueError, "warm_start[0]: 'loss' must be finite, got nan"),
        ([(CONFIG, 10**400)], ValueError, "warm_start[0]: 'loss' must be in the range of a float"),
        ([(CONFIG, None)], TypeError, "warm_start[0]: 'loss' must be a number, got None"),
        ([(CONFIG, True)], TypeError, "'loss' must be a number, got True"),
        ([(CONFIG, {"value": 1.0})], ValueError, "no 'loss', only ['value']"),
        (pd.DataFrame({"params_x": [0.5]}), ValueError, "a column 'value'"),
        (pd.DataFrame({"params_x": [0.5], "value": [1.0]}), ValueError, "row 0 of warm_start"),
    ],
)
def test_a_warm_start_that_does_not_fit_is_refused(
    warm_start: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as refusal:
        known_trials(warm_start, PROBLEM)
    assert message in str(refusal.value)


@pytest.mark.parametrize("optimizer", ["adbo", "acbo"])
def test_known_trials_begin_a_run_and_do_not_count_in_its_budget(
    optimizer: str, earlier: TuneResult, server: EmbeddedServer, network: Network
) -> None:
    called_with: list[Any] = []
    result = tune(
        objective,
        SPACE,
        n_workers=1,
        n_trials=10,
        metric="loss",
        optimizer=optimizer,
        seed=2,
        warm_start=earlier,
        network_id=network.network_id,
        url=server.url,
        callbacks=[called_with.append],
        progress=False,
    )
    known = known_trials(earlier, PROBLEM)
    n = len(known)
    before, new = result.frozen_trials[:n], result.frozen_trials[n:]
    assert [(t.params, t.result) for t in before] == known
    assert all(trial.warm and trial.worker is None for trial in before)
    assert len(new) == 10
    assert not any(trial.warm for trial in new)
    assert called_with == [trial for trial in new if trial.value is not None]
    assert result.stop_reason == "n_trials"
    # Enough is known for a model at once: no initial design is drawn.
    assert [trial.notes["n_known"] for trial in new] == list(range(n, n + 10))
    assert result.utilization["n_trials"].tolist() == [10]
    table = result.trials
    assert table["notes_warm_start"].notna().tolist() == [True] * n + [False] * 10
    assert table["worker"].isna().tolist() == [True] * n + [False] * 10


@pytest.mark.parametrize("is_simulated", [False, True])
def test_a_run_whose_trials_all_fail_raises_despite_known_trials(
    is_simulated: bool, server: EmbeddedServer
) -> None:
    def fail(config: dict[str, Any]) -> float:
        raise RuntimeError("broken")

    where: dict[str, Any] = (
        {"duration": lambda config, number: 1.0}
        if is_simulated
        else {"url": server.url, "progress": False}
    )
    with pytest.raises(AllTrialsFailedError, match="broken"):
        (simulate if is_simulated else tune)(
            fail,
            SPACE,
            n_workers=1,
            n_trials=100,
            optimizer="random",
            warm_start=[(CONFIG, 0.5)],
            **where,
        )


def test_known_trials_count_for_the_initial_design(earlier: TuneResult) -> None:
    result = simulate(
        objective,
        SPACE,
        n_workers=3,  # with four dimensions the rule is seven points
        n_trials=10,
        metric="loss",
        seed=2,
        warm_start=known_trials(earlier, PROBLEM)[:5],
        duration=lambda config, number: 1.0,
    )
    designed = [t for t in result.frozen_trials[5:] if "lambda" not in t.notes]
    assert len(designed) == 2


def test_a_run_refuses_a_warm_start_that_does_not_fit(
    server: EmbeddedServer, network: Network
) -> None:
    with pytest.raises(ValueError, match="parameter 'x' needs"):
        tune(
            *(objective, SPACE),
            warm_start=[(CONFIG | {"x": 2.0}, 1.0)],
            network_id=network.network_id,
            url=server.url,
        )
    assert network.count_tasks() == (0, 0, 0, 0)


# -- what does not fit -----------------------------------------------------------------------------


def test_trials_that_do_not_fit_are_left_out_and_counted(
    earlier: TuneResult, caplog: pytest.LogCaptureFixture
) -> None:
    smaller = replace(PROBLEM, space=Space({**SPACE, "n": Integer(1, 5)}))
    fitting = [t.params for t in earlier.frozen_trials if t.params["n"] <= 5]
    whole = [t for t in earlier.frozen_trials if t.state == "finished"]
    assert 0 < len(fitting) < len(whole)
    for warm_start in (earlier, earlier.trials.rename(columns={"value": "value"})):
        caplog.clear()
        assert [config for config, _ in known_trials(warm_start, smaller)] == fitting
        (message,) = caplog.messages
        n_misfits = len(whole) - len(fitting)
        assert f"{n_misfits} of {len(whole)} trials do not fit the space" in message
        assert "parameter 'n' needs" in message


def test_fixed_parameters_are_added_where_they_are_missing(
    earlier: TuneResult, caplog: pytest.LogCaptureFixture
) -> None:
    larger = replace(PROBLEM, space=Space({**SPACE, "threads": 2}))
    found = known_trials(earlier, larger)
    whole = [t.params for t in earlier.frozen_trials if t.state == "finished"]
    assert [config for config, _ in found] == [{"threads": 2, **params} for params in whole]
    (message,) = caplog.messages
    assert f"were added to {len(whole)} of {len(whole)} trials" in message


def test_a_warm_start_of_which_nothing_fits_is_refused(earlier: TuneResult) -> None:
    other = replace(PROBLEM, space=Space({"y": Float(0, 1)}))
    with pytest.raises(
        ValueError, match=r"none of the \d+ trials of warm_start fits .* trial 0 of"
    ):
        known_trials(earlier, other)


def test_a_study_of_optuna_is_a_warm_start(caplog: pytest.LogCaptureFixture) -> None:
    study = optuna.create_study(directions=["minimize", "maximize"])
    x = optuna.distributions.FloatDistribution(0, 2)
    for value, state in ((0.5, "COMPLETE"), (1.5, "COMPLETE"), (0.25, "FAIL")):
        study.add_trial(
            optuna.trial.create_trial(
                state=optuna.trial.TrialState[state],
                values=[value, 1 - value] if state == "COMPLETE" else None,
                params={"x": value},
                distributions={"x": x},
            )
        )
    both = (Goal("a"), Goal("b", "maximize"))
    problem = replace(PROBLEM, space=Space({"x": Float(0, 1)}), goals=both)
    assert known_trials(study, problem) == [({"x": 0.5}, {"a": 0.5, "b": 0.5})]
    assert "1 of 2 trials do not fit" in caplog.text
    with pytest.raises(ValueError, match="must have the directions of this run"):
        known_trials(study, replace(problem, goals=both[::-1]))
