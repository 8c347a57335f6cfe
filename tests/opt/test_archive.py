import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rush_core import TaskTable
from rush_opt.problem.goal import Goal
from rush_opt.search.archive import Archive
from rush_opt.space import Boolean, Categorical, Float, Integer, Space
from tests.typed import present

SPACE = Space({"x": Float(0, 1), "n": Integer(1, 9), "b": Boolean()})


def configs(n: int) -> list[dict[str, Any]]:
    return [{"x": (i % 97) / 97, "n": 1 + i % 9, "b": i % 2 == 0} for i in range(n)]


def tasks_with(values: list[Any]) -> TaskTable:
    results = [{"loss": value, "time": 1.0} for value in values]
    return TaskTable.from_results(configs(len(values)), results)


def test_rows_and_values_are_kept_in_order_through_growth() -> None:
    archive = Archive(SPACE, [Goal("loss")])
    tasks = tasks_with([math.sin(i) for i in range(1000)])
    archive.add(tasks[:3])
    archive.add(tasks[3:700])
    archive.add(tasks[:0])
    archive.add(tasks[700:])
    assert len(archive) == 1000
    np.testing.assert_array_equal(archive.y, [present(result)["loss"] for result in tasks.results])
    np.testing.assert_array_equal(archive.X, SPACE.encode(tasks.configs).astype(np.float32))


def test_an_empty_archive_has_no_incumbent() -> None:
    archive = Archive(SPACE, [Goal("loss")])
    assert len(archive) == 0
    assert archive.X.shape == (0, 3)
    assert archive.incumbent is None
    assert len(archive.best(5)) == 0


def test_maximizing_negates_the_values() -> None:
    archive = Archive(SPACE, [Goal("loss", "maximize")])
    archive.add(tasks_with([1.0, 5.0, 3.0]))
    np.testing.assert_array_equal(archive.y, [-1.0, -5.0, -3.0])
    assert archive.incumbent == 1


def test_views_are_read_only_and_share_memory() -> None:
    archive = Archive(SPACE, [Goal("loss")])
    archive.add(tasks_with([1.0, 2.0]))
    with pytest.raises(ValueError, match="read-only"):
        archive.y[0] = 0.0
    with pytest.raises(ValueError, match="read-only"):
        archive.X[0, 0] = 0.0
    assert np.shares_memory(archive.X, archive.X)
    archive.add(tasks_with([3.0]))  # the archive itself still can
    assert archive.y[2] == 3.0


def test_a_view_keeps_its_contents_while_the_archive_grows() -> None:
    archive = Archive(SPACE, [Goal("loss")])
    archive.add(tasks_with([1.0, 2.0]))
    X, y = archive.X, archive.y
    archive.add(tasks_with([7.0] * 5000))
    assert X.shape == (2, 3)
    np.testing.assert_array_equal(y, [1.0, 2.0])


@given(
    st.lists(st.lists(st.integers(0, 5), max_size=6), max_size=12),
    st.lists(st.integers(1, 9), min_size=12, max_size=12),
)
def test_the_best_are_the_same_as_after_a_full_sort(
    batches: list[list[int]], ks: list[int]
) -> None:
    archive = Archive(SPACE, [Goal("loss")])
    values: list[int] = []
    for batch, k in zip(batches, ks, strict=False):
        archive.add(tasks_with(batch))
        values += batch
        np.testing.assert_array_equal(archive.best(k), np.argsort(values, kind="stable")[:k])
        assert archive.incumbent == (values.index(min(values)) if values else None)


def test_a_nan_is_the_worst_value_in_both_directions() -> None:
    for goal in (Goal("loss"), Goal("loss", "maximize")):
        archive = Archive(SPACE, [goal])
        archive.add(tasks_with([math.nan, goal.value(1e300), math.nan]))
        np.testing.assert_array_equal(archive.y, [math.inf, 1e300, math.inf])
        assert archive.incumbent == 1


def test_a_row_is_in_the_archive_if_its_configuration_is() -> None:
    archive = Archive(SPACE, [Goal("loss")])
    archive.add(tasks_with([0.0] * 20))
    X = SPACE.encode(configs(40))
    assert all(row in archive for row in X[:20])
    assert not any(row in archive for row in X[20:])
    assert archive.X[4] in archive
    # A row that went through a configuration differs in its last bits at most.
    assert all(row in archive for row in SPACE.encode(SPACE.decode(X[:20])))


@pytest.mark.parametrize("result", [{}, {"loss": "low"}, {"loss": None}])
def test_a_result_without_the_metric_is_refused_and_nothing_is_added(result: Any) -> None:
    archive = Archive(SPACE, [Goal("loss")])
    with pytest.raises(ValueError, match="need a number 'loss' in the result of every task"):
        archive.add(TaskTable.from_results(configs(2), [{"loss": 1.0}, result]))
    assert len(archive) == 0


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"n": 99}, "parameter 'n' needs 1 <= value <= 9, got 99"),
        ({"x": -0.5}, "parameter 'x' needs 0.0 <= value <= 1.0, got -0.5"),
        ({"x": math.nan}, "parameter 'x' needs 0.0 <= value <= 1.0, got nan"),
        ({"x": "half"}, "need a number 'x' in the config of every task"),
    ],
)
def test_a_configuration_of_another_space_is_refused_and_nothing_is_added(
    wrong: dict[str, Any], message: str
) -> None:
    archive = Archive(SPACE, [Goal("loss")])
    first, second = configs(2)
    with pytest.raises(ValueError, match=message):
        archive.add(TaskTable.from_results([first, second | wrong], [{"loss": 1.0}] * 2))
    assert len(archive) == 0
    assert archive.X.shape == (0, 3)


def test_choices_and_numbers_are_both_read() -> None:
    space = Space({"kind": Categorical(["a", "b"]), "x": Float(0, 1)})
    archive = Archive(space, [Goal("loss")])
    given = [{"kind": "b", "x": 0.25}, {"kind": "a", "x": 0.5}]
    archive.add(TaskTable.from_results(given, [{"loss": 1.0}] * 2))
    np.testing.assert_array_equal(archive.X, [[0.75, 0.25], [0.25, 0.5]])
    with pytest.raises(ValueError, match="parameter 'kind' needs one of"):
        archive.add(TaskTable.from_results([{"kind": "c", "x": 0.5}], [{"loss": 1.0}]))
