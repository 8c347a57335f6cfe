"""What a model learns of trials that were stopped early."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from rush_core import Worker
from rush_opt import ADBO, Float, Space, SuccessiveHalving, Trial, TuneResult, tune
from rush_opt.evaluation.runner import Problem, TrialRunner
from rush_opt.models.surrogate import FloatArray, Model, RowArray
from rush_opt.search.archive import Archive
from rush_opt.search.stopped_trials import StoppedTrials
from rush_opt.stopping.curves import Curves

SPACE = Space({"x": Float(0, 1)})


class Said:
    """A report as curves take it in."""

    attempt = 0

    def __init__(self, key: str, step: float, value: float) -> None:
        self.key = key
        self.values = {"step": step, "value": value}


def curves(**said: dict[float, float]) -> Curves:
    """Curves of trials, by the trial's key, then by the step."""
    known = Curves()
    known.add(Said(key, step, v) for key, curve in said.items() for step, v in curve.items())
    return known


def column(*values: float) -> RowArray:
    return np.array([[value] for value in values], dtype=np.float32)


def rows_of(stopped: StoppedTrials) -> set[tuple[float, float, float]]:
    """Rows as triples: the point, how far the trial had come, and the value."""
    X, y = stopped.rows()
    return {(float(row[0]), float(row[1]), float(value)) for row, value in zip(X, y, strict=True)}


def test_a_value_on_the_way_changes_as_whole_trials_did_on_average() -> None:
    stopped = StoppedTrials(curves(a={1: 8.0, 3: 5.0, 9: 4.0}, b={1: 6.0, 3: 3.0, 9: 1.0}), 1)
    stopped.add_whole(["a", "b"], column(0.25, 0.5), np.array([4.0, 1.0]))
    stopped.add(column(0.75, 0.875), np.array([10.0, 7.0]), [1, 3])
    # From step 1 on they lost 4.5, from step 3 on 1.5.
    assert rows_of(stopped) == {
        (0.75, 0.0, 5.5),
        (0.875, 0.5, 5.5),
        (0.25, 0.0, 3.5),
        (0.5, 0.0, 1.5),
        (0.25, 0.5, 3.5),
        (0.5, 0.5, 1.5),
    }


def test_what_no_whole_trial_has_reported_says_nothing() -> None:
    stopped = StoppedTrials(curves(a={1: 8.0}), 1)
    stopped.add(column(0.75), np.array([10.0]), [1])
    assert rows_of(stopped) == set()
    stopped.add_whole(["a", "unheard"], column(0.25, 0.5), np.array([4.0, 1.0]))
    stopped.add(column(0.875), np.array([7.0]), [3])
    assert rows_of(stopped) == {(0.75, 0.0, 6.0), (0.25, 0.0, 4.0)}


def test_a_step_between_two_reports_counts_as_the_next_one() -> None:
    stopped = StoppedTrials(curves(a={1: 8.0, 5: 5.0}), 1)
    stopped.add_whole(["a"], column(0.25), np.array([4.0]))
    stopped.add(column(0.75), np.array([10.0]), [2.5])
    assert rows_of(stopped) == {(0.75, 0.0, 9.0), (0.25, 0.0, 4.0)}


def test_trials_that_failed_in_the_end_foretell_nothing() -> None:
    stopped = StoppedTrials(curves(a={1: 8.0, 3: 4.0}, b={1: 6.0, 3: np.inf}), 1)
    stopped.add_whole(["a", "b"], column(0.25, 0.5), np.array([4.0, np.inf]))
    stopped.add(column(0.75), np.array([10.0]), [1])
    assert (0.75, 0.0, 6.0) in rows_of(stopped)


def test_rows_stay_few_where_trials_stop_anywhere_and_many_are_whole() -> None:
    n = 500
    keys = [f"t{i}" for i in range(n)]
    known = curves(**{key: {float(step): 1.0 / step for step in range(1, 31)} for key in keys})
    stopped = StoppedTrials(known, 1)
    stopped.add_whole(keys, np.zeros((n, 1), dtype=np.float32), np.full(n, 0.01))
    stopped.add(np.ones((29, 1), dtype=np.float32), np.full(29, 2.0), list(range(1, 30)))
    X, _ = stopped.rows()
    assert len(X) == 29 + 4 * 100
    assert 0.0 in X[29:, 1]
    assert X[:, 1].max() == pytest.approx(28 / 29)


class Seen:
    """A surrogate that keeps what it was shown, and predicts how far trials have come."""

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


def problem(objective: Any) -> Problem:
    return Problem(
        objective, SPACE, ("loss",), (1.0,), None, None, 1, SuccessiveHalving(1, reduction_factor=3)
    )


def test_a_model_is_shown_stopped_trials_and_asked_about_whole_ones(
    join: Callable[..., Worker],
) -> None:
    trials = TrialRunner(join(), problem(learning))
    archive = Archive(SPACE, "loss", curves=trials.curves)
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


def test_without_stopped_trials_a_model_is_shown_the_points_alone() -> None:
    archive = Archive(SPACE, "loss", curves=Curves())
    seen = Seen()
    archive.add_failed(TrialsOf(0.25, 0.5))
    assert archive.fit(seen, np.random.default_rng(0)) is seen
    assert seen.X.tolist() == [[0.25], [0.5]]


class TrialsOf:
    """Failed tasks, as an archive takes them in."""

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


def test_a_trial_tells_how_many_stopped_ones_its_worker_knew(result: TuneResult) -> None:
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
