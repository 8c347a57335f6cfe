"""Rules that stop trials, in closed form: what they decide follows from curves alone."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest

from rush_opt import MedianRule, SuccessiveHalving
from rush_opt.stopping.curves import Curve, Curves
from rush_opt.stopping.trial_rules import Pruner


def curve(*values: float, steps: Sequence[float] | None = None) -> Curve:
    """A curve with these values at steps 1, 2, ... or at others."""
    made = Curve()
    for step, value in zip(steps or range(1, len(values) + 1), values, strict=True):
        made.append(step, value)
    return made


class Said(NamedTuple):
    """A report as curves take it in."""

    key: str
    attempt: int
    values: dict[str, Any]


def said(key: str, step: float, value: float, attempt: int = 0) -> Said:
    return Said(key, attempt, {"step": step, "value": value})


# -- curves ----------------------------------------------------------------------------------------


def test_a_curve_has_values_best_and_running_average() -> None:
    made = curve(4.0, 1.0, 3.0, steps=[1, 2, 5])
    assert made.best == 1.0
    assert [made.value_at(step) for step in (0, 1, 1.5, 2, 3, 5, 5.1)] == [4, 4, 1, 1, 3, 3, None]
    assert [made.mean_until(step) for step in (1, 2, 3, 5)] == [4, 2.5, 2.5, 8 / 3]
    assert made.mean_until(0.5) is None  # nothing was reported by then
    assert made.mean_until(6) is None  # it has not come so far


def test_a_value_that_is_not_finite_is_the_worst_in_both_directions() -> None:
    for sign in (1.0, -1.0):
        curves = Curves(sign)
        for step, value in enumerate([2.0, math.nan, math.inf, -math.inf]):
            curves.add([said("a", step, value)])
        assert curves["a"].values == [2.0 * sign, math.inf, math.inf, math.inf]
        assert curves["a"].best == 2.0 * sign


def test_each_trial_has_its_curve_and_a_new_attempt_starts_a_new_one() -> None:
    curves = Curves()
    curves.add([said("a", 1, 5.0), said("b", 1, 6.0), said("a", 2, 4.0)])
    curves.add([said("a", 1, 3.0, attempt=1), said("a", 3, 9.0, attempt=0)])
    assert (curves["a"].steps, curves["a"].values) == ([1], [3.0])
    assert [other.values for other in curves.others("a")] == [[6.0]]


# -- asynchronous successive halving ---------------------------------------------------------------

HALVING = SuccessiveHalving(min_resource=1, reduction_factor=3)


@pytest.mark.parametrize(
    ("others", "value", "stopped"),
    [
        ([], 9.0, False),  # the first trial at a rung has no others to compare with
        ([1.0], 2.0, True),  # of two, the best goes on
        ([1.0], 0.5, False),
        ([1.0, 2.0, 3.0, 4.0], 1.5, True),  # of five, one does
        ([1.0, 2.0, 3.0, 4.0, 5.0], 1.5, False),  # of six, two do
        ([1.0, 2.0, 3.0, 4.0, 5.0], 2.5, True),
        ([1.0, 1.0], 1.0, False),  # an equal is not better
        ([math.nan, math.nan], 5.0, False),
        ([5.0], math.nan, True),
    ],
)
def test_at_a_rung_the_best_share_of_the_trials_that_reached_it_continue(
    others: list[float], value: float, stopped: bool
) -> None:
    assert HALVING.should_stop(curve(value), [curve(other) for other in others]) is stopped


def test_no_trial_is_stopped_between_rungs() -> None:
    better = [curve(*[0.0] * 30) for _ in range(9)]
    asked = [HALVING.should_stop(curve(*[1.0] * step), better) for step in range(1, 28)]
    assert [step for step, stopped in enumerate(asked, 1) if stopped] == [1, 3, 9, 27]


def test_only_trials_that_reached_a_rung_are_compared_there() -> None:
    others = [curve(1.0, 1.0), curve(1.0, 1.0), curve(5.0, 5.0, 5.0)]
    assert not HALVING.should_stop(curve(4.0, 4.0, 4.0), others)
    assert HALVING.should_stop(curve(6.0, 6.0, 6.0), others)


def test_the_value_at_a_rung_is_the_first_at_its_step_or_later() -> None:
    rule = SuccessiveHalving(min_resource=10, reduction_factor=2)
    others = [curve(1.0, 9.0, steps=[8, 12]), curve(9.0, 1.0, steps=[12, 18])]
    assert not rule.should_stop(curve(8.0, steps=[11]), others)  # 8 against 9 and 9


def test_a_report_that_reaches_several_rungs_must_pass_each_of_them() -> None:
    others = [curve(1.0), curve(9.0, 9.0, 9.0)]
    assert HALVING.should_stop(curve(5.0, steps=[3]), others)  # second of three at step 1
    assert not HALVING.should_stop(curve(0.5, steps=[3]), others)


# -- the median rule -------------------------------------------------------------------------------


def test_a_trial_is_stopped_if_its_best_is_worse_than_the_median_of_averages() -> None:
    rule = MedianRule(n_min_trials=3)
    others = [curve(4.0, 2.0), curve(6.0, 4.0), curve(9.0, 9.0)]  # averages 3, 5, 9
    assert not rule.should_stop(curve(8.0, 5.0), others)
    assert rule.should_stop(curve(8.0, 5.1), others)
    assert not rule.should_stop(curve(4.9, 8.0), others)  # its best counts
    assert rule.should_stop(curve(5.1, 8.0), others)


def test_others_count_only_up_to_the_step_and_only_if_they_reached_it() -> None:
    rule = MedianRule(n_min_trials=1)
    assert rule.should_stop(curve(3.0), [curve(2.0, 100.0)])
    assert not rule.should_stop(curve(3.0, 3.0), [curve(0.0)])


def test_no_trial_is_stopped_with_too_few_others_or_at_an_early_step() -> None:
    good = [curve(0.0, 0.0, 0.0)] * 4
    assert MedianRule(n_min_trials=4).should_stop(curve(1.0), good)
    assert not MedianRule(n_min_trials=5).should_stop(curve(1.0), good)
    warm = MedianRule(n_min_trials=1, n_warmup_steps=2)
    assert not warm.should_stop(curve(1.0, 1.0), good)
    assert warm.should_stop(curve(1.0, 1.0, 1.0), good)


# -- settings --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: SuccessiveHalving(min_resource=0), "first rung, must be a number > 0"),
        (lambda: SuccessiveHalving(min_resource=math.inf), "min_resource"),
        (lambda: SuccessiveHalving(reduction_factor=1), "reduction_factor must be a number > 1"),
        (lambda: SuccessiveHalving(reduction_factor=True), "reduction_factor"),
        (lambda: MedianRule(n_warmup_steps=-1), "n_warmup_steps must be a step >= 0"),
        (lambda: MedianRule(n_min_trials=0), "n_min_trials must be a count >= 1"),
        (lambda: MedianRule(n_min_trials=2.5), "n_min_trials"),  # type: ignore[arg-type]
    ],
)
def test_invalid_settings_of_a_rule_are_refused(make: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make()


@pytest.mark.parametrize("rule", [SuccessiveHalving(), MedianRule(n_min_trials=1)])
def test_a_rule_does_not_change_the_curves(rule: Pruner) -> None:
    mine, others = curve(3.0, 2.0, 1.0, 1.0), [curve(1.0, 1.0, 1.0, 1.0)]
    before = repr((mine, others))
    assert rule.should_stop(mine, others) is rule.should_stop(mine, iter(others))
    assert repr((mine, others)) == before
