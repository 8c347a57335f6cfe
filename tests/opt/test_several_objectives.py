"""Several objectives: in virtual and real runs, in results, and in checks of arguments."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest

from rush_core import Network, TaskTable
from rush_opt import Float, FrozenTrial, Space, TuneResult, simulate, tune
from rush_opt.arguments.warm_start import known_trials
from rush_opt.evaluation.objective import evaluate
from rush_opt.optimizers import OPTIMIZERS
from rush_opt.problem.goal import Direction, Goal
from rush_opt.problem.problem import Problem
from rush_opt.results.pareto import hypervolume
from rush_opt.results.plots import front_table
from rush_opt.search.archive import Archive
from rush_opt.search.scalarization import Scalarized, scalarize_at_random
from tests.opt.changing import changed, goals

mpl.use("agg")

SPACE = {"x": Float(0, 1), "y": Float(0, 1)}
NAMES = ("error", "recall")
GOALS = (Goal("error"), Goal("recall", "maximize"))
UP_AND_DOWN: dict[str, Any] = {"metric": ["error", "recall"], "direction": ["minimize", "maximize"]}


def trade_off(config: dict[str, Any]) -> dict[str, float]:
    """Return two objectives: x trades one for the other, and both are best if the rest is 0.5."""
    distance = sum((value - 0.5) ** 2 for name, value in config.items() if name != "x")
    return {
        "error": 1e-6 * (config["x"] ** 2 + distance),
        "recall": 1e3 * (1 - (1 - config["x"]) ** 2 - distance),
        "epochs": 7.0,
    }


def run(**changes: Any) -> TuneResult:
    given: dict[str, Any] = {
        **{"objective": trade_off, "space": SPACE, "n_workers": 4, "n_trials": 60, "seed": 1},
        **{"duration": lambda config, number: 1.0, "cost": lambda n_known: (0.0, 0.0)},
    }
    return simulate(**given | UP_AND_DOWN | changes)


@pytest.fixture(scope="module")
def result() -> TuneResult:
    return run(optimizer="random")


def trial(number: int, result: dict[str, float] | None) -> FrozenTrial:
    return FrozenTrial(
        *(number, str(number), "finished" if result else "failed", {"x": 0.5}, None, result or {}),
        *(None if result else "oops", 0, 0.0, 1.0, {}),
    )


# -- what an objective may return ------------------------------------------------------------------


@pytest.mark.parametrize(
    "returned",
    [
        {"recall": 2, "error": np.float32(0.5)},
        (0.5, 2),
        [0.5, np.int64(2)],
        np.array([0.5, 2.0]),
    ],
)
def test_a_mapping_or_as_many_numbers_in_order_name_all_values(returned: Any) -> None:
    result, error = evaluate(lambda config: returned, {}, NAMES)
    assert result == {"error": 0.5, "recall": 2.0}
    assert {type(value) for value in result.values()} == {float}
    assert error == ""


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ({"error": 0.5, "loss": 1.0}, "has no 'recall'; it has ['error', 'loss']"),
        ({}, "has no 'error'; it has []"),
        ((0.5,), "returned (0.5,) (tuple)"),
        ((0.5, 1.0, 2.0), "['error', 'recall'], or as many numbers in that order"),
        (0.5, "returned 0.5 (float)"),
        ("ab", "returned 'ab' (str)"),
        (np.array(0.5), "as many numbers"),
        ((0.5, "good"), "returned 'good' (str) as 'recall'"),
        ((math.nan, 1.0), "returned nan as 'error'"),
    ],
)
def test_the_error_names_a_missing_or_unusable_value(returned: Any, message: str) -> None:
    result, error = evaluate(lambda config: returned, {}, NAMES)
    assert result is None
    assert message in error


# -- the archive -----------------------------------------------------------------------------------


def filled_archive() -> Archive:
    archive = Archive(Space(SPACE), GOALS)
    configs = [{"x": x, "y": 0.5} for x in np.linspace(0, 1, 11)]
    archive.add(TaskTable.from_results(configs[:10], [trade_off(c) for c in configs[:10]]))
    archive.add_failed(TaskTable.from_results(configs[10:], [{}]))
    return archive


def test_an_archive_keeps_all_values_times_their_signs() -> None:
    archive = filled_archive()
    np.testing.assert_allclose(archive.Y[3], [1e-6 * 0.3**2, -1e3 * (1 - 0.7**2)], rtol=1e-6)
    assert archive.Y[10].tolist() == [math.inf, math.inf]
    with pytest.raises(ValueError, match=r"y needs one goal, but there are \['error', 'recall'\]"):
        _ = archive.y


def test_weights_combine_the_objectives_and_do_not_change_the_archive() -> None:
    archive = filled_archive()
    errors, recalls = (
        Scalarized(archive, np.array([1.0, 0.0])),
        Scalarized(archive, np.array([0.0, 1.0])),
    )
    assert errors.best(3).tolist() == [0, 1, 2]
    assert recalls.best(3).tolist() == [9, 8, 7]
    assert errors.best(1).tolist() == [0]
    assert Scalarized(archive, np.array([0.5, 0.5])).best(11)[-1] == 10  # what failed
    assert len(errors) == 11
    assert errors.X[4] in errors
    assert np.shares_memory(errors.X, archive.X)
    assert archive.Y.shape == (11, 2)


def test_a_single_objective_gets_no_weights_and_draws_no_random_number() -> None:
    archive = Archive(Space(SPACE), [Goal("loss")])
    rng = np.random.default_rng(1)
    before = rng.bit_generator.state
    assert scalarize_at_random(archive, rng) == (archive, {})
    assert rng.bit_generator.state == before


def test_an_archive_without_a_goal_is_refused() -> None:
    with pytest.raises(ValueError, match=r"an archive needs a goal, such as Goal\('loss'\)"):
        Archive(Space(SPACE), [])


# -- runs ------------------------------------------------------------------------------------------


def test_adbo_finds_more_than_random_search_in_any_units() -> None:
    space = SPACE | {name: Float(0, 1) for name in "abc"}
    areas = {}
    for optimizer in ("adbo", "random"):
        trials = run(optimizer=optimizer, space=space, n_trials=150).frozen_trials
        values = [[trial.result["error"], -trial.result["recall"]] for trial in trials]
        areas[optimizer] = hypervolume(values, [0.5e-6, -500.0])
    assert areas["adbo"] > 2 * areas["random"]


@pytest.mark.parametrize("optimizer", ["acbo", "adbo", "clbo", "de"])  # they combine goals
def test_every_proposal_from_results_has_weights_of_its_own(optimizer: str) -> None:
    found = run(optimizer=optimizer, n_trials=30)
    proposed = [trial.notes for trial in found.frozen_trials if "n_known" in trial.notes]
    weights = np.array([[notes[f"weight_{name}"] for name in NAMES] for notes in proposed])
    np.testing.assert_allclose(weights.sum(axis=1), 1.0)
    settings: Any = OPTIMIZERS[optimizer]()
    n_proposed = 30 - settings.n_initial(n_dims=2, n_workers=4)
    assert len(np.unique(weights[:, 0])) == len(weights) == n_proposed


def test_workers_find_a_front_and_errors_name_the_missing_value(network: Network) -> None:
    called_with: list[FrozenTrial] = []

    def objective(config: dict[str, Any]) -> dict[str, float]:
        values = {"error": config["x"], "recall": config["x"] - config["y"]}
        return values if config["y"] < 0.8 else {"error": 0.0}

    given: dict[str, Any] = {
        **{"n_workers": 2, "network_id": network.network_id, "url": network.url, "seed": 3},
        **UP_AND_DOWN,
    }
    found = tune(
        objective, SPACE, n_trials=30, progress=False, callbacks=[called_with.append], **given
    )
    finished = [t for t in found.frozen_trials if t.state == "finished"]
    failed = [t for t in found.frozen_trials if t.state == "failed"]
    assert called_with == found.frozen_trials
    assert len(finished) + len(failed) == 30
    assert failed
    assert all("no 'recall'; it has ['error']" in (t.error or "") for t in failed)
    assert found.pareto_front
    assert all(t in finished for t in found.pareto_front)
    # The same network goes on with the same objectives, and with no others.
    with pytest.raises(ValueError, match="has no number 'loss'"):
        tune(objective, SPACE, n_trials=31, progress=False, **given | {"metric": ["error", "loss"]})
    more = tune(objective, SPACE, n_trials=31, progress=False, **given)
    assert {t.key for t in more.frozen_trials} > {t.key for t in found.frozen_trials}
    assert len(more.frozen_trials) == 31


def test_progress_shows_the_best_of_each(capsys: pytest.CaptureFixture[str]) -> None:
    def objective(config: dict[str, Any]) -> tuple[float, float]:
        return 0.25, 8.0

    tune(objective, SPACE, n_workers=1, n_trials=3, optimizer="random", **UP_AND_DOWN)
    assert "best values 0.25 and 8" in capsys.readouterr().err


def test_three_objectives_in_two_directions_are_searched_too() -> None:
    found = run(
        objective=lambda c: (c["x"], 1 - c["x"], -((c["y"] - 0.5) ** 2)),
        metric=["a", "b", "c"],
        direction=["minimize", "minimize", "maximize"],
        optimizer="adbo",
        n_trials=100,
    )
    assert np.median([abs(t.params["y"] - 0.5) for t in found.pareto_front]) < 0.2


# -- the result ------------------------------------------------------------------------------------


def test_the_front_follows_the_directions_and_keeps_equals() -> None:
    values = [(2, 5), (1, 4), (3, 5), (1, 4), (0, 1), (2, 3), None, (1, 0)]
    trials = [
        trial(i, None if pair is None else dict(zip(NAMES, map(float, pair), strict=True)))
        for i, pair in enumerate(values)
    ]
    base = run(n_trials=1, optimizer="random")
    found = changed(base, trials=trials)
    assert [t.number for t in found.pareto_front] == [4, 1, 3, 0]
    both_down = changed(found, goals=goals(NAMES, "minimize", "minimize"))
    assert [t.number for t in both_down.pareto_front] == [4, 7]
    one = changed(found, goals=goals("error", "maximize"))
    assert [t.number for t in one.pareto_front] == [2]
    assert repr(found) == "<TuneResult: 7 trials finished, 1 failed, 4 on the Pareto front>"
    with pytest.raises(ValueError, match="no trial finished"):
        _ = changed(found, trials=[]).pareto_front


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        *((name, "pareto_front") for name in ("best_trial", "best_value", "best_params")),
        *(("best_estimated", "pareto_front"), ("metric", "metrics"), ("direction", "directions")),
    ],
)
def test_errors_for_several_objectives_name_the_alternative(
    name: str, instead: str, result: TuneResult
) -> None:
    with pytest.raises(ValueError, match=r"objectives \['error', 'recall'\]") as refusal:
        getattr(result, name)
    assert f"result.{instead}" in str(refusal.value)


def test_the_table_has_a_column_for_each_value(result: TuneResult) -> None:
    table = result.trials
    assert list(table.columns[:4]) == ["number", "value_error", "value_recall", "params_x"]
    assert "value" not in table
    assert "result_error" not in table
    assert table["result_epochs"].tolist() == [7.0] * 60
    assert table["value_recall"][5] == result.frozen_trials[5].result["recall"]
    assert all(t.value is None for t in result.frozen_trials)


def test_a_result_and_its_table_begin_a_further_run(result: TuneResult) -> None:
    problem = Problem(Space(SPACE), GOALS, 1)
    known = known_trials(result, problem)
    assert known == [(t.params, t.result) for t in result.frozen_trials]
    values = [{name: found[name] for name in NAMES} for _, found in known]
    assert [found for _, found in known_trials(result.trials, problem)] == values
    assert known_trials([({"x": 0.5, "y": 0.5}, (1, 2))], problem)[0][1] == values[0] | {
        "error": 1.0,
        "recall": 2.0,
    }
    again = run(optimizer="random", n_trials=1, warm_start=result)
    assert again.frozen_trials[0].result == result.frozen_trials[0].result
    with pytest.raises(ValueError, match="column 'value_error'"):
        known_trials(result.trials.drop(columns="value_error"), problem)
    with pytest.raises(TypeError, match="the result must be a mapping with the names"):
        known_trials([({"x": 0.5, "y": 0.5}, 1.0)], problem)
    one = replace(problem, goals=GOALS[1:])
    assert known_trials(result, one)[0][1]["recall"] == values[0]["recall"]


@pytest.mark.parametrize("directions", [("minimize", "maximize"), ("maximize", "maximize")])
def test_the_picture_of_a_front_shows_its_table(
    directions: tuple[Direction, Direction], result: TuneResult
) -> None:
    turned = changed(result, goals=goals(NAMES, *directions))
    ax = turned.plot_pareto_front()
    others, front = ax.get_lines()
    table = front_table(turned.record)
    assert len(table) == 60
    assert sorted(np.asarray(front.get_xdata())) == sorted(table["value_error"][table["on_front"]])
    assert len(np.asarray(others.get_xdata())) == 60 - len(turned.pareto_front)
    assert front.get_drawstyle() == ("steps-post" if directions[0] == "minimize" else "steps-pre")
    assert ax.get_xlabel() == f"error ({directions[0]})"
    assert ax.get_ylabel() == "recall (maximize)"
    plt.close("all")


def test_a_front_of_other_than_two_objectives_is_not_drawn(result: TuneResult) -> None:
    one = changed(result, goals=goals("error", "minimize"))
    with pytest.raises(ValueError, match=r"needs two objectives, got \['error'\]"):
        one.plot_pareto_front()


# -- checks of arguments ---------------------------------------------------------------------------


def test_a_list_of_one_is_a_single_objective() -> None:
    found = run(n_trials=3, optimizer="random", metric=["recall"], direction=("maximize",))
    assert (found.metric, found.direction) == ("recall", "maximize")
    again = run(n_trials=1, metric=found.metrics, direction=found.directions, warm_start=found)
    assert again.best_value >= found.best_value


@pytest.mark.parametrize(
    ("metric", "direction", "error", "message"),
    [
        (["a", "b"], ["minimize", "down"], ValueError, "got ['minimize', 'down']"),
        (["a", "b"], ["minimize", 3], ValueError, "direction must be 'minimize' or 'maximize'"),
        (["a", "b"], [], ValueError, "got []"),
        (["a", "b"], "minimize", ValueError, "need a metric for each direction"),
        ("a", ["minimize", "maximize"], ValueError, "several objectives are given as metric=["),
        (["a", "b", "c"], ["minimize"] * 2, ValueError, "got metric=['a', 'b', 'c']"),
        (["a", "a"], ["minimize"] * 2, ValueError, "name each objective once, got ['a', 'a']"),
        (["a", ""], ["minimize"] * 2, TypeError, "got ['a', '']"),
        (["a", 3], ["minimize"] * 2, TypeError, "got ['a', 3]"),
        ([], "minimize", TypeError, "got []"),
        ({"a", "b"}, ["minimize"] * 2, TypeError, "metric must be the name"),
    ],
)
@pytest.mark.parametrize("function", [tune, run])
def test_metrics_and_directions_that_do_not_match_are_refused(
    metric: Any, direction: Any, error: type[Exception], message: str, function: Callable[..., Any]
) -> None:
    given = {"objective": trade_off, "space": SPACE, "url": "redis://127.0.0.1:1"}
    if function is run:
        del given["url"]
    with pytest.raises(error) as refusal:
        function(**given, metric=metric, direction=direction)
    assert message in str(refusal.value)
