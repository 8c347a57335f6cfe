import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rush_opt.archive import Archive
from rush_opt.space import Boolean, Float, Integer, Space

SPACE = Space({"x": Float(0, 1), "n": Integer(1, 9), "b": Boolean()})


@dataclass
class Task:
    config: dict[str, Any]
    result: dict[str, Any]


def tasks_with(values: list[Any]) -> list[Task]:
    return [
        Task({"x": (i % 97) / 97, "n": 1 + i % 9, "b": i % 2 == 0}, {"loss": value, "time": 1.0})
        for i, value in enumerate(values)
    ]


def test_rows_and_values_are_kept_in_order_through_growth() -> None:
    archive = Archive(SPACE, "loss")
    tasks = tasks_with([math.sin(i) for i in range(1000)])
    archive.add(tasks[:3])
    archive.add(iter(tasks[3:700]))
    archive.add([])
    archive.add(tasks[700:])
    assert len(archive) == 1000
    np.testing.assert_array_equal(archive.y, [task.result["loss"] for task in tasks])
    np.testing.assert_array_equal(
        archive.X, SPACE.encode([task.config for task in tasks]).astype(np.float32)
    )


def test_an_empty_archive_has_no_incumbent() -> None:
    archive = Archive(SPACE, "loss")
    assert len(archive) == 0
    assert archive.X.shape == (0, 3)
    assert archive.incumbent is None
    assert len(archive.best(5)) == 0


def test_maximizing_turns_the_values_around() -> None:
    archive = Archive(SPACE, "loss", sign=-1)
    archive.add(tasks_with([1.0, 5.0, 3.0]))
    np.testing.assert_array_equal(archive.y, [-1.0, -5.0, -3.0])
    assert archive.incumbent == 1


def test_the_views_cannot_be_written_through_and_share_memory() -> None:
    archive = Archive(SPACE, "loss")
    archive.add(tasks_with([1.0, 2.0]))
    with pytest.raises(ValueError, match="read-only"):
        archive.y[0] = 0.0
    with pytest.raises(ValueError, match="read-only"):
        archive.X[0, 0] = 0.0
    assert np.shares_memory(archive.X, archive.X)
    archive.add(tasks_with([3.0]))  # the archive itself still can
    assert archive.y[2] == 3.0


def test_a_view_keeps_its_contents_while_the_archive_grows() -> None:
    archive = Archive(SPACE, "loss")
    archive.add(tasks_with([1.0, 2.0]))
    X, y = archive.X, archive.y
    archive.add(tasks_with([7.0] * 5000))
    assert X.shape == (2, 3)
    np.testing.assert_array_equal(y, [1.0, 2.0])


@given(
    st.lists(st.lists(st.integers(0, 5), max_size=6), max_size=12),
    st.lists(st.integers(1, 9), min_size=12, max_size=12),
)
def test_the_best_are_those_that_sorting_everything_finds(
    batches: list[list[int]], ks: list[int]
) -> None:
    archive = Archive(SPACE, "loss")
    values: list[int] = []
    for batch, k in zip(batches, ks, strict=False):
        archive.add(tasks_with(batch))
        values += batch
        np.testing.assert_array_equal(archive.best(k), np.argsort(values, kind="stable")[:k])
        assert archive.incumbent == (values.index(min(values)) if values else None)


def test_a_nan_counts_as_the_worst_value_either_way() -> None:
    for sign in (1, -1):
        archive = Archive(SPACE, "loss", sign=sign)
        archive.add(tasks_with([math.nan, 1e300 * sign, math.nan]))
        np.testing.assert_array_equal(archive.y, [math.inf, 1e300, math.inf])
        assert archive.incumbent == 1


def test_membership_is_that_of_configurations() -> None:
    archive = Archive(SPACE, "loss")
    archive.add(tasks_with([0.0] * 20))
    X = SPACE.encode([task.config for task in tasks_with([0.0] * 40)])
    assert all(row in archive for row in X[:20])
    assert not any(row in archive for row in X[20:])
    assert archive.X[4] in archive
    # A row that went through a configuration differs in its last bits at most.
    assert all(row in archive for row in SPACE.encode(SPACE.decode(X[:20])))


def test_each_attribute_of_a_task_is_read_once() -> None:
    class Counting:
        n_reads = 0

        @property
        def config(self) -> dict[str, Any]:
            Counting.n_reads += 1
            return {"x": 0.5, "n": 2, "b": True}

        @property
        def result(self) -> dict[str, Any]:
            Counting.n_reads += 1
            return {"loss": 1.0}

    Archive(SPACE, "loss").add([Counting(), Counting()])
    assert Counting.n_reads == 4


@pytest.mark.parametrize("result", [{}, {"loss": "low"}, {"loss": None}, None])
def test_a_result_without_the_metric_is_refused_and_nothing_is_added(result: Any) -> None:
    archive = Archive(SPACE, "loss")
    tasks = tasks_with([1.0, 2.0])
    tasks[1].result = result
    with pytest.raises(ValueError, match="needs a number named 'loss'"):
        archive.add(tasks)
    assert len(archive) == 0


def test_a_configuration_of_another_space_is_refused_and_nothing_is_added() -> None:
    archive = Archive(SPACE, "loss")
    tasks = tasks_with([1.0, 2.0])
    tasks[1].config["n"] = 99
    with pytest.raises(ValueError, match="parameter 'n' needs 1 <= value <= 9, got 99"):
        archive.add(tasks)
    assert len(archive) == 0
    assert archive.X.shape == (0, 3)


def test_a_sign_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="need sign 1"):
        Archive(SPACE, "loss", sign=0)
