"""Rules that end a run: judged at each finished trial, in workers and in virtual time."""

import math
import re
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from rush_core import EmbeddedServer
from rush_opt import (
    Float,
    FrozenTrial,
    History,
    Seconds,
    Stagnation,
    StopRun,
    SuccessiveHalving,
    Target,
    Trial,
    Trials,
    simulate,
    tune,
)
from rush_opt.problem.goal import Goal
from rush_opt.stopping.curves import Curve
from rush_opt.stopping.rules import Rule, make_rule
from rush_opt.stopping.trial_rules import Pruner
from rush_opt.stopping.watch import Watch
from tests.typed import present, unchecked

X = {"x": Float(0, 1)}


def goal(sign: float = 1.0) -> Goal:
    return Goal("value", "minimize" if sign > 0 else "maximize")


def stops_after(rule: Any, values: list[float], *, sign: float = 1.0) -> int | None:
    """Return after how many trials a rule holds; one ends each second."""
    watch = Watch(make_rule(rule), goal(sign), began=0.0)
    for n, value in enumerate(values, start=1):
        watch.add_trial(value, float(n))
        if watch.reason is not None:
            return n
    return None


@pytest.mark.parametrize(
    ("rule", "sign", "n"),
    [
        (Target(3), 1.0, 3),
        (Target(2.9), 1.0, 6),
        (Target(7), -1.0, 2),
        (Stagnation(2), 1.0, 5),
        (Stagnation(3), 1.0, None),
        (Stagnation(1, min_improvement=2.0), 1.0, 2),
        (Stagnation(2, min_improvement=2.0), 1.0, 3),
        (Trials(4), 1.0, 4),
        (Seconds(2.5), 1.0, 3),
        (Target(3) | Trials(2), 1.0, 2),
        (Target(3) & Trials(5), 1.0, 5),
        (Trials(2) & Target(3) | Trials(1) & Seconds(6), 1.0, 3),
        (lambda history: history.n_finished == 2, 1.0, 2),
        ((lambda history: sum(history.values) > 20) | Target(0), 1.0, 5),
        (Trials(3) & (lambda history: history.best_value == 1), 1.0, 6),
    ],
)
def test_a_rule_holds_after_the_trial_that_makes_it_true(
    rule: Rule | Callable[[History], bool], sign: float, n: int | None
) -> None:
    assert stops_after(rule, [5, 7, 3, 4, 3, 1], sign=sign) == n


def test_any_names_the_rule_that_holds_and_all_names_every_rule() -> None:
    watch = Watch((Target(1) | Trials(2)) & Seconds(0.5), goal(), began=0.0)
    watch.add_trial(4.0, 1.0)
    assert watch.reason is None
    watch.add_trial(4.0, 2.0)
    assert watch.reason == "Trials(n_finished=2) & Seconds(seconds=0.5)"


def test_time_passes_without_trials() -> None:
    watch = Watch(Seconds(10), goal(), began=100.0)
    watch.advance(109.0)
    assert not watch.is_over
    watch.advance(110.0)
    assert watch.is_over


def test_trials_of_an_earlier_run_count_but_do_not_end_this_one() -> None:
    watch = Watch(Stagnation(2), goal(), began=10.0)
    for ended_at, value in enumerate([1.0, 1.0, 1.0, 0.5]):
        watch.add_trial(value, float(ended_at))
    watch.advance(10.0)
    assert not watch.is_over
    watch.add_trial(0.5, 11.0)
    watch.add_trial(0.5, 12.0)
    watch.advance(12.0)
    assert watch.is_over


def test_known_values_count_for_improvement_but_not_as_trials() -> None:
    watch = Watch(Stagnation(2), goal(), began=0.0)
    for value in (3.0, 1.0, 2.0):
        watch.add_known_value(value)
    watch.add_trial(4.0, 1.0)
    assert watch.reason is None
    watch.add_trial(4.0, 2.0)
    assert watch.reason == "Stagnation(n_trials=2, min_improvement=0.0)"


@pytest.mark.parametrize(
    ("rule", "sign", "trials", "n"),
    [
        # A stopped trial is never the best one if a complete one exists, whichever ended first.
        (Target(1), 1.0, [(5, False), (1, True), (1, False)], 3),
        (Target(1), 1.0, [(1.5, True), (5, False), (1, True), (0.5, False)], 4),
        (Target(9), -1.0, [(5, False), (9, True), (9, False)], 3),
        (Target(1), 1.0, [(2, True), (1, True)], 2),
        # It is one more trial, and improves upon nothing.
        (Stagnation(2), 1.0, [(5, False), (4, True), (3, True)], 3),
        (Stagnation(2), -1.0, [(5, False), (6, True), (7, True)], 3),
        (Stagnation(2), 1.0, [(5, False), (4, True), (4.5, False), (3, True), (3, True)], 5),
        # Stopped trials improve on each other, until one is complete: no value compares with it.
        (Stagnation(2), 1.0, [(5, True), (4, True), (3, True), (3, True), (3, True)], 5),
        (Stagnation(1), 1.0, [(5, True), (9, False), (4, True)], 3),
        (Trials(2), 1.0, [(5, True), (4, True)], 2),
        (lambda history: history.best_value == 5, 1.0, [(4, True), (5, False)], 2),
    ],
)
def test_a_stopped_trial_is_the_best_one_only_if_none_is_complete(
    rule: Rule | Callable[[History], bool], sign: float, trials: list[tuple[float, bool]], n: int
) -> None:
    watch = Watch(make_rule(rule), goal(sign), began=0.0)
    held = []
    for i, (value, is_stopped) in enumerate(trials, start=1):
        watch.add_trial(value, float(i), is_stopped=is_stopped)
        held.append(watch.reason is not None)
    assert held == [i >= n for i in range(1, len(trials) + 1)]


def test_a_known_value_counts_as_that_of_a_complete_trial() -> None:
    watch = Watch(make_rule(Target(1)), goal(), began=0.0)
    watch.add_known_value(3.0)
    watch.add_trial(0.5, 1.0, is_stopped=True)
    assert watch.reason is None
    watch.add_known_value(1.0)
    watch.advance(2.0)
    assert watch.is_over


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Target(unchecked("0.1")), "an objective value, a number, got '0.1'"),
        (lambda: Target(float("nan")), "got nan"),
        (lambda: Stagnation(0), "a whole number of trials >= 1, got 0"),
        (lambda: Stagnation(5, -0.1), "min_improvement >= 0"),
        (lambda: Trials(unchecked(2.5)), "got 2.5"),
        (lambda: Seconds(0), "positive, finite number, got 0"),
        (lambda: Target(1) | unchecked(3), "a rule such as Target(0.1) | Stagnation(50)"),
        (lambda: tune(float, X, stop=unchecked(Target)), "write Target(...)"),
        (lambda: tune(float, X, stop=unchecked(0.1)), "got 0.1"),
        (lambda: stops_after(lambda history: 1, [0.0]), "must return a bool, got 1"),
    ],
)
def test_an_object_that_is_not_a_rule_is_refused(make: Callable[[], object], said: str) -> None:
    with pytest.raises((TypeError, ValueError), match=re.escape(said)):
        make()


@pytest.mark.parametrize("optimizer", ["random", "adbo", "acbo", "clbo"])
def test_in_virtual_time_no_trial_starts_after_the_target(optimizer: str) -> None:
    result = simulate(
        lambda config: config["x"],
        X,
        n_workers=5,
        n_trials=300,
        duration=lambda config, number: 1.0 + config["x"],
        cost=lambda n_known: (0.01, 0.01),
        optimizer=optimizer,
        stop=Target(0.1),
        seed=1,
    )
    assert result.stop_reason == "Target(value=0.1)"
    reached_at = next(present(t.ended_at) for t in result.frozen_trials if present(t.value) <= 0.1)
    assert len(result.frozen_trials) < 300
    assert max(present(t.started_at) for t in result.frozen_trials) <= reached_at


@pytest.mark.parametrize("optimizer", ["random", "acbo"])
def test_a_worker_that_has_read_the_deciding_trial_starts_no_other(
    optimizer: str, server: EmbeddedServer
) -> None:
    result = tune(
        lambda config: config["x"],
        X,
        n_workers=2,
        optimizer=optimizer,
        stop=Target(-1.0) | Trials(20),
        seed=1,
        url=server.url,
        progress=False,
    )
    assert result.stop_reason == "Trials(n_finished=20)"
    finished = [t for t in result.frozen_trials if t.value is not None]
    assert 20 <= len(finished) <= 21  # at most one more by each other worker


def two_steps(config: dict[str, Any], trial: Trial) -> float:
    """Report one value, and return another unless the trial should stop."""
    trial.report(config["first"], 1)
    if trial.should_stop():
        return math.nan  # what a stopped trial returns as its value does not count
    return float(config["last"])


class StopsAll:
    """A rule that lets no trial go on."""

    def should_stop(self, curve: Curve, others: Iterable[Curve]) -> bool:
        return True


@pytest.mark.parametrize("optimizer", ["random", "acbo"])
@pytest.mark.parametrize(
    ("stop", "pruner", "reported", "n", "best_value"),
    [
        # The first report decides which trials are stopped: here those that would return 0.
        (
            *(Target(0.5), SuccessiveHalving()),
            *([(0.4, 1.0), (0.5, 0.0), (0.3, 0.9), (0.6, 0.0), (0.2, 0.4), (0.7, 0.0)], 5, 0.4),
        ),
        (
            *(Stagnation(2), SuccessiveHalving()),
            *([(0.4, 1.0), (0.5, 0.0), (0.45, 0.0), (0.3, 0.9)], 3, 1.0),
        ),
        (
            *(Trials(4), SuccessiveHalving()),
            *([(0.4, 1.0), (0.5, 0.0), (0.3, 0.9), (0.6, 0.0), (0.2, 0.4)], 4, 0.9),
        ),
        (Target(0.3), StopsAll(), [(0.4, 0.0), (0.5, 0.0), (0.3, 0.9), (0.2, 0.0)], 3, 0.3),
        (Stagnation(1), StopsAll(), [(0.4, 0.0), (0.3, 0.9), (0.5, 0.0), (0.2, 0.0)], 3, 0.3),
    ],
)
def test_rules_the_display_and_the_result_agree_on_the_best_trial(
    stop: Rule,
    pruner: Pruner,
    reported: list[tuple[float, float]],
    n: int,
    best_value: float,
    optimizer: str,
    server: EmbeddedServer,
    capsys: pytest.CaptureFixture[str],
) -> None:
    result = tune(
        *(two_steps, {"first": Float(0, 1), "last": Float(0, 1)}),
        n_workers=1,
        n_trials=len(reported),
        optimizer=optimizer,
        pruner=pruner,
        stop=stop,
        initial_design=[{"first": first, "last": last} for first, last in reported],
        url=server.url,
    )
    assert result.stop_reason == repr(stop)
    assert len(result.frozen_trials) == n
    assert result.best_value == best_value
    assert result.frozen_trials[1].stopped_at == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert f"{n}/{len(reported)} trials, best value {best_value:g}, " in last


def test_a_callback_can_end_the_run(server: EmbeddedServer) -> None:
    def enough(trial: FrozenTrial) -> None:
        called.append(trial)
        if trial.number >= 5:
            raise StopRun("seen enough")

    called: list[FrozenTrial] = []
    result = tune(
        *(lambda config: config["x"], X),
        n_workers=2,
        n_trials=100_000,
        optimizer="random",
        url=server.url,
        callbacks=[enough],
        progress=False,
    )
    assert result.stop_reason == "seen enough"
    assert called == result.frozen_trials
    assert 6 <= len(called) < 100_000
    assert {worker.state for worker in result.workers} == {"stopped"}


def test_a_function_is_asked_from_the_beginning_when_there_is_no_best_value() -> None:
    best_values: list[float | None] = []

    def rule(history: History) -> bool:
        best_values.append(history.best_value)
        return history.n_finished == 3

    result = simulate(
        lambda config: config["x"], X, n_workers=1, duration=lambda *_: 1.0, stop=rule, seed=1
    )
    assert best_values[0] is None
    assert len(result.trials) == 3
