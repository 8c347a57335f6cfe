import numpy as np
import pytest

from rush_opt.design import random_design, sobol_design
from rush_opt.space import Boolean, Float, Integer, Space

SPACE = Space({"x": Float(0, 1), "y": Float(1, 10, log=True), "n": Integer(1, 4), "b": Boolean()})


@pytest.mark.parametrize("design", [random_design, sobol_design])
@pytest.mark.parametrize("n", [0, 1, 2, 3, 7, 100])
def test_a_design_has_as_many_snapped_rows_as_asked_for(design, n) -> None:
    X = design(SPACE, n, np.random.default_rng(0))
    assert X.shape == (n, 4)
    assert X.dtype == np.float64
    np.testing.assert_array_equal(SPACE.snap(X), X)
    np.testing.assert_allclose(SPACE.encode(SPACE.decode(X)), X, atol=1e-12)


@pytest.mark.parametrize("design", [random_design, sobol_design])
def test_the_same_seed_gives_the_same_design_and_another_seed_another(design) -> None:
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
