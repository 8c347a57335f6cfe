"""What is prepared once for all workers of a run."""

import os
import subprocess
import sys
from typing import Any

import pytest

from rush_core import EmbeddedServer
from rush_core.launching.command import NO_THREADS, ONE_THREAD
from rush_opt import ACBO, ADBO, Float, RandomSearch, Space, tune
from rush_opt.evaluation.plan import RunPlan
from rush_opt.running.warm_up import load_models, warm_up_of
from tests.opt.plans import plan_of

X = {"x": Float(0, 1)}

PROGRAM = """
import os, sys
from rush_opt.running.warm_up import load_models
from tests.opt.test_warm_up import adbo_plan

load_models(adbo_plan())
print(len(os.listdir("/proc/self/task")), "sklearn.tree._tree" in sys.modules)
"""


def adbo_plan(**changes: Any) -> RunPlan:
    given: dict[str, Any] = {"optimizer": ADBO(), "n_workers": 8}
    return plan_of(Space(X), **(given | changes))


def trees_are_loaded(config: dict[str, Any]) -> float:
    return float("sklearn.tree._tree" in sys.modules)


@pytest.mark.parametrize(
    "changes",
    [{"n_workers": 4}, {"optimizer": RandomSearch()}, {"optimizer": ACBO()}, {"n_trials": 2}],
)
def test_a_run_whose_workers_need_no_model_or_need_it_late_prepares_nothing(
    changes: dict[str, Any],
) -> None:
    assert warm_up_of(adbo_plan(**changes)) is None
    assert warm_up_of(adbo_plan()) is load_models


def test_loading_the_models_starts_no_thread() -> None:
    environment = {**NO_THREADS, **ONE_THREAD, **os.environ}
    command = [sys.executable, "-c", PROGRAM]
    ended = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert (ended.stdout, ended.stderr) == ("1 True\n", "")


def test_forked_workers_have_the_models_from_their_first_trial_on(server: EmbeddedServer) -> None:
    result = tune(*(trees_are_loaded, X), n_workers=5, n_trials=40, url=server.url, progress=False)
    assert [trial.value for trial in result.frozen_trials] == [1.0] * 40
