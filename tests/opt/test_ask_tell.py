"""Ask-and-tell: several open trials at once, results in any order, and no trial twice."""

import math
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest

from rush_core import Network
from rush_opt import ACBO, ADBO, CLBO, Boolean, Integer
from rush_opt.ask_tell import Advisor
from tests.opt.advisors import Advise, ask, value_of
from tests.typed import present

PATIENCE_S = 60.0  # for what takes seconds on an idle machine


@pytest.mark.parametrize("optimizer", ["adbo", "acbo", "clbo", "random"])
def test_results_of_tell_are_in_the_network(
    optimizer: str, advise: Advise, network: Network
) -> None:
    advisor = advise(optimizer=optimizer)
    for _ in range(6):
        trial = ask(advisor)
        assert advisor.open_trials == [trial]
        assert advisor.tell(trial, {"value": value_of(trial), "site": "far away"})
    assert advisor.open_trials == []
    assert network.count_tasks() == (0, 0, 6, 0)
    result = advisor.result()
    assert result.best_value == min(present(t.value) for t in result.frozen_trials)
    assert result.best_trial.result["site"] == "far away"
    assert [t.worker for t in result.frozen_trials] == [0] * 6


def test_proposals_of_an_advisor_approach_the_optimum(advise: Advise) -> None:
    advisor = advise()
    for _ in range(30):
        trial = ask(advisor)
        advisor.tell(trial, value_of(trial))
    # A uniform point is this good with a probability of 0.01; 30 of them with one of 0.28.
    assert advisor.result().best_value < 0.015


def test_an_advisor_reads_the_results_of_other_advisors(advise: Advise) -> None:
    first, second = advise(), advise()
    for _ in range(5):
        trial = ask(first)
        first.tell(trial, value_of(trial))
    bad = ask(first)
    first.fail(bad, "the machine caught fire")
    second.tell(ask(second), 1.0)
    result = second.result()
    last = result.frozen_trials[-1]
    assert last.worker == 1
    assert last.notes["n_known"] == 6
    assert result.known_at(last) == result.frozen_trials[:6]


def test_advisors_do_not_learn_from_trials_removed_from_the_queue(
    advise: Advise, network: Network
) -> None:
    advisor = advise(initial_design=4)
    first = ask(advisor)
    advisor.tell(first, value_of(first))
    assert network.clear_queue() == 3
    bad = ask(advisor)
    advisor.fail(bad, "the machine caught fire")
    last = ask(advisor)
    advisor.tell(last, value_of(last))
    result = advisor.result()
    assert result.frozen_trials[-1].notes["n_known"] == 2
    known = result.known_at(result.frozen_trials[-1])
    assert [trial.params for trial in known] == [first.params, bad.params]


@pytest.mark.parametrize("optimizer", ["adbo", "acbo", "clbo"])
def test_an_optimizer_with_a_model_avoids_trials_that_are_open_anywhere(
    optimizer: str, network: Network, server: Any
) -> None:
    space = {"n": Integer(1, 6), "b": Boolean()}
    given: dict[str, Any] = {"url": network.url, "optimizer": optimizer, "seed": 1}
    with (
        Advisor(space, network.network_id, **given) as first,
        Advisor(space, network.network_id, **given) as second,
    ):
        for _ in range(3):
            trial = ask(first)
            first.tell(trial, float(trial.params["n"]))
        told = [tuple(t.params.values()) for t in first.result().frozen_trials]
        opened = [tuple(ask(advisor).params.values()) for advisor in [first, second] * 4]
        assert len({*told, *opened}) == 11


def test_points_repeat_after_all_points_were_proposed(network: Network, server: Any) -> None:
    space = {"n": Integer(1, 3), "b": Boolean()}
    given: dict[str, Any] = {"url": network.url, "seed": 1, "initial_design": 0}
    with Advisor(space, network.network_id, **given) as advisor:
        opened = [tuple(ask(advisor).params.values()) for _ in range(8)]
    assert len(set(opened[:6])) == len(set(opened)) == 6


def test_two_advisors_without_news_of_each_other_open_no_trial_twice(
    network: Network, server: Any
) -> None:
    space = {"n": Integer(1, 4), "b": Boolean()}
    given: dict[str, Any] = {"url": network.url, "seed": 1, "initial_design": 0}
    advisors = [Advisor(space, network.network_id, **given) for _ in range(2)]
    # No results arrive, so an advisor learns of the other one's trials only from refused starts.
    opened = [tuple(ask(advisor).params.values()) for advisor in advisors * 4]
    assert len(set(opened)) == 8
    for advisor in advisors:
        advisor.close()


class Together:
    """A surrogate that prefers the lowest value; its first fit waits for those of all others."""

    def __init__(self, n: int) -> None:
        self._barrier = threading.Barrier(n)
        self._have_met: set[int] = set()

    def fit(self, X: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> "Together":
        if threading.get_ident() not in self._have_met:
            self._barrier.wait(PATIENCE_S)
            self._have_met.add(threading.get_ident())
        return self

    def predict(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.asarray(X[:, 0], dtype=np.float64), np.zeros(len(X))


@pytest.mark.parametrize("optimizer", [ADBO, ACBO, CLBO])
def test_advisors_that_ask_at_the_same_time_open_no_trial_twice(
    optimizer: Any, network: Network
) -> None:
    network.push_finished_tasks([{"n": 1}, {"n": 9}], [{"value": 1.0}, {"value": 2.0}])
    given: dict[str, Any] = {
        "url": network.url,
        "optimizer": optimizer(surrogate=Together(3)),
        "seed": 1,
    }
    with ExitStack() as stack, ThreadPoolExecutor(3) as pool:
        advisors = [
            stack.enter_context(Advisor({"n": Integer(1, 9)}, network.network_id, **given))
            for _ in range(3)
        ]
        opened = list(pool.map(ask, advisors))
    # All propose 2 at first; the two that come too late then propose 3.
    assert sorted(trial.params["n"] for trial in opened) == [2, 3, 4]


def test_results_of_many_open_trials_can_come_in_any_order(
    advise: Advise, network: Network
) -> None:
    advisor = advise()
    trials = [ask(advisor) for _ in range(5)]
    assert network.count_tasks().running == 5
    for trial in reversed(trials):
        assert advisor.tell(trial, value_of(trial))
    assert not advisor.tell(trials[0], 0.0)
    keys = [t.key for t in advisor.result().frozen_trials]
    assert keys == [trial.key for trial in reversed(trials)]


@pytest.mark.parametrize("value", [math.nan, -math.inf, {"value": math.nan}])
def test_a_value_that_is_not_finite_makes_a_failed_trial(value: Any, advise: Advise) -> None:
    advisor = advise()
    assert advisor.tell(ask(advisor), value)
    assert advisor.open_trials == []
    (trial,) = advisor.result().frozen_trials
    assert trial.state == "failed"
    assert "'value' must be finite" in (trial.error or "")


@pytest.mark.parametrize(
    ("slip", "error", "said"),
    [
        ("0.37", TypeError, "'value' must be a number, got '0.37'"),
        (None, TypeError, "'value' must be a number, got None"),
        ([0.37], TypeError, "'value' must be a number"),
        ({"loss": 0.37}, ValueError, "the result has no 'value', only ['loss']"),
    ],
)
def test_an_invalid_result_leaves_the_trial_open(
    slip: Any, error: type[Exception], said: str, advise: Advise
) -> None:
    advisor = advise()
    trial = ask(advisor)
    with pytest.raises(error, match=f"stays open: .*{re.escape(said)}"):
        advisor.tell(trial, slip)
    assert advisor.open_trials == [trial]
    assert advisor.tell(trial, 0.37)
    assert advisor.result().best_value == 0.37


def test_what_cannot_be_stored_leaves_the_trial_open(advise: Advise) -> None:
    advisor = advise()
    trial = ask(advisor)
    with pytest.raises(TypeError, match="cannot be stored"):
        advisor.tell(trial, {"value": 1.0, "model": object()})
    assert advisor.open_trials == [trial]
    assert advisor.tell(trial, 1.0)


def test_an_advisor_refuses_a_grid(advise: Advise, network: Network) -> None:
    with pytest.raises(ValueError, match="evaluate the points of the grid yourself"):
        advise(optimizer="grid")
    assert network.fetch_workers() == []
