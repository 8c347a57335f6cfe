"""How a model learns from trials that were stopped early."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from rush_core import Network, Worker
from rush_opt import ACBO, ADBO, CLBO, Float, Space, SuccessiveHalving, Trial, TuneResult, tune
from rush_opt.arrays import FloatArray, RowArray
from rush_opt.ask_tell import Advisor
from rush_opt.evaluation.plan import RunPlan
from rush_opt.evaluation.runner import TrialRunner
from rush_opt.models.surrogate import Model
from rush_opt.optimizers import Optimizer
from rush_opt.problem.goal import Goal
from rush_opt.running.proposing import propose_trials
from rush_opt.search.archive import Archive
from rush_opt.search.stopped_trials import StoppedTrials
from rush_opt.stopping.curves import Curves
from tests.opt.plans import plan_of
from tests.threads import in_background
from tests.typed import unchecked
from tests.waiting import wait_until

SPACE = Space({"x": Float(0, 1)})


class Report:
    """A report as curves read it."""

    attempt = 0

    def __init__(self, key: str, step: float, value: float) -> None:
        self.key = key
        self.values = {"step": step, "value": value}


def curves(**reports: dict[float, float]) -> Curves:
    """Curves of trials, by the trial's key, then by the step."""
    known = Curves()
    known.add(Report(key, step, v) for key, curve in reports.items() for step, v in curve.items())
    return known


def column(*values: float) -> RowArray:
    return np.array([[value] for value in values], dtype=np.float32)


def rows_of(stopped: StoppedTrials) -> set[tuple[float, float, float]]:
    """Rows as triples: the point, the progress of the trial, and the value."""
    X, y = stopped.rows()
    return {(float(row[0]), float(row[1]), float(value)) for row, value in zip(X, y, strict=True)}


def test_the_mean_change_of_completed_trials_is_added_to_an_early_value() -> None:
    stopped = StoppedTrials(curves(a={1: 8.0, 3: 5.0, 9: 4.0}, b={1: 6.0, 3: 3.0, 9: 1.0}), 1)
    stopped.add_completed(["a", "b"], column(0.25, 0.5), np.array([4.0, 1.0]))
    stopped.add(column(0.75, 0.875), np.array([10.0, 7.0]), [1, 3])
    # The completed trials fell by 4.5 after step 1, and by 1.5 after step 3.
    assert rows_of(stopped) == {
        (0.75, 0.0, 5.5),
        (0.875, 0.5, 5.5),
        (0.25, 0.0, 3.5),
        (0.5, 0.0, 1.5),
        (0.25, 0.5, 3.5),
        (0.5, 0.5, 1.5),
    }


def test_a_step_that_no_completed_trial_reported_is_left_out() -> None:
    stopped = StoppedTrials(curves(a={1: 8.0}), 1)
    stopped.add(column(0.75), np.array([10.0]), [1])
    assert rows_of(stopped) == set()
    stopped.add_completed(["a", "unheard"], column(0.25, 0.5), np.array([4.0, 1.0]))
    stopped.add(column(0.875), np.array([7.0]), [3])
    assert rows_of(stopped) == {(0.75, 0.0, 6.0), (0.25, 0.0, 4.0)}


def test_a_step_between_two_reports_counts_as_the_next_one() -> None:
    stopped = StoppedTrials(curves(a={1: 8.0, 5: 5.0}), 1)
    stopped.add_completed(["a"], column(0.25), np.array([4.0]))
    stopped.add(column(0.75), np.array([10.0]), [2.5])
    assert rows_of(stopped) == {(0.75, 0.0, 9.0), (0.25, 0.0, 4.0)}


def test_a_failed_trial_does_not_count_in_the_mean_change() -> None:
    stopped = StoppedTrials(curves(a={1: 8.0, 3: 4.0}, b={1: 6.0, 3: np.inf}), 1)
    stopped.add_completed(["a", "b"], column(0.25, 0.5), np.array([4.0, np.inf]))
    stopped.add(column(0.75), np.array([10.0]), [1])
    assert (0.75, 0.0, 6.0) in rows_of(stopped)


def test_the_number_of_rows_is_bounded() -> None:
    n = 500
    keys = [f"t{i}" for i in range(n)]
    known = curves(**{key: {float(step): 1.0 / step for step in range(1, 31)} for key in keys})
    stopped = StoppedTrials(known, 1)
    stopped.add_completed(keys, np.zeros((n, 1), dtype=np.float32), np.full(n, 0.01))
    stopped.add(np.ones((29, 1), dtype=np.float32), np.full(29, 2.0), list(range(1, 30)))
    X, _ = stopped.rows()
    assert len(X) == 29 + 4 * 100
    assert 0.0 in X[29:, 1]
    assert X[:, 1].max() == pytest.approx(28 / 29)


class Seen:
    """A surrogate that keeps what it was fitted to, and predicts the progress."""

    def fit(self, X: RowArray, y: FloatArray, rng: np.random.Generator) -> Model:
        self.X, self.y = X.copy(), y.copy()
        return self

    def predict(self, X: Any) -> tuple[FloatArray, FloatArray]:
        return X[:, -1].astype(np.float64), np.ones(len(X))


def learning(config: dict[str, Any], trial: Trial) -> float:
    """Fall towards x, a step at a time."""
    for step in (1, 3, 9):
        trial.report(config["x"] + 1 / step, step)
        if trial.should_stop():
            break
    return float(config["x"])


def halving_plan(optimizer: Optimizer | None = None, **changes: Any) -> RunPlan:
    pruner = SuccessiveHalving(1, reduction_factor=3)
    return plan_of(SPACE, learning, optimizer=optimizer or ADBO(), pruner=pruner, **changes)


def test_a_model_is_fitted_to_stopped_trials_and_predicts_for_completed_ones(
    join: Callable[..., Worker],
) -> None:
    trials = TrialRunner(join(), halving_plan())
    archive = Archive(SPACE, [Goal("loss")], curves=trials.curves)
    for x in (0.25, 0.75, 0.125):  # the second one is stopped at its first step
        key = trials.start({"x": x})
        assert key is not None
        archive.add_ended(trials.run_and_fetch_new(key, {"x": x}))
    seen = Seen()
    model = archive.fit(seen, np.random.default_rng(0))
    assert len(archive) == 2
    assert archive.n_stopped == 1
    np.testing.assert_allclose(
        np.column_stack([seen.X, seen.y]),
        [
            [0.25, 1.0, 0.25],
            [0.125, 1.0, 0.125],
            [0.75, 0.0, 0.75],
            [0.25, 0.0, 0.25],
            [0.125, 0.0, 0.125],
        ],
    )
    assert model.predict(column(0.5, 0.75))[0].tolist() == [1.0, 1.0]


def test_without_stopped_trials_a_model_is_fitted_without_progress() -> None:
    archive = Archive(SPACE, [Goal("loss")], curves=Curves())
    seen = Seen()
    archive.add_failed(unchecked(TrialsOf(0.25, 0.5)))
    assert archive.fit(seen, np.random.default_rng(0)) is seen
    assert seen.X.tolist() == [[0.25], [0.5]]


class TrialsOf:
    """Failed tasks, as an archive reads them."""

    def __init__(self, *xs: float) -> None:
        self.configs = [{"x": x} for x in xs]

    def __len__(self) -> int:
        return len(self.configs)


@pytest.fixture(scope="module")
def result() -> TuneResult:
    return tune(
        learning,
        {"x": Float(0, 1)},
        optimizer=ADBO(),
        pruner=SuccessiveHalving(1, reduction_factor=3),
        n_trials=40,
        n_workers=2,
        seed=1,
        progress=False,
    )


def test_notes_count_the_stopped_trials_that_the_worker_knew(
    result: TuneResult,
) -> None:
    proposed = [trial for trial in result.frozen_trials if "n_known" in trial.notes]
    counted = [trial for trial in proposed if trial.notes.get("n_stopped", 0) > 0]
    assert counted
    for trial in counted:
        known = result.known_at(trial)
        n_stopped = sum(other.stopped_at is not None for other in known)
        assert n_stopped == trial.notes["n_stopped"]
        assert len(known) == trial.notes["n_known"] + n_stopped
        assert all(other.ended_at <= trial.ended_at for other in known)


def test_a_model_that_knows_stopped_trials_finds_the_optimum(result: TuneResult) -> None:
    assert result.best_params["x"] < 0.05


# -- optimizers whose model learns from stopped trials ---------------------------------------------


@pytest.fixture
def one_is_stopped(join: Callable[..., Worker]) -> None:
    """Run three trials in the network, of which the second is stopped at its first step."""
    trials = TrialRunner(join(), halving_plan())
    for x in (0.25, 0.75, 0.125):
        key = trials.start({"x": x})
        assert key is not None
        trials.run(key, {"x": x})


def check_progress(seen: Seen) -> None:
    """Check that a model was fitted to progress, and to the early value of the stopped trial."""
    rows = {tuple(map(float, row)) for row in seen.X}
    assert {(0.25, 1.0), (0.125, 1.0), (0.75, 0.0), (0.25, 0.0), (0.125, 0.0)} <= rows
    assert {progress for _, progress in rows} == {0.0, 1.0}


@pytest.mark.usefixtures("one_is_stopped")
@pytest.mark.parametrize("kind", [ACBO, CLBO])
def test_stopped_trials_reach_the_model_of_a_proposing_process(
    kind: type[ACBO | CLBO], join: Callable[..., Worker], network: Network
) -> None:
    seen = Seen()
    proposer = join()
    plan = halving_plan(kind(surrogate=seen))
    wait = in_background(lambda: propose_trials(proposer, plan))
    wait_until(lambda: network.count_tasks().queued > 0)
    network.stop_workers()
    wait()
    check_progress(seen)
    for task in network.fetch_tasks("queued"):
        assert task.extra["n_known"] == 2
        assert task.extra["n_stopped"] == 1


@pytest.mark.usefixtures("one_is_stopped")
@pytest.mark.parametrize("kind", [ADBO, ACBO, CLBO])
def test_stopped_trials_reach_the_model_of_an_advisor(
    kind: type[ADBO | ACBO | CLBO], network: Network
) -> None:
    optimizer = kind(surrogate=(seen := Seen()))
    given: dict[str, Any] = {"url": network.url, "optimizer": optimizer, "metric": "loss"}
    with Advisor(SPACE, network.network_id, **given) as advisor:
        assert advisor.ask() is not None
        (task,) = network.fetch_tasks("running")
    check_progress(seen)
    assert task.extra["n_known"] == 2
    assert task.extra["n_stopped"] == 1
