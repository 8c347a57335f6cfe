"""What a user of `rush_opt` reads when something is wrong: in words of what the user wrote."""

from __future__ import annotations

import functools
import logging
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rush_core import LoopError, Network
from rush_opt import Categorical, Float, Space, simulate, tune
from rush_opt.evaluation.sources import code_digest
from tests.opt import objectives
from tests.opt.advisors import Advise, ask, value_of

LOCK = threading.Lock()
X = {"x": Float(0, 1)}


# -- what cannot be sent ---------------------------------------------------------------------------


def locking(config: dict[str, Any]) -> float:
    with LOCK:
        return float(config["x"])


def by_value(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function as one of a script: it is sent by its code, not by its name."""
    function.__module__ = "__main__"
    return function


def closing_over(value: object) -> Callable[[dict[str, Any]], float]:
    return lambda config: float(config["x"]) if value else 0.0


@pytest.mark.parametrize(
    ("objective", "said"),
    [
        (by_value(locking), "the objective locking .* its global variable 'LOCK', a lock"),
        (closing_over(LOCK), "its variable 'value', a lock: TypeError"),
        (closing_over(x for x in "ab"), "its variable 'value', a generator"),
    ],
)
def test_the_part_of_an_objective_that_cannot_be_sent_is_named(
    objective: Any, said: str, network: Network
) -> None:
    with pytest.raises(LoopError, match=said) as error:
        tune(objective, X, n_workers=1, network_id=network.network_id, url=network.url)
    for internal in ("evaluate_trials", "start_workers", "ADBO"):
        assert internal not in str(error.value)
    assert not any(network.count_tasks())


def test_the_largest_part_of_an_objective_is_named(network: Network) -> None:
    with pytest.raises(LoopError, match=r"[0-9,]+ of them in its variable 'value'; at most") as e:
        tune(
            closing_over(bytes(70_000_000)),
            X,
            n_workers=1,
            network_id=network.network_id,
            url=network.url,
        )
    assert "start_workers" not in str(e.value)


# -- tracebacks ------------------------------------------------------------------------------------

SCRIPT = """
from rush_opt import Float, tune


def helper(config):
    raise ValueError("broken")


def objective(config{trial}):
    return helper(config)


result = tune(
    objective, {{"x": Float(0, 1)}}, n_workers=1, n_trials=3, seed=1{more},
    warm_start=[({{"x": 0.5}}, 1.0)], callbacks=[lambda trial: print(trial.error)],
    progress=False,
)
"""


@pytest.mark.long
@pytest.mark.parametrize("trial", ["", ", trial"])
@pytest.mark.parametrize("more", ["", ", trial_timeout=60", ", debug=True"])
def test_a_traceback_has_the_file_of_a_script_and_no_frames_of_this_package(
    trial: str, more: str, tmp_path: Path
) -> None:
    script = tmp_path / "my_script.py"
    script.write_text(SCRIPT.format(trial=trial, more=more))
    run = subprocess.run([sys.executable, str(script)], capture_output=True, text=True)
    first, *_ = run.stdout.split("Traceback (most recent call last):\n")[1:]
    lines = [line for line in first.splitlines() if line.startswith("  File")]
    assert lines == [
        f'  File "{script}", line 10, in objective',
        f'  File "{script}", line 6, in helper',
    ]
    assert "ValueError: broken" in first


def test_a_constraint_that_reads_an_unknown_parameter_is_named() -> None:
    def in_order(config: dict[str, Any]) -> bool:
        return bool(config["low"] < config["x"])

    with pytest.raises(ValueError, match=r"in_order raised KeyError: 'low'; .* \['x'\]"):
        Space(X, constraints=[in_order])


# -- what is taken as it is meant ------------------------------------------------------------------


@pytest.mark.parametrize("choices", [[1, 2, 3], ["a", "b"], [True, None]])
def test_a_list_is_a_choice(choices: Any) -> None:
    assert Space({"x": choices}).parameters == (Categorical(list(choices)),)


def test_a_duration_can_be_a_number() -> None:
    options: Any = {"n_workers": 2, "n_trials": 6, "optimizer": "random", "seed": 1}
    given = simulate(objectives.identity, X, duration=2.0, **options)
    assert given.ended_at - given.started_at == pytest.approx(6.0, abs=0.1)
    with pytest.raises(ValueError, match="seconds > 0"):
        simulate(objectives.identity, X, duration=0, **options)
    with pytest.raises(TypeError, match=r"number of seconds, or callable .* got 'long'"):
        simulate(objectives.identity, X, duration="long", **options)  # type: ignore[arg-type]


def test_an_advisor_takes_a_point_that_was_not_asked_for(advise: Advise) -> None:
    advisor = advise(initial_design=1)
    point = {"x": 0.25, "n": 3, "b": True}
    assert advisor.tell(point, 0.5)
    assert advisor.tell({**point, "x": 0.75}, float("nan"))
    for wrong in ({"x": 0.25}, {**point, "x": 2}):
        with pytest.raises(ValueError, match="parameter"):
            advisor.tell(wrong, 0.5)
    with pytest.raises(TypeError, match="must be a number"):
        advisor.tell(point, "low")  # type: ignore[arg-type]
    trial = ask(advisor)
    advisor.tell(trial, value_of(trial))
    first, second, _ = advisor.result().frozen_trials
    assert (first.params, first.value, first.worker) == (point, 0.5, None)
    assert (second.state, second.params["x"]) == ("failed", 0.75)
    assert "must be finite" in str(second.error)


# -- another objective -----------------------------------------------------------------------------


def test_a_run_that_continues_with_another_objective_says_so(
    network: Network, caplog: pytest.LogCaptureFixture
) -> None:
    def run(objective: Any, n_trials: int) -> list[str]:
        caplog.clear()
        with caplog.at_level(logging.WARNING, logger="rush_opt"):
            tune(
                objective,
                X,
                n_workers=1,
                n_trials=n_trials,
                optimizer="random",
                network_id=network.network_id,
                url=network.url,
                progress=False,
                seed=1,
            )
        return [message for message in caplog.messages if "another objective" in message]

    assert run(objectives.identity, 2) == []
    assert run(objectives.identity, 4) == []
    (message,) = run(objectives.half, 6)
    assert "that of the earlier run, identity, had other code than half has now" in message


def test_the_digest_of_code_depends_on_the_code_alone() -> None:
    def same(config: dict[str, Any]) -> float:
        return float(config["x"])

    assert code_digest(same) == code_digest(objectives.identity)
    assert code_digest(objectives.half) != code_digest(objectives.identity)
    assert code_digest(functools.partial(same)) == code_digest(same)
    assert code_digest(len) is None
