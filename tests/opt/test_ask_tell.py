"""Proposals for evaluations elsewhere: several at once, in several processes, and after a crash."""

import itertools
import json
import math
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest
from interrupting import interrupted_after
from waiting import wait_until

from rush_core import Network, WorkerState, serve
from rush_core.connection import Connection, pack
from rush_opt import ACBO, ADBO, CLBO, Boolean, Float, Integer, LatinHypercube, Space
from rush_opt.ask_tell import Advisor, OpenTrial
from rush_opt.design import sobol_design

SPACE = {"x": Float(0, 1), "n": Integer(1, 9), "b": Boolean()}
PATIENCE_S = 60.0  # for what takes seconds on an idle machine

Join = Callable[..., Advisor]


@pytest.fixture
def advise(network: Network) -> Iterator[Join]:
    """Make advisors of `network`; they leave when the test is over."""
    advisors: list[Advisor] = []

    def advise(**options: Any) -> Advisor:
        given = {"url": network.url, "seed": 1}
        advisors.append(Advisor(SPACE, network.network_id, **(given | options)))
        return advisors[-1]

    yield advise
    for advisor in advisors:
        advisor.close()


def ask(advisor: Advisor) -> OpenTrial:
    trial = advisor.ask()
    assert trial is not None
    return trial


def value_of(trial: OpenTrial) -> float:
    return float((trial.params["x"] - 0.3) ** 2 + 0.01 * trial.params["n"])


def sobol(n: int, seed: int) -> list[dict[str, Any]]:
    """Return the initial design of `tune()` with this seed."""
    # The first child of the seed belongs to it.
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0,)))
    space = Space(SPACE)
    return space.decode(sobol_design(space, n, rng))


@pytest.mark.parametrize("optimizer", ["adbo", "acbo", "clbo", "random"])
def test_what_is_told_is_known_to_the_network(
    optimizer: str, advise: Join, network: Network
) -> None:
    advisor = advise(optimizer=optimizer)
    for _ in range(6):
        trial = ask(advisor)
        assert advisor.open_trials == [trial]
        assert advisor.tell(trial, {"value": value_of(trial), "site": "far away"})
    assert advisor.open_trials == []
    assert network.count_tasks() == (0, 0, 6, 0)
    result = advisor.result()
    assert result.best_value == min(t.value for t in result.frozen_trials)
    assert result.best_trial.result["site"] == "far away"
    assert [t.worker for t in result.frozen_trials] == [0] * 6


def test_an_advisor_comes_nearer_and_nearer(advise: Join) -> None:
    advisor = advise()
    for _ in range(30):
        trial = ask(advisor)
        advisor.tell(trial, value_of(trial))
    # A uniform point is this good with a probability of 0.01; 30 of them with one of 0.28.
    assert advisor.result().best_value < 0.015


def test_an_advisor_knows_what_was_told_to_others(advise: Join) -> None:
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


def test_nobody_learns_from_what_was_taken_out_of_the_queue(advise: Join, network: Network) -> None:
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
def test_an_optimizer_with_a_model_keeps_away_from_what_is_open_anywhere(
    optimizer: str, network: Network, server: Any
) -> None:
    space = {"n": Integer(1, 6), "b": Boolean()}
    given = {"url": network.url, "optimizer": optimizer, "seed": 1}
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


def test_a_space_that_was_asked_for_as_a_whole_is_asked_for_again(
    network: Network, server: Any
) -> None:
    space = {"n": Integer(1, 3), "b": Boolean()}
    given = {"url": network.url, "seed": 1, "initial_design": 0}
    with Advisor(space, network.network_id, **given) as advisor:
        opened = [tuple(ask(advisor).params.values()) for _ in range(8)]
    assert len(set(opened[:6])) == len(set(opened)) == 6


def test_two_advisors_that_do_not_hear_of_each_other_in_time_open_no_trial_twice(
    network: Network, server: Any
) -> None:
    space = {"n": Integer(1, 4), "b": Boolean()}
    given = {"url": network.url, "seed": 1, "initial_design": 0}
    advisors = [Advisor(space, network.network_id, **given) for _ in range(2)]
    # Nothing is told, so that an advisor knows by the server alone what the other one has started.
    opened = [tuple(ask(advisor).params.values()) for advisor in advisors * 4]
    assert len(set(opened)) == 8
    for advisor in advisors:
        advisor.close()


class Together:
    """A surrogate that wants the least everywhere; first it waits until all others are as far."""

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
def test_advisors_that_ask_in_the_same_moment_open_no_trial_twice(
    optimizer: Any, network: Network
) -> None:
    network.push_finished_tasks([{"n": 1}, {"n": 9}], [{"value": 1.0}, {"value": 2.0}])
    given = {"url": network.url, "optimizer": optimizer(surrogate=Together(3)), "seed": 1}
    with ExitStack() as stack, ThreadPoolExecutor(3) as pool:
        advisors = [
            stack.enter_context(Advisor({"n": Integer(1, 9)}, network.network_id, **given))
            for _ in range(3)
        ]
        opened = list(pool.map(ask, advisors))
    # All propose 2 at first, and the two that come too late 3.
    assert sorted(trial.params["n"] for trial in opened) == [2, 3, 4]


# -- the initial design ----------------------------------------------------------------------------


def test_the_first_trials_are_the_design_of_the_optimizers_rule(
    advise: Join, network: Network
) -> None:
    advisor = advise(seed=7)  # ADBO's rule for three dimensions and one worker is four points
    assert network.count_tasks().queued == 4
    assert [ask(advisor).params for _ in range(4)] == sobol(4, seed=7)
    assert "n_known" not in network.fetch_tasks("running")[0].extra
    assert ask(advisor).params not in sobol(4, seed=7)


def test_random_search_begins_with_no_design(advise: Join, network: Network) -> None:
    advise(optimizer="random")
    assert network.count_tasks().queued == 0


@pytest.mark.parametrize(
    "given", [[{"x": 0.5, "n": 3, "b": True}, {"x": 0.25, "n": 9, "b": False}], []]
)
def test_given_configurations_are_asked_for_first(
    given: list[dict[str, Any]], advise: Join, network: Network
) -> None:
    advisor = advise(initial_design=given)
    assert [ask(advisor).params for _ in given] == given
    assert network.count_tasks().queued == 0


def test_a_design_is_drawn_as_it_says(advise: Join) -> None:
    advisor = advise(initial_design=LatinHypercube(9))
    opened = [ask(advisor).params for _ in range(9)]
    assert sorted(config["n"] for config in opened) == list(range(1, 10))


def test_a_network_that_has_trials_goes_on_from_those(advise: Join, network: Network) -> None:
    network.push_finished_tasks([{"x": 0.5, "n": 3, "b": True}], [{"value": 0.125}])
    advisor = advise(initial_design=5)
    assert network.count_tasks() == (0, 0, 1, 0)
    advisor.tell(ask(advisor), 1.0)
    assert advisor.result().frozen_trials[-1].notes["n_known"] == 1


def test_a_network_that_was_begun_otherwise_is_not_joined(advise: Join, network: Network) -> None:
    first = advise()
    first.tell(ask(first), 1.0)
    with pytest.raises(ValueError, match="direction was 'minimize' and is 'maximize'"):
        advise(direction="maximize")
    with pytest.raises(ValueError, match="does not fit this run: its result has no number 'loss'"):
        advise(metric="loss")
    assert len(network.fetch_workers()) == 1
    assert network.count_tasks() == (3, 0, 1, 0)


def test_a_network_with_trials_of_another_space_is_not_joined(
    advise: Join, network: Network
) -> None:
    network.push_finished_tasks([{"x": 5.0, "n": 3, "b": True}], [{"value": 0.125}])
    with pytest.raises(ValueError, match="does not fit this run: parameter 'x' needs"):
        advise()
    assert network.fetch_workers() == []
    assert network.push_about({"said": "nothing"}) == {"said": "nothing"}


def test_an_advisor_that_cannot_begin_leaves_the_network(advise: Join, network: Network) -> None:
    network.push_tasks([{"z": 1}])
    with pytest.raises(ValueError, match="parameter 'x' is missing"):
        advise()
    assert [worker.state for worker in network.fetch_workers()] == [WorkerState.STOPPED]


SHARER = """
import json, sys
from rush_opt import Boolean, Float, Integer
from rush_opt.ask_tell import Advisor

space = {"x": Float(0, 1), "n": Integer(1, 9), "b": Boolean()}
print("here", flush=True)
sys.stdin.readline()
with Advisor(space, sys.argv[1], url=sys.argv[2], seed=int(sys.argv[3]), initial_design=8) as a:
    print("joined", flush=True)
    sys.stdin.readline()
    opened = [a.ask() for _ in range(4)]
    print(json.dumps([trial.params for trial in opened]), flush=True)
    for trial in opened:
        a.tell(trial, trial.params["x"])
"""


def test_two_processes_share_the_design_of_the_first(network: Network) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SHARER, network.network_id, network.url, seed],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in ("1", "2")
    ]
    try:

        def tell_all_and_hear() -> list[str]:
            for process in processes:
                assert process.stdin is not None
                print(file=process.stdin, flush=True)
            return hear_all()

        def hear_all() -> list[str]:
            return [process.stdout.readline() for process in processes if process.stdout]

        assert hear_all() == ["here\n"] * 2
        assert tell_all_and_hear() == ["joined\n"] * 2  # both at once
        assert network.count_tasks().queued == 8
        opened = [json.loads(line) for line in tell_all_and_hear()]
        assert [process.wait(PATIENCE_S) for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    shared = sorted(map(str, itertools.chain(*opened)))
    assert shared in [sorted(map(str, sobol(8, seed))) for seed in (1, 2)]
    assert network.count_tasks() == (0, 0, 8, 0)


@pytest.mark.parametrize(
    ("kind", "message", "given"),
    [
        (TypeError, "initial_design must be a number of points", 2.5),
        (ValueError, "initial_design must not be negative", -1),
        (TypeError, r"initial_design\[1\] must be a mapping", [{"x": 0, "n": 1, "b": True}, 0.5]),
        (ValueError, r"initial_design\[0\]: .*'x' is missing", [{"n": 1, "b": True}]),
    ],
)
def test_a_wrong_design_is_refused_and_nobody_joins(
    kind: type[Exception], message: str, given: Any, advise: Join, network: Network
) -> None:
    with pytest.raises(kind, match=message):
        advise(initial_design=given)
    assert network.fetch_workers() == []
    assert network.count_tasks() == (0, 0, 0, 0)


# -- trials that are open --------------------------------------------------------------------------


def test_many_trials_may_be_open_and_are_told_in_any_order(advise: Join, network: Network) -> None:
    advisor = advise()
    trials = [ask(advisor) for _ in range(5)]
    assert network.count_tasks().running == 5
    for trial in reversed(trials):
        assert advisor.tell(trial, value_of(trial))
    assert not advisor.tell(trials[0], 0.0)
    keys = [t.key for t in advisor.result().frozen_trials]
    assert keys == [trial.key for trial in reversed(trials)]


@pytest.mark.parametrize("value", [math.nan, -math.inf, {"value": math.nan}])
def test_a_value_that_is_not_finite_makes_a_failed_trial(value: Any, advise: Join) -> None:
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
def test_a_slip_leaves_the_trial_open(
    slip: Any, error: type[Exception], said: str, advise: Join
) -> None:
    advisor = advise()
    trial = ask(advisor)
    with pytest.raises(error, match=f"stays open: .*{re.escape(said)}"):
        advisor.tell(trial, slip)
    assert advisor.open_trials == [trial]
    assert advisor.tell(trial, 0.37)
    assert advisor.result().best_value == 0.37


def test_what_cannot_be_stored_leaves_the_trial_open(advise: Join) -> None:
    advisor = advise()
    trial = ask(advisor)
    with pytest.raises(TypeError, match="cannot be stored"):
        advisor.tell(trial, {"value": 1.0, "model": object()})
    assert advisor.open_trials == [trial]
    assert advisor.tell(trial, 1.0)


def test_what_an_advisor_leaves_open_goes_to_the_next_who_asks(
    advise: Join, network: Network
) -> None:
    with Advisor(SPACE, network.network_id, url=network.url, initial_design=0) as first:
        opened = [ask(first) for _ in range(3)]
    second = advise()
    assert [ask(second).params for _ in range(3)] == [trial.params for trial in opened]
    assert network.count_tasks().queued == 0
    assert ask(second).params not in [trial.params for trial in opened]
    second.tell(second.open_trials[0], 0.5)
    result = second.result()
    assert [trial.lost for trial in result.frozen_trials] == [True] * 3 + [False]
    assert result.best_value == 0.5


ASKER = """
import json, sys
from rush_core import Heartbeat
from rush_opt import Boolean, Float, Integer
from rush_opt.ask_tell import Advisor

space = {"x": Float(0, 1), "n": Integer(1, 9), "b": Boolean()}
quick = Heartbeat(period_s=0.1, expire_s=0.5)
advisor = Advisor(space, sys.argv[1], url=sys.argv[2], seed=1, heartbeat=quick)
advisor.tell(advisor.ask(), 0.5)
opened = [advisor.ask() for _ in range(3)]
print(json.dumps([trial.params for trial in opened]), flush=True)
sys.stdin.readline()
late, new = advisor.tell(opened[0], 1.0), advisor.ask()
print(json.dumps([late, advisor.open_trials == [new]]), flush=True)
advisor.close()
"""


class Asker:
    """Another process with three open trials."""

    def __init__(self, network: Network) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", ASKER, network.network_id, network.url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.opened = json.loads(self.process.stdout.readline())


@pytest.fixture
def asker(network: Network) -> Iterator[Asker]:
    asker = Asker(network)
    yield asker
    asker.process.kill()
    asker.process.communicate()


def take_over(advisor: Advisor, asker: Asker) -> None:
    """Ask until all that the other process had open is open here."""

    def taken() -> int:
        trial = ask(advisor)
        if trial.params not in asker.opened:
            advisor.tell(trial, value_of(trial))
        return len(advisor.open_trials)

    wait_until(lambda: taken() == 3, PATIENCE_S)


def test_the_open_trials_of_a_killed_process_go_to_others(advise: Join, asker: Asker) -> None:
    asker.process.send_signal(signal.SIGKILL)
    advisor = advise()
    take_over(advisor, asker)
    for trial in advisor.open_trials:
        assert advisor.tell(trial, value_of(trial))
    result = advisor.result()
    assert 0.5 in [trial.value for trial in result.frozen_trials]
    assert all(trial.state == "finished" for trial in result.frozen_trials)


def test_an_advisor_that_was_only_slow_comes_back_without_its_trials(
    advise: Join, asker: Asker
) -> None:
    asker.process.send_signal(signal.SIGSTOP)
    advisor = advise()
    take_over(advisor, asker)
    asker.process.send_signal(signal.SIGCONT)
    said, _ = asker.process.communicate("\n", timeout=PATIENCE_S)
    assert json.loads(said) == [False, True]
    assert asker.process.returncode == 0
    for trial in advisor.open_trials:
        assert advisor.tell(trial, value_of(trial))


def test_a_killed_advisor_is_not_wanted_any_more(advise: Join, network: Network) -> None:
    advisor = advise()
    trial = ask(advisor)
    network.stop_workers([worker.worker_id for worker in network.fetch_workers()], kill=True)
    assert not advisor.tell(trial, 0.0)
    assert advisor.ask() is None


def test_an_advisor_ends_when_its_network_is_stopped(advise: Join, network: Network) -> None:
    advisor = advise()
    trial = ask(advisor)
    network.stop_workers()
    assert advisor.ask() is None
    assert advisor.tell(trial, 1.0)


def test_a_stopped_network_goes_on_when_nobody_is_left(advise: Join, network: Network) -> None:
    first = advise()
    network.stop_workers()
    second = advise()
    assert second.ask() is None  # the first one has not left
    first.close()
    second.close()
    assert advise().ask() is not None


def test_an_advisor_leaves_although_an_interrupt_comes_first(network_id: str) -> None:
    with serve() as own_server, Network(network_id, own_server.url) as network:
        advisor = Advisor(SPACE, network_id, url=own_server.url)
        network.stop_workers()
        assert advisor.ask() is None
        connection = Connection(own_server.url)
        connection.execute(pack((b"CLIENT", b"PAUSE", 500)))
        connection.close()
        with pytest.raises(KeyboardInterrupt), interrupted_after(0.05):
            advisor.close()
        assert [worker.state for worker in network.fetch_workers()] == [WorkerState.STOPPED]


def test_a_grid_is_not_asked_for(advise: Join, network: Network) -> None:
    with pytest.raises(ValueError, match="take the points of the grid yourself"):
        advise(optimizer="grid")
    assert network.fetch_workers() == []
