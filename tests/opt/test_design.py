from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from rush_opt.search.design import LatinHypercube, random_design, sobol_design
from rush_opt.search.grid import grid_design
from rush_opt.space import Boolean, Categorical, Constant, Float, Integer, Ordinal, Space

Draw = Callable[[Space, int, np.random.Generator], np.ndarray]

SPACE = Space({"x": Float(0, 1), "y": Float(1, 10, log=True), "n": Integer(1, 4), "b": Boolean()})


def hypercube(space: Space, n: int, rng: np.random.Generator) -> np.ndarray:
    return LatinHypercube(n).draw(space, rng)


@pytest.mark.parametrize("design", [random_design, hypercube, sobol_design])
@pytest.mark.parametrize("n", [0, 1, 2, 3, 7, 100])
def test_a_design_has_the_given_number_of_snapped_rows(design: Draw, n: int) -> None:
    X = design(SPACE, n, np.random.default_rng(0))
    assert X.shape == (n, 4)
    assert X.dtype == np.float64
    np.testing.assert_array_equal(SPACE.snap(X), X)
    np.testing.assert_allclose(SPACE.encode(SPACE.decode(X)), X, atol=1e-12)


@pytest.mark.parametrize("design", [random_design, hypercube, sobol_design])
def test_the_same_seed_gives_the_same_design_and_another_seed_another(design: Draw) -> None:
    first, again, other = (design(SPACE, 20, np.random.default_rng(seed)) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_sobol_design_puts_one_point_into_every_slice() -> None:
    # The first 2**k points of a digital sequence fall one each into 2**k equal slices.
    X = sobol_design(SPACE, 64, np.random.default_rng(5))
    for column in X[:, :2].T:
        assert sorted(np.floor(column * 64)) == list(range(64))
    assert list(np.bincount((X[:, 2] * 4).astype(int))) == [16] * 4
    assert X[:, 3].mean() == 0.5


@pytest.mark.parametrize("n", [1, 5, 64])
def test_a_latin_hypercube_puts_one_point_into_every_slice_of_every_parameter(n: int) -> None:
    X = LatinHypercube(n).draw(SPACE, np.random.default_rng(6))
    for column in X[:, :2].T:
        assert sorted(np.floor(column * n)) == list(range(n))
    counts = np.bincount((X[:, 2] * 4).astype(int), minlength=4)
    assert counts.max() - counts.min() <= 1 + n % 4


def test_a_grid_combines_evenly_spaced_values() -> None:
    space = Space({"x": Float(0, 1), "n": Integer(1, 9), "k": Constant("v"), "b": Boolean()})
    configs = space.decode(grid_design(space, 3))
    assert configs == [
        {"x": x, "n": n, "k": "v", "b": b}
        for x in (0.0, 0.5, 1.0)
        for n in (1, 5, 9)
        for b in (False, True)
    ]


def test_a_resolution_can_be_given_by_name() -> None:
    space = Space(
        {
            "rate": Float(1e-4, 1, log=True),
            "share": Float(0, 1, step=0.5),
            "size": Ordinal(["s", "m", "l", "xl"]),
            "trees": Integer(1, 1000, log=True),
            "kind": Categorical(list("abcdef")),
        }
    )
    found = space.decode(
        grid_design(space, {"rate": 3, "share": 9, "size": 2, "trees": 1, "kind": 1})
    )
    assert len(found) == 3 * 3 * 2 * 1 * 6
    assert [len({c[name] for c in found}) for name in space.names] == [3, 3, 2, 1, 6]
    assert sorted({c["rate"] for c in found}) == pytest.approx([1e-4, 1e-2, 1])
    assert {c["share"] for c in found} == {0.0, 0.5, 1.0}
    assert {c["size"] for c in found} == {"s", "xl"}
    # Unordered parameters have all their values and need no resolution.
    assert len(grid_design(Space({"b": Boolean(), "x": Float(0, 1)}), {"x": 2})) == 4


def test_a_grid_over_a_conditional_space_has_no_point_twice() -> None:
    space = Space(
        {
            "drop": Float(0, 1, when={"booster": "dart"}),
            "booster": Categorical(["gbdt", "dart", "linear"]),
            "leaves": Integer(1, 2, when={"booster": ["gbdt", "dart"]}),
            "deep": Boolean(when={"leaves": 2}),
        }
    )
    X = grid_design(space, 5)
    # gbdt: leaves 1, or 2 with two depths; dart: five times as many; linear: one.
    assert len(X) == 3 + 5 * 3 + 1
    assert len(np.unique(X, axis=0)) == len(X)
    np.testing.assert_array_equal(space.snap(X), X)
    for config in space.decode(X):
        space.validate(config)


@pytest.mark.parametrize(
    ("resolution", "error", "message"),
    [
        (0, ValueError, "'x' needs a resolution of at least 1, got 0"),
        (2.0, TypeError, "'x' needs a whole number as resolution, got 2.0"),
        (True, TypeError, "'x' needs a whole number as resolution, got True"),
        ({"x": 2, "y": 2}, TypeError, "'n' needs a whole number as resolution, got None"),
        ({"x": 2, "y": 2, "n": 2, "z": 1}, ValueError, r"must name searched .* got \['z'\]"),
        (3000, ValueError, "at most 1,000,000 points, got 9,000,000 before all 4"),
    ],
)
def test_an_impossible_grid_is_refused(
    resolution: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        grid_design(SPACE, resolution)
