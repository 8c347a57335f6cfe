"""A goal says which value improves in which direction."""

from typing import Any

import pytest

from rush_opt.problem.goal import Goal


def test_a_loss_is_smaller_for_a_better_value() -> None:
    error, recall = Goal("error"), Goal("recall", "maximize")
    assert error.loss(0.1) < error.loss(0.2)
    assert recall.loss(0.2) < recall.loss(0.1)
    assert recall.value(recall.loss(0.3)) == 0.3


@pytest.mark.parametrize("name", ["", 3, None])
def test_a_goal_without_a_name_is_refused(name: Any) -> None:
    with pytest.raises(TypeError, match="needs the name of a result"):
        Goal(name)


def test_an_unknown_direction_is_refused() -> None:
    direction: Any = "up"
    with pytest.raises(ValueError, match="'minimize' or 'maximize', got 'up'"):
        Goal("error", direction)
