"""The first trials of advisors: a design, or what their network has already."""

import itertools
import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from rush_core import Network, WorkerState
from rush_opt import LatinHypercube, Space
from rush_opt.search.design import sobol_design
from tests.opt.advisors import SPACE, Advise, ask

PATIENCE_S = 60.0  # for what takes seconds on an idle machine


def sobol(n: int, seed: int) -> list[dict[str, Any]]:
    """Return the initial design of `tune()` with this seed."""
    # The first child of the seed belongs to it.
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0,)))
    space = Space(SPACE)
    return space.decode(sobol_design(space, n, rng))


def test_the_first_trials_are_the_design_of_the_optimizers_rule(
    advise: Advise, network: Network
) -> None:
    advisor = advise(seed=7)  # ADBO's rule for three dimensions and one worker is four points
    assert network.count_tasks().queued == 4
    assert [ask(advisor).params for _ in range(4)] == sobol(4, seed=7)
    assert "n_known" not in network.fetch_tasks("running")[0].extra
    assert ask(advisor).params not in sobol(4, seed=7)


def test_random_search_begins_with_no_design(advise: Advise, network: Network) -> None:
    advise(optimizer="random")
    assert network.count_tasks().queued == 0


@pytest.mark.parametrize(
    "given", [[{"x": 0.5, "n": 3, "b": True}, {"x": 0.25, "n": 9, "b": False}], []]
)
def test_given_configurations_are_asked_for_first(
    given: list[dict[str, Any]], advise: Advise, network: Network
) -> None:
    advisor = advise(initial_design=given)
    assert [ask(advisor).params for _ in given] == given
    assert network.count_tasks().queued == 0


def test_a_design_object_is_drawn_as_the_initial_design(advise: Advise) -> None:
    advisor = advise(initial_design=LatinHypercube(9))
    opened = [ask(advisor).params for _ in range(9)]
    assert sorted(config["n"] for config in opened) == list(range(1, 10))


def test_an_advisor_continues_from_the_trials_of_its_network(
    advise: Advise, network: Network
) -> None:
    network.push_finished_tasks([{"x": 0.5, "n": 3, "b": True}], [{"value": 0.125}])
    advisor = advise(initial_design=5)
    assert network.count_tasks() == (0, 0, 1, 0)
    advisor.tell(ask(advisor), 1.0)
    assert advisor.result().frozen_trials[-1].notes["n_known"] == 1


def test_an_advisor_refuses_a_network_with_another_goal(advise: Advise, network: Network) -> None:
    first = advise()
    first.tell(ask(first), 1.0)
    with pytest.raises(ValueError, match="direction was 'minimize' and is 'maximize'"):
        advise(direction="maximize")
    with pytest.raises(ValueError, match="does not fit this run: its result has no number 'loss'"):
        advise(metric="loss")
    assert len(network.fetch_workers()) == 1
    assert network.count_tasks() == (3, 0, 1, 0)


def test_a_network_with_trials_of_another_space_is_not_joined(
    advise: Advise, network: Network
) -> None:
    network.push_finished_tasks([{"x": 5.0, "n": 3, "b": True}], [{"value": 0.125}])
    with pytest.raises(ValueError, match="does not fit this run: parameter 'x' needs"):
        advise()
    assert network.fetch_workers() == []
    assert network.describe({"said": "nothing"}) == {"said": "nothing"}


def test_an_advisor_that_fails_to_begin_leaves_the_network(
    advise: Advise, network: Network
) -> None:
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
def test_a_wrong_design_is_refused_and_no_worker_joins(
    kind: type[Exception], message: str, given: Any, advise: Advise, network: Network
) -> None:
    with pytest.raises(kind, match=message):
        advise(initial_design=given)
    assert network.fetch_workers() == []
    assert network.count_tasks() == (0, 0, 0, 0)
