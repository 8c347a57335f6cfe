"""Dominance, hypervolume and scalarization: closed forms, and brute force on tiny cases."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rush_opt.results.pareto import hypervolume, non_dominated
from rush_opt.search.scalarization import draw_weights, scalarize


def dominates(a: np.ndarray, b: np.ndarray) -> bool:
    return bool((a <= b).all() and (a < b).any())


def tables(m: int, highest: int = 4) -> st.SearchStrategy[np.ndarray]:
    values = st.integers(0, highest).map(float) | st.sampled_from([math.inf, -math.inf])
    row = st.lists(values, min_size=m, max_size=m)
    return st.lists(row, max_size=12).map(lambda rows: np.array(rows).reshape(-1, m))


@given(st.integers(1, 5).flatmap(tables))
def test_the_front_is_the_same_as_by_comparing_all_pairs(Y: np.ndarray) -> None:
    expected = [not any(dominates(other, row) for other in Y) for row in Y]
    assert non_dominated(Y).tolist() == expected


@pytest.mark.parametrize("m", [2, 3])
def test_a_hundred_thousand_points_that_do_not_dominate_each_other_are_all_kept(m: int) -> None:
    normal = np.random.default_rng(1).standard_normal((100_000, m))
    sphere = -np.abs(normal) / np.linalg.norm(normal, axis=1, keepdims=True)
    assert non_dominated(sphere).all()
    beaten = np.concatenate([sphere, sphere[:1_000] + 0.1])
    assert non_dominated(beaten).sum() == 100_000


def test_the_front_of_no_points_is_empty() -> None:
    assert non_dominated(np.empty((0, 2))).tolist() == []


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([1.0, 2.0], r"got shape \(2,\)"),
        (np.empty((3, 0)), r"got shape \(3, 0\)"),
        ([[0.0, math.nan]], "got NaN"),
    ],
)
def test_values_that_cannot_be_compared_are_refused(values: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        non_dominated(values)


def test_the_hypervolume_is_that_of_the_rectangles() -> None:
    assert hypervolume([[1, 2]], [3, 5]) == 6
    assert hypervolume([[1, 2], [2, 1]], [3, 3]) == 3
    assert hypervolume([[1, 2], [2, 1], [2, 2], [1, 2]], [3, 3]) == 3
    assert hypervolume([[3, 0], [0, 3], [9, 9]], [3, 3]) == 0
    assert hypervolume(np.empty((0, 2)), [3, 3]) == 0


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=12))
def test_the_hypervolume_is_the_number_of_dominated_cells(points: list[tuple[int, int]]) -> None:
    cells = sum(any(a <= x and b <= y for a, b in points) for x in range(5) for y in range(5))
    assert hypervolume(np.array(points, dtype=float).reshape(-1, 2), [5, 5]) == cells


def test_the_hypervolume_of_a_fine_front_is_the_area_above_the_curve() -> None:
    x = np.linspace(0, 1, 20_001)
    front = np.column_stack([x, 1 - np.sqrt(x)])
    assert hypervolume(front, [1.1, 1.1]) == pytest.approx(1.1**2 - 1 / 3, abs=1e-4)


@pytest.mark.parametrize(("values", "reference"), [([[1, 2, 3]], [4, 4, 4]), ([[1, 2]], [4])])
def test_the_hypervolume_of_other_than_two_objectives_is_refused(
    values: list[list[int]], reference: list[int]
) -> None:
    with pytest.raises(ValueError, match="need two objectives"):
        hypervolume(values, reference)


def test_weights_are_uniform_on_the_simplex() -> None:
    rng = np.random.default_rng(2)
    pairs = np.array([draw_weights(2, rng) for _ in range(4_000)])
    np.testing.assert_allclose(pairs.sum(axis=1), 1.0)
    # The largest distance from a uniform distribution function exceeds 1.95/sqrt(n) once in 1,000.
    distance = np.abs(np.sort(pairs[:, 0]) - (np.arange(4_000) + 0.5) / 4_000).max()
    assert distance < 1.95 / math.sqrt(4_000)
    triples = np.array([draw_weights(3, rng) for _ in range(4_000)])
    assert triples.min() >= 0
    np.testing.assert_allclose(triples.mean(axis=0), 1 / 3, atol=0.02)  # 5 standard errors


WEIGHTS = st.floats(0.01, 0.99).map(lambda w: np.array([w, 1 - w]))


@settings(max_examples=40)
@given(tables(2), WEIGHTS)
def test_a_dominating_point_has_the_smaller_value(Y: np.ndarray, weights: np.ndarray) -> None:
    values = scalarize(Y, weights)
    pairs = [(i, j) for i in range(len(Y)) for j in range(len(Y)) if dominates(Y[i], Y[j])]
    assert all(values[i] < values[j] for i, j in pairs)


@settings(max_examples=40)
@given(tables(2), WEIGHTS)
def test_units_and_scales_of_the_objectives_do_not_matter(
    Y: np.ndarray,
    weights: np.ndarray,
) -> None:
    rescaled = np.column_stack([1e9 * Y[:, 0] - 3.0, np.exp(Y[:, 1])])
    np.testing.assert_array_equal(scalarize(rescaled, weights), scalarize(Y, weights))


def test_weights_reach_all_of_a_front_that_bends_inwards() -> None:
    # No weighted sum is least anywhere but at the ends of this front.
    x = np.linspace(0, 1, 101)
    front = np.column_stack([x, 1 - x**2])
    found = [int(scalarize(front, np.array([w, 1 - w])).argmin()) for w in np.linspace(0.01, 1, 99)]
    assert found == sorted(found, reverse=True)
    assert len(set(found)) > 50
    assert max(found) > 95
    assert min(found) < 5
