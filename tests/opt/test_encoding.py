"""Configurations become rows of the unit cube, and rows configurations."""

import math
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from rush_opt.space import Boolean, Categorical, Float, Integer, Parameter, Space
from tests.opt.spaces import MIXED
from tests.typed import unchecked

finite = st.floats(-1e12, 1e12, allow_nan=False)


@st.composite
def parameters(draw: st.DrawFn) -> Parameter:
    kind = draw(st.sampled_from(["float", "log float", "integer", "log integer", "choice", "bool"]))
    if kind == "float":
        low, high = sorted(draw(st.lists(finite, min_size=2, max_size=2, unique=True)))
        return Float(low, high)
    if kind == "log float":
        bounds = st.lists(st.floats(1e-30, 1e30), min_size=2, max_size=2, unique=True)
        low, high = sorted(draw(bounds))
        return Float(low, high, log=True)
    if kind == "integer":
        low = draw(st.integers(-(2**40), 2**40))
        return Integer(low, low + draw(st.integers(1, 2**40 - 1)))
    if kind == "log integer":
        low = draw(st.integers(1, 2**30))
        return Integer(low, low + draw(st.integers(1, 2**40 - 1)), log=True)
    if kind == "bool":
        return Boolean()
    scalars = st.none() | st.text(max_size=3) | st.integers() | finite
    return Categorical(draw(st.lists(scalars, min_size=1, max_size=6, unique=True)))


def values_of(parameter: Parameter) -> st.SearchStrategy[Any]:
    if isinstance(parameter, Float):
        return st.floats(parameter.low, parameter.high)
    if isinstance(parameter, Integer):
        return st.integers(parameter.low, parameter.high)
    if isinstance(parameter, Categorical):
        return st.sampled_from(parameter.choices)
    return st.booleans()


@given(st.data(), parameters())
def test_decoding_what_was_encoded_gives_the_same_value(
    data: st.DataObject, parameter: Parameter
) -> None:
    space = Space({"p": parameter})
    value = data.draw(values_of(parameter))
    row = space.encode([{"p": value}])
    found = space.decode(row)[0]["p"]
    assert 0.0 <= row[0, 0] <= 1.0
    assert type(found) is type(value)
    if isinstance(parameter, Float):
        span = 1.0 if parameter.log else parameter.high - parameter.low
        assert parameter.low <= found <= parameter.high
        assert math.isclose(found, value, rel_tol=1e-12, abs_tol=1e-15 * span)
    else:
        assert found == value


@given(parameters(), st.floats(-0.5, 1.5))
def test_snapping_gives_the_row_that_the_decoded_configuration_encodes_to(
    parameter: Parameter, u: float
) -> None:
    space = Space({"p": parameter})
    snapped = space.snap(np.array([[u]]))
    encoded = space.encode(space.decode(np.clip([[u]], 0.0, 1.0)))
    if isinstance(parameter, Float):
        # A double far from zero is coarse, and so is the coordinate, the narrower the range.
        scale = np.log if parameter.log else np.asarray
        low, high = scale(parameter.low), scale(parameter.high)
        rounding = 8 * np.finfo(float).eps * max(1.0, abs(low), abs(high)) / (high - low)
        np.testing.assert_allclose(encoded, snapped, rtol=0, atol=rounding)
    else:
        np.testing.assert_array_equal(encoded, snapped)


@given(parameters(), st.floats(0.0, 1.0))
def test_snapping_twice_changes_nothing(parameter: Parameter, u: float) -> None:
    space = Space({"p": parameter})
    once = space.snap(np.array([[u]]))
    np.testing.assert_array_equal(space.snap(once), once)


def test_integers_cover_bins_of_equal_width() -> None:
    space = Space({"n": Integer(3, 6)})
    edges = np.arange(5) / 4
    inside = np.concatenate([edges[:-1] + 1e-9, edges[1:] - 1e-9])
    assert [c["n"] for c in space.decode(inside[:, None])] == [3, 4, 5, 6, 3, 4, 5, 6]
    np.testing.assert_allclose(
        space.encode([{"n": n} for n in range(3, 7)])[:, 0], [1 / 8, 3 / 8, 5 / 8, 7 / 8]
    )


def test_logarithmic_integers_cover_bins_of_equal_width_in_the_logarithm() -> None:
    space = Space({"n": Integer(1, 8, log=True)})
    span = math.log(8.5 / 0.5)
    for n in range(1, 9):
        low, high = (math.log((n + side) / 0.5) / span for side in (-0.5, 0.5))
        found = space.decode([[low + 1e-9], [high - 1e-9]])
        assert [c["n"] for c in found] == [n, n]


def test_columns_follow_the_order_of_the_names() -> None:
    config = {
        "extra": True,
        "booster": None,
        "depth": 12,
        "leaves": 1,
        "share": 3.0,
        "rate": math.sqrt(1e-3),
    }
    row = MIXED.encode([config])[0]
    first_leaf = math.log(1 / 0.5) / math.log(200.5 / 0.5)
    np.testing.assert_allclose(row, [0.5, 1.0, first_leaf, 15.5 / 16, 2.5 / 4, 0.75])
    assert MIXED.names == ("rate", "share", "leaves", "depth", "booster", "extra")
    assert MIXED.n_dims == 6
    assert list(MIXED.n_levels) == [0, 0, 200, 16, 4, 2]
    assert list(MIXED.is_ordered) == [True, True, True, True, False, False]


def test_decoding_gives_plain_values_and_one_dict_per_row() -> None:
    configs = MIXED.decode(np.random.default_rng(1).random((50, 6)))
    assert len(configs) == 50
    for config in configs:
        MIXED.validate(config)
        assert tuple(config) == MIXED.names
        assert type(config["rate"]) is type(config["share"]) is float
        assert type(config["leaves"]) is type(config["depth"]) is int
        assert type(config["extra"]) is bool


def test_encoding_nothing_gives_no_rows() -> None:
    assert MIXED.encode([]).shape == (0, 6)
    assert MIXED.decode(np.empty((0, 6))) == []


def test_the_ends_of_the_cube_decode_to_the_bounds() -> None:
    low, high = MIXED.decode([[0.0] * 6, [1.0] * 6])
    assert list(low.values()) == [1e-3, -2.0, 1, -3, "gbdt", False]
    assert list(high.values()) == [1.0, 3.0, 200, 12, 3, True]


def test_a_shifted_integer_moves_at_least_one_level_and_stays_inside() -> None:
    space = Space({"n": Integer(1, 5), "m": Integer(1, 100, log=True), "x": Float(0, 1)})
    start = space.encode([{"n": 3, "m": 50, "x": 0.5}] * 3)
    steps = np.array([[1e-6, -1e-6, 1e-6], [0.0, 0.0, 0.0], [-9.0, 9.0, 9.0]])
    assert [list(c.values()) for c in space.decode(space.shift(start, steps))] == [
        [4, 49, 0.5 + 1e-6],
        [3, 50, 0.5],
        [1, 100, 1.0],
    ]


@settings(max_examples=50)
@given(st.integers(1, 300), st.floats(-1.0, 1.0).filter(lambda step: step != 0.0))
def test_every_level_of_a_logarithmic_integer_can_be_left(n: int, step: float) -> None:
    space = Space({"m": Integer(1, 300, log=True)})
    end = space.shift(space.encode([{"m": n}]), np.array([[step]]))
    found = space.decode(end)[0]["m"]
    at_border = n == (300 if step > 0 else 1)
    assert found == n if at_border else (found - n) * step > 0
    np.testing.assert_array_equal(space.encode([{"m": found}]), end)


def test_numpy_scalars_are_accepted_as_values_and_bounds() -> None:
    space = Space(
        {
            "x": Float(np.float64(0), unchecked(np.float32(2))),
            "n": Integer(unchecked(np.int64(1)), 4),
        }
    )
    space.validate({"x": np.float32(1.5), "n": np.int32(4)})
    np.testing.assert_allclose(
        space.encode([{"x": np.float32(1.5), "n": np.int32(4)}]), [[0.75, 0.875]]
    )
    assert type(space.decode([[0.0, 0.0]])[0]["n"]) is int
    assert [type(choice) for choice in Categorical(unchecked(np.array([1, 2]))).choices] == [
        int,
        int,
    ]
