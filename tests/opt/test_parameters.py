"""Parameters of every kind: the values that they accept, and the arguments that they refuse."""

import math
from typing import Any

import numpy as np
import pytest

from rush_opt.space import (
    Boolean,
    Categorical,
    Constant,
    Float,
    Integer,
    Ordinal,
    Space,
    Transformed,
)
from tests.opt.spaces import TRANSFORMED
from tests.typed import unchecked


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Float(1, 1), ValueError, "Float needs low < high, got 1.0 >= 1.0"),
        (lambda: Float(2, 1), ValueError, "low < high"),
        (lambda: Float(0, math.inf), ValueError, "finite"),
        (lambda: Float(math.nan, 1), ValueError, "finite"),
        (lambda: Float(-1e308, 1e308), ValueError, "finite range"),
        (lambda: Float(0, 10**400), ValueError, r"range of a float, got 10+\.\.\. as high"),
        (lambda: Float(0, 1, step=10**400), ValueError, "range of a float, .* as step"),
        (lambda: Float(0, 1, log=True), ValueError, "log=True needs low > 0, got 0.0"),
        (lambda: Float(unchecked("0"), 1), TypeError, "a number as low, got '0'"),
        (lambda: Float(0, True), TypeError, "a number as high, got True"),
        (lambda: Integer(0, 0), ValueError, "Integer needs low < high"),
        (lambda: Integer(0, 4, log=True), ValueError, "low >= 1, got 0"),
        (lambda: Integer(unchecked(0.5), 4), TypeError, "a whole number as low, got 0.5"),
        (lambda: Integer(False, 4), TypeError, "a whole number as low, got False"),
        (lambda: Integer(0, 2**40), ValueError, "at most 2..40 values"),
        (lambda: Integer(2**53, 2**53 + 1), ValueError, "within"),
        (lambda: Float(0, 1, step=unchecked("0.1")), TypeError, "a number as step"),
        (lambda: Float(0, 1, step=0), ValueError, "a step > 0"),
        (lambda: Float(1, 2, step=0.5, log=True), ValueError, "cannot combine it with log"),
        (lambda: Float(0, 1, step=0.3), ValueError, r"3\.33333 steps of 0\.3 .*make high 0\.9"),
        (lambda: Float(0, 1, step=2), ValueError, r"make high 2\.0"),
        (lambda: Float(0, 1, step=1e-15), ValueError, "fewer than 2..40 steps"),
        (lambda: Float(1e15, 1e15 + 1, step=0.25), ValueError, r"got 0\.25 where .* 0\.125 apart"),
        (lambda: Integer(0, 9, step=0), ValueError, "a step >= 1"),
        (lambda: Integer(0, 9, step=unchecked(2.0)), TypeError, "a whole number as step, got 2.0"),
        (lambda: Integer(1, 9, step=2, log=True), ValueError, "step=1 if log is set"),
        (lambda: Integer(0, 9, step=2), ValueError, "steps of 2 from 0 to 9; make high 8"),
        (lambda: Ordinal(["a"]), ValueError, "at least two values"),
        (lambda: Ordinal("ab"), TypeError, "a sequence of choices, got 'ab'"),
        (lambda: Ordinal(["a", "b", "a"]), ValueError, "choices that all differ"),
        (lambda: Constant([1]), TypeError, r"str, int, float, bool or None as choices, got \[1\]"),
        (lambda: Constant(math.nan), ValueError, "NaN"),
        (lambda: Space({"x": 3}), ValueError, "a parameter to search, got only fixed ones"),
        (
            lambda: Transformed(unchecked(3), float, inverse=float),
            TypeError,
            "a parameter to search, got 3",
        ),
        (
            lambda: Transformed(Boolean(), unchecked(3), inverse=bool),
            TypeError,
            "functions as transform",
        ),
        (
            lambda: Transformed(Boolean(when={"a": 1}), int, inverse=bool),
            ValueError,
            "without a condition",
        ),
        (
            lambda: Transformed(Float(-1, 1), abs, inverse=abs),
            ValueError,
            r"an inverse that leads back, got -1\.0 -> 1\.0 -> 1\.0",
        ),
        (lambda: Categorical([]), ValueError, "at least one choice"),
        (lambda: Categorical("ab"), TypeError, "a sequence of choices, got 'ab'"),
        (lambda: Categorical(unchecked({"a", "b"})), TypeError, "a sequence of choices"),
        (lambda: Categorical(unchecked(3)), TypeError, "a sequence of choices, got 3"),
        (lambda: Categorical([1, True]), ValueError, "choices that all differ"),
        (lambda: Categorical([[1], [2]]), TypeError, r"got \[1\]"),
        (lambda: Categorical([math.nan]), ValueError, "NaN"),
        (lambda: Space({}), ValueError, "at least one parameter"),
        (lambda: Space(unchecked({1: Boolean()})), TypeError, "a string, got 1"),
        (lambda: Space({"x": {3}}), TypeError, "parameter 'x' needs to be a Float"),
        (lambda: Space({"x": Float}), TypeError, "parameter 'x' needs to be a Float"),
        (
            lambda: Space([("x", Boolean()), ("x", Float(0, 1))]),
            ValueError,
            r"different names, got \['x'\] twice",
        ),
    ],
)
def test_invalid_parameters_and_spaces_are_refused_with_a_reason(
    make: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        make()


def test_a_step_makes_a_number_discrete() -> None:
    space = Space({"x": Float(-0.1, 0.5, step=0.1), "n": Integer(4, 16, step=4)})
    assert list(space.n_levels) == [7, 4]
    found = space.decode(np.linspace([0, 0], [1, 1], 200))
    # Sums of steps in decimal arithmetic: 0.2, and not 0.2 and a rounding error.
    assert sorted({c["x"] for c in found}) == [-0.1, 0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
    assert sorted({c["n"] for c in found}) == [4, 8, 12, 16]
    np.testing.assert_allclose(space.encode([{"x": 0.3, "n": 8}]), [[4.5 / 7, 1.5 / 4]])
    start = space.encode([{"x": 0.0, "n": 8}])
    moved = space.shift(start, np.array([[1e-6, -1e-6]]))
    assert space.decode(moved) == [{"x": 0.1, "n": 4}]


@pytest.mark.parametrize(
    ("low", "high", "step"),
    [
        (1.6e9, 1.6e9 + 10, 0.001),
        (-1600000010.3, -1600000000.1, 0.1),
        (1e15, 1e15 + 100, 0.5),
        (0, 2**40 - 2, 1),
    ],
)
def test_all_steps_far_from_zero_are_values(low: float, high: float, step: float) -> None:
    space = Space({"x": Float(low, high, step=step)})
    X = space.snap(np.linspace(0, 1, 500)[:, None])
    configs = space.decode(X)
    for config in configs:
        space.validate(config)
        with pytest.raises(ValueError, match="needs a whole number of steps"):
            space.validate({"x": min(config["x"], high - step) + step / 2})
    np.testing.assert_array_equal(space.encode(configs), X)


@pytest.mark.parametrize("change", [{"x": 0.25}, {"n": 7}])
def test_a_value_between_two_steps_is_refused(change: dict[str, Any]) -> None:
    space = Space({"x": Float(0, 1, step=0.1), "n": Integer(4, 16, step=4)})
    config = {"x": 0.1 + 0.2, "n": 8} | change
    for check in (space.validate, lambda config: space.encode([config])):
        with pytest.raises(ValueError, match=r"needs a whole number of steps of .* from"):
            check(config)


def test_an_ordinal_keeps_its_order() -> None:
    space = Space({"size": Ordinal(["s", "m", "l"])})
    rows = space.encode([{"size": size} for size in ("s", "m", "l")])
    np.testing.assert_allclose(rows[:, 0], [1 / 6, 1 / 2, 5 / 6])
    assert list(space.is_ordered) == [True]
    # The next value lies a level away.
    assert space.decode(space.shift(rows[:1], np.array([[0.01]]))) == [{"size": "m"}]
    with pytest.raises(ValueError, match=r"needs one of \['s', 'm', 'l'\], got 'xl'"):
        space.encode([{"size": "xl"}])


def test_fixed_values_are_in_every_configuration_and_have_no_dimension() -> None:
    space = Space({"metric": "auc", "x": Float(0, 1), "seed": Constant(3), "none": None})
    assert space.n_dims == 1
    assert space.columns == ("x",)
    assert space.names == ("metric", "x", "seed", "none")
    config = {"metric": "auc", "x": 0.5, "seed": 3, "none": None}
    assert space.decode([[0.5]]) == [config]
    np.testing.assert_array_equal(space.encode([config]), [[0.5]])
    space.validate(config)
    with pytest.raises(ValueError, match=r"parameter 'seed' needs one of \[3\], got 4"):
        space.validate(config | {"seed": 4})


def test_a_transform_is_applied_to_configurations_and_taken_back_by_encoding() -> None:
    for config in TRANSFORMED.decode(np.random.default_rng(0).random((100, 3))):
        assert config["batch"] in (8, 16, 32, 64, 128, 256)
        assert 1e-3 <= config["rate"] <= 1
        assert config["layers"] in ([8], [64, 32])
        TRANSFORMED.validate(config)
    X = TRANSFORMED.snap(np.random.default_rng(1).random((100, 3)))
    np.testing.assert_allclose(TRANSFORMED.encode(TRANSFORMED.decode(X)), X, atol=1e-12)
    ends = TRANSFORMED.decode([[0.0] * 3, [1.0] * 3])
    np.testing.assert_array_equal(TRANSFORMED.encode(ends)[:, 1], [0, 1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch": 512}, r"'batch' needs 3 <= value <= 8 before its transform \(9\), got 512"),
        ({"batch": "big"}, "'batch' needs a value that its inverse takes .*AttributeError"),
        ({"rate": 2.0}, r"'rate' needs -3\.0 <= value <= 0\.0 before its transform"),
        ({"rate": -1.0}, r"'rate' needs a value that its inverse takes \(ValueError"),
    ],
)
def test_a_value_that_no_transform_returns_is_refused(change: dict[str, Any], message: str) -> None:
    config = {"batch": 8, "rate": 0.1, "layers": [8]} | change
    for check in (TRANSFORMED.validate, lambda config: TRANSFORMED.encode([config])):
        with pytest.raises(ValueError, match=message):
            check(config)
