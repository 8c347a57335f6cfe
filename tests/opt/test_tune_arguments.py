"""Arguments that a run cannot use are refused before anything is started or written."""

import math
import re
import threading
from collections.abc import Callable
from typing import Any

import pytest

import rush_core
from rush_core import (
    EmbeddedServer,
    LoopError,
    RushError,
    ServerRefusedError,
    ServerUnreachableError,
)
from rush_core.connection.connection import Connection, pack
from rush_opt import ADBO, Boolean, Categorical, Float, Integer, tune
from tests.opt.inspecting import stored_keys

pytestmark = pytest.mark.usefixtures("nothing_is_left_running")

X = {"x": Float(0, 1)}


class Searching:
    """Something that is no optimizer of ours."""

    def __call__(self, worker: Any, problem: Any) -> None:
        pass


def refused(error: type[Exception], *said: str, **arguments: Any) -> Any:
    """Name a case by its arguments."""
    name = " ".join(f"{key}={value!r:.30}" for key, value in arguments.items())
    return pytest.param(arguments, error, said, id=re.sub(r" at 0x\w+", "", name))


def locked(config: dict[str, Any]) -> float:
    raise AssertionError("never called")


def with_lock() -> Callable[..., Any]:
    lock = threading.Lock()

    def objective(config: dict[str, Any]) -> float:
        with lock:
            return 0.0

    return objective


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        refused(TypeError, "objective must be callable", "int", objective=3),
        refused(TypeError, "objective must be callable", "NoneType", objective=None),
        refused(TypeError, "configuration first", "objective(trial)", objective=lambda trial: 0.0),
        refused(TypeError, "first", "(trial, config)", objective=lambda trial, config: 0.0),
        refused(TypeError, "as objective(config), got objective()", objective=lambda: 0.0),
        refused(
            *(TypeError, "as objective(config, trial), got objective(x, y, z): missing", "'z'"),
            objective=lambda x, y, z: 0.0,
        ),
        refused(TypeError, "'data'", "functools.partial", objective=lambda config, *, data: 0.0),
        refused(LoopError, "lock", "make it inside the objective", objective=with_lock()),
        refused(ValueError, "at least one parameter", "got none", space={}),
        refused(TypeError, "space must be a mapping", "Float, Integer", "NoneType", space=None),
        refused(TypeError, "space must be a mapping", "'x' (str)", space="x"),
        refused(TypeError, "space must be a mapping", "['x']", space=["x"]),
        refused(TypeError, "space must be a mapping", "[Float(", space=[Float(0, 1)]),
        refused(TypeError, "'x'", "Float, Integer", "(0, 1)", space={"x": (0, 1)}),
        refused(TypeError, "'x'", "Float", space={"x": Float}),
        refused(TypeError, "a string", "1", space={1: Float(0, 1)}),
        refused(ValueError, "['x'] twice", space=[("x", Float(0, 1)), ("x", Boolean())]),
        refused(ValueError, "n_workers must be at least 1", "got 0", n_workers=0),
        refused(ValueError, "n_workers must be at least 1", "got -2", n_workers=-2),
        refused(TypeError, "n_workers must be a whole number", "got True", n_workers=True),
        refused(TypeError, "n_workers must be a whole number", "got 2.0", n_workers=2.0),
        refused(TypeError, "n_workers must be a whole number", "got '2'", n_workers="2"),
        refused(ValueError, "n_trials must be at least 1", "got 0", n_trials=0),
        refused(TypeError, "n_trials must be a whole number", "got 1.5", n_trials=1.5),
        refused(TypeError, "n_trials must be a whole number", "got False", n_trials=False),
        refused(ValueError, "timeout must be a positive", "seconds", "got 0", timeout=0),
        refused(ValueError, "timeout must be a positive", "got -1.0", timeout=-1.0),
        refused(ValueError, "timeout must be", "finite", "got nan", timeout=math.nan),
        refused(ValueError, "timeout must be", "finite", "got inf", timeout=math.inf),
        refused(TypeError, "timeout must be a number", "got True", timeout=True),
        refused(TypeError, "timeout must be a number", "got '10'", timeout="10"),
        refused(
            ValueError, "'clbo', 'cmaes', 'de', 'grid', 'random'", "got 'abdo'", optimizer="abdo"
        ),
        refused(TypeError, "an instance", "write ADBO()", optimizer=ADBO),
        refused(TypeError, "an instance such as ADBO()", "Searching", optimizer=Searching()),
        refused(TypeError, "an instance such as ADBO()", "None", optimizer=None),
        refused(ValueError, "'minimize' or 'maximize'", "got 'min'", direction="min"),
        refused(ValueError, "'minimize' or 'maximize'", "got True", direction=True),
        refused(TypeError, "metric must be the name", "got 3", metric=3),
        refused(TypeError, "metric must be the name", "got ''", metric=""),
        refused(TypeError, "metric must be the name", "got None", metric=None),
        refused(ValueError, "seed must not be negative", "got -1", seed=-1),
        refused(TypeError, "seed must be a whole number or None", "got 1.5", seed=1.5),
        refused(TypeError, "seed must be a whole number or None", "got True", seed=True),
        refused(TypeError, "initial_design must be", "got 2.5", initial_design=2.5),
        refused(TypeError, "initial_design must be", "got {'x': 0.5}", initial_design={"x": 0.5}),
        refused(ValueError, "initial_design must not be negative", "-1", initial_design=-1),
        refused(TypeError, "initial_design[1]", "got 0.5", initial_design=[{"x": 0.5}, 0.5]),
        refused(
            *(ValueError, "initial_design[1]: parameter 'x' needs", "got 1.5"),
            initial_design=[{"x": 0.5}, {"x": 1.5}],
        ),
        refused(ValueError, "'x' is missing", "unknown parameter 'y'", initial_design=[{"y": 0.5}]),
        refused(TypeError, "executor must be a concurrent.futures.Executor", "3", executor=3),
        refused(TypeError, "launch must be callable", "'srun'", launch="srun"),
        refused(ValueError, "either executor or launch", executor=3, launch=print),
        refused(TypeError, "warm_start must be", "got 3 (int)", warm_start=3),
        refused(ValueError, "warm_start[0]: parameter 'x'", warm_start=[({"x": 2.0}, 1.0)]),
        refused(TypeError, "callbacks must be a sequence of functions", callbacks=print),
        refused(TypeError, "callbacks must be a sequence of functions", "[3]", callbacks=[3]),
        refused(ValueError, "network_id must be", "'no good'", "plainer", network_id="no good"),
        refused(TypeError, "network_id must be a string", "int: 3", network_id=3),
        refused(ValueError, "redis://, rediss://, unix://", "http://h", url="http://h"),
        refused(
            *(ServerUnreachableError, "no server answers", "redis://127.0.0.1:1", "embedded"),
            url="redis://127.0.0.1:1",
        ),
        refused(ServerUnreachableError, "no server answers", url="unix:///nowhere/at.all"),
    ],
)
def test_unusable_arguments_are_refused_before_the_run(
    arguments: dict[str, Any], error: type[Exception], said: tuple[str, ...], server: EmbeddedServer
) -> None:
    before = stored_keys(server.url)
    given: dict[str, Any] = {"objective": locked, "space": X, "url": server.url} | arguments
    with pytest.raises(error) as refusal:
        tune(**given)
    message = str(refusal.value)
    assert "\n" not in message
    for part in said:
        assert part in message
    assert stored_keys(server.url) == before


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Float(1, 1), "low < high, got 1.0 >= 1.0"),
        (lambda: Float(2, 1), "low < high, got 2.0 >= 1.0"),
        (lambda: Integer(5, 1), "low < high, got 5 >= 1"),
        (lambda: Float(0, 1, log=True), "low > 0, got 0.0"),
        (lambda: Float(-1, 1, log=True), "low > 0, got -1.0"),
        (lambda: Integer(0, 9, log=True), "low >= 1, got 0"),
        (lambda: Float(0, math.inf), "finite"),
        (lambda: Categorical([]), "at least one choice, got none"),
    ],
)
def test_a_parameter_without_values_cannot_be_made(make: Callable[[], Any], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        make()


def test_the_error_for_a_wrong_password_does_not_show_it() -> None:
    with rush_core.serve() as locked_server:
        connection = Connection(locked_server.url)
        connection.execute(pack((b"CONFIG", b"SET", b"requirepass", b"open-sesame")))
        connection.close()
        path = locked_server.url.removeprefix("unix://")
        for url in (f"unix://:guessed@{path}", locked_server.url):
            with pytest.raises((ServerUnreachableError, ServerRefusedError)) as refusal:
                tune(locked, X, n_workers=1, url=url, progress=False)
            assert isinstance(refusal.value, RushError)
            assert "password" in str(refusal.value)
            assert "URL" in str(refusal.value)
            assert "guessed" not in str(refusal.value)
            assert "\n" not in str(refusal.value)
