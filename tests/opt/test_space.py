import json
import math
import pickle
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rush_opt.space import (
    Boolean,
    Categorical,
    Constant,
    Float,
    Integer,
    Ordinal,
    Parameter,
    Space,
    Transformed,
)

MIXED = Space(
    {
        "rate": Float(1e-3, 1.0, log=True),
        "share": Float(-2.0, 3.0),
        "leaves": Integer(1, 200, log=True),
        "depth": Integer(-3, 12),
        "booster": Categorical(["gbdt", "dart", None, 3]),
        "extra": Boolean(),
    }
)

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


def test_a_space_survives_pickling() -> None:
    config = MIXED.decode([[0.3] * 6])[0]
    copy = pickle.loads(pickle.dumps(MIXED))
    np.testing.assert_array_equal(copy.encode([config]), MIXED.encode([config]))
    assert copy.parameters == MIXED.parameters


def test_numpy_scalars_are_accepted_as_values_and_bounds() -> None:
    space = Space({"x": Float(np.float64(0), np.float32(2)), "n": Integer(np.int64(1), 4)})
    space.validate({"x": np.float32(1.5), "n": np.int32(4)})
    np.testing.assert_allclose(
        space.encode([{"x": np.float32(1.5), "n": np.int32(4)}]), [[0.75, 0.875]]
    )
    assert type(space.decode([[0.0, 0.0]])[0]["n"]) is int
    assert [type(choice) for choice in Categorical(np.array([1, 2])).choices] == [int, int]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Float(1, 1), ValueError, "Float needs low < high, got 1.0 >= 1.0"),
        (lambda: Float(2, 1), ValueError, "low < high"),
        (lambda: Float(0, math.inf), ValueError, "finite"),
        (lambda: Float(math.nan, 1), ValueError, "finite"),
        (lambda: Float(-1e308, 1e308), ValueError, "finite range"),
        (lambda: Float(0, 1, log=True), ValueError, "log=True needs low > 0, got 0.0"),
        (lambda: Float("0", 1), TypeError, "a number as low, got '0'"),
        (lambda: Float(0, True), TypeError, "a number as high, got True"),
        (lambda: Integer(0, 0), ValueError, "Integer needs low < high"),
        (lambda: Integer(0, 4, log=True), ValueError, "low >= 1, got 0"),
        (lambda: Integer(0.5, 4), TypeError, "a whole number as low, got 0.5"),
        (lambda: Integer(False, 4), TypeError, "a whole number as low, got False"),
        (lambda: Integer(0, 2**40), ValueError, "at most 2..40 values"),
        (lambda: Integer(2**53, 2**53 + 1), ValueError, "within"),
        (lambda: Float(0, 1, step="0.1"), TypeError, "a number as step"),
        (lambda: Float(0, 1, step=0), ValueError, "a step > 0"),
        (lambda: Float(1, 2, step=0.5, log=True), ValueError, "no log beside it"),
        (lambda: Float(0, 1, step=0.3), ValueError, r"3\.33333 steps of 0\.3 .*make high 0\.9"),
        (lambda: Float(0, 1, step=2), ValueError, r"make high 2\.0"),
        (lambda: Float(0, 1, step=1e-15), ValueError, "fewer than 2..40 steps"),
        (lambda: Float(1e15, 1e15 + 1, step=0.25), ValueError, r"got 0\.25 where .* 0\.125 apart"),
        (lambda: Integer(0, 9, step=0), ValueError, "a step >= 1"),
        (lambda: Integer(0, 9, step=2.0), TypeError, "a whole number as step, got 2.0"),
        (lambda: Integer(1, 9, step=2, log=True), ValueError, "no log beside a step"),
        (lambda: Integer(0, 9, step=2), ValueError, "steps of 2 from 0 to 9; make high 8"),
        (lambda: Ordinal(["a"]), ValueError, "at least two values"),
        (lambda: Ordinal("ab"), TypeError, "a sequence of choices, got 'ab'"),
        (lambda: Ordinal(["a", "b", "a"]), ValueError, "no two are equal"),
        (lambda: Constant([1]), TypeError, r"str, int, float, bool or None as choices, got \[1\]"),
        (lambda: Constant(math.nan), ValueError, "NaN"),
        (lambda: Space({"x": 3}), ValueError, "a parameter to search, got only fixed ones"),
        (lambda: Transformed(3, float, inverse=float), TypeError, "a parameter to search, got 3"),
        (lambda: Transformed(Boolean(), 3, inverse=bool), TypeError, "functions as transform"),
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
        (lambda: Categorical({"a", "b"}), TypeError, "a sequence of choices"),
        (lambda: Categorical(3), TypeError, "a sequence of choices, got 3"),
        (lambda: Categorical([1, True]), ValueError, "no two are equal"),
        (lambda: Categorical([[1], [2]]), TypeError, r"got \[1\]"),
        (lambda: Categorical([math.nan]), ValueError, "NaN"),
        (lambda: Space({}), ValueError, "at least one parameter"),
        (lambda: Space({1: Boolean()}), TypeError, "a string, got 1"),
        (lambda: Space({"x": [3]}), TypeError, "parameter 'x' needs to be a Float"),
        (lambda: Space({"x": Float}), TypeError, "parameter 'x' needs to be a Float"),
        (
            lambda: Space([("x", Boolean()), ("x", Float(0, 1))]),
            ValueError,
            r"different names, got \['x'\] twice",
        ),
    ],
)
def test_what_makes_no_space_is_refused_with_a_reason(
    make: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        make()


GOOD = {"rate": 0.1, "share": 0, "leaves": 7, "depth": 0, "booster": "dart", "extra": False}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rate": 2.0}, "parameter 'rate' needs 0.001 <= value <= 1.0, got 2.0"),
        ({"rate": 0.0}, "parameter 'rate' needs 0.001 <= value"),
        ({"rate": -1.0}, "parameter 'rate' needs 0.001 <= value"),
        ({"share": math.nan}, "parameter 'share' needs -2.0 <= value <= 3.0, got nan"),
        ({"share": "much"}, "parameter 'share' needs a number, got 'much'"),
        ({"share": None}, "parameter 'share' needs a number, got None"),
        ({"depth": 13}, "parameter 'depth' needs -3 <= value <= 12, got 13"),
        ({"leaves": 0}, "parameter 'leaves' needs 1 <= value <= 200, got 0"),
        ({"booster": "rf"}, r"parameter 'booster' needs one of \['gbdt', 'dart', None, 3\]"),
        ({"booster": ["gbdt"]}, "parameter 'booster' needs one of"),
    ],
)
def test_a_value_out_of_range_is_named_by_validation_and_by_encoding(
    change: dict[str, Any], message: str
) -> None:
    MIXED.validate(GOOD)
    with pytest.raises(ValueError, match=message):
        MIXED.validate(GOOD | change)
    with pytest.raises(ValueError, match=message):
        MIXED.encode([GOOD, GOOD | change])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rate": True}, "'rate' needs a number, got True"),
        ({"depth": 2.5}, "'depth' needs a whole number, got 2.5"),
        ({"extra": 1}, "'extra' needs True or False, got 1"),
        ({"booster": 3.5}, "'booster' needs one of"),
        ({"width": 1}, "unknown parameter 'width'"),
    ],
)
def test_validation_looks_at_types_and_unknown_names(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MIXED.validate(GOOD | change)


def test_validation_tells_true_from_one_among_choices() -> None:
    space = Space({"p": Categorical([1, 2])})
    space.validate({"p": 1})
    with pytest.raises(ValueError, match=r"needs one of \[1, 2\], got True"):
        space.validate({"p": True})


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(ValueError, match=r"unknown parameter 'z'; .*'rate' is missing; .*'depth'"):
        MIXED.validate(
            {"z": 1} | {name: GOOD[name] for name in GOOD if name != "rate"} | {"depth": 99}
        )


def test_a_missing_parameter_is_named_by_encoding() -> None:
    with pytest.raises(ValueError, match="parameter 'extra' is missing"):
        MIXED.encode([{name: value for name, value in GOOD.items() if name != "extra"}])


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
def test_a_value_beside_the_steps_is_refused(change: dict[str, Any]) -> None:
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


def test_fixed_values_are_in_every_configuration_and_no_dimension() -> None:
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


def power_of_two(k: int) -> int:
    return 2**k


def exponent_of_two(n: int) -> int:
    return n.bit_length() - 1


TRANSFORMED = Space(
    {
        "batch": Transformed(Integer(3, 8), power_of_two, inverse=exponent_of_two),
        "rate": Transformed(Float(-3, 0), lambda x: 10**x, inverse=math.log10),
        "layers": Transformed(
            Categorical(["small", "large"]),
            {"small": [8], "large": [64, 32]}.__getitem__,
            inverse=lambda layers: {1: "small", 2: "large"}[len(layers)],
        ),
    }
)


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
def test_a_value_that_no_transform_makes_is_refused(change: dict[str, Any], message: str) -> None:
    config = {"batch": 8, "rate": 0.1, "layers": [8]} | change
    for check in (TRANSFORMED.validate, lambda config: TRANSFORMED.encode([config])):
        with pytest.raises(ValueError, match=message):
            check(config)


def test_a_space_prints_itself_as_a_table() -> None:
    space = Space(
        {
            "booster": Categorical(["gbdt", "dart"]),
            "drop": Float(1e-4, 1, log=True, when={"booster": "dart"}),
            "depth": Integer(2, 12, step=2),
            "batch": Transformed(Integer(3, 8), power_of_two, inverse=exponent_of_two),
            "metric": "auc",
        }
    )
    assert str(space).splitlines() == [
        "parameter  kind         values                          active when",
        "---------  -----------  ------------------------------  ----------------",
        "booster    Categorical  'gbdt', 'dart'",
        "drop       Float        0.0001 to 1, log                booster = 'dart'",
        "depth      Integer      2 to 12, step 2",
        "batch      Transformed  power_of_two of Integer 3 to 8",
        "metric     Constant     'auc'",
    ]
    assert str(Space({"b": Boolean()})).splitlines() == [
        "parameter  kind     values",
        "---------  -------  -----------",
        "b          Boolean  False, True",
    ]


def test_what_a_parameter_shows_can_be_written_in_a_program() -> None:
    for parameter in [
        Float(0, 1, step=0.5),
        Integer(1, 9, log=True, when={"a": ["x", None]}),
        Ordinal([1, 2]),
        Categorical(["a"]),
        Boolean(when=[{"a": 1}, {"b": [2, 3]}]),
        Constant(None),
    ]:
        assert eval(repr(parameter)) == parameter


def test_a_space_survives_json() -> None:
    space = Space(
        {
            "booster": Categorical(["gbdt", "dart", None, 1.5]),
            "drop": Float(1e-4, 1, log=True, when={"booster": "dart"}),
            "share": Float(0, 1, step=0.1, when=[{"booster": "gbdt"}, {"extra": True}]),
            "depth": Integer(2, 12, step=2),
            "size": Ordinal(["s", "m"]),
            "extra": Boolean(),
            "metric": "auc",
        }
    )
    text = space.to_json(indent=2)
    copy = Space.from_json(text)
    assert copy == space
    assert hash(copy) == hash(space)
    assert json.loads(text)["parameters"]["drop"] == {
        "kind": "Float",
        "low": 1e-4,
        "high": 1.0,
        "log": True,
        "when": [{"booster": ["dart"]}],
    }
    with pytest.raises(ValueError, match="'batch' cannot be written as JSON, which holds no code"):
        TRANSFORMED.to_json()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("3", "an object with an object 'parameters'"),
        ('{"parameters": {}, "more": 1}', "nothing else"),
        ('{"parameters": {}}', "at least one parameter"),
        ('{"parameters": {"x": 3}}', "'x' needs a kind of"),
        ('{"parameters": {"x": {"kind": "Normal"}}}', r"'x' needs a kind of \['Boolean'"),
        ('{"parameters": {"x": {"kind": "Boolean", "p": 1}}}', r"'x', a Boolean, has no settings"),
        ('{"parameters": {"x": {"kind": "Float", "low": 1}}}', "'x': .*missing .*'high'"),
        ('{"parameters": {"x": {"kind": "Float", "low": 1, "high": 0}}}', "low < high"),
    ],
)
def test_json_that_describes_no_space_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Space.from_json(text)


def test_spaces_are_equal_if_all_that_they_are_made_of_is() -> None:
    parameters = {"x": Float(0, 1), "n": Integer(1, 3)}
    assert Space(parameters) == Space(list(parameters.items()))
    assert Space(parameters) != Space(dict(reversed(parameters.items())))
    assert Space(parameters) != Space({**parameters, "n": Integer(1, 4)})
    assert Space(parameters) != parameters


def test_a_constraint_without_a_hash_does_not_keep_a_space_from_having_one() -> None:
    @dataclass
    class Below:
        limit: float

        def __call__(self, config: dict[str, Any]) -> bool:
            return config["x"] < self.limit

    space = Space({"x": Float(0, 1)}, constraints=[Below(0.5)])
    assert hash(space) == hash(Space({"x": Float(0, 1)}, constraints=[Below(0.5)]))
