"""A space as a whole: printed, pickled, written as JSON and compared."""

import json
import pickle
from dataclasses import dataclass
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
from tests.opt.spaces import MIXED, TRANSFORMED, exponent_of_two, power_of_two


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


def test_the_repr_of_a_parameter_is_valid_python() -> None:
    for parameter in [
        Float(0, 1, step=0.5),
        Integer(1, 9, log=True, when={"a": ["x", None]}),
        Ordinal([1, 2]),
        Categorical(["a"]),
        Boolean(when=[{"a": 1}, {"b": [2, 3]}]),
        Constant(None),
    ]:
        assert eval(repr(parameter)) == parameter


def test_a_space_survives_pickling() -> None:
    config = MIXED.decode([[0.3] * 6])[0]
    copy = pickle.loads(pickle.dumps(MIXED))
    np.testing.assert_array_equal(copy.encode([config]), MIXED.encode([config]))
    assert copy.parameters == MIXED.parameters


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


def test_spaces_are_equal_if_all_their_parts_are_equal() -> None:
    parameters = {"x": Float(0, 1), "n": Integer(1, 3)}
    assert Space(parameters) == Space(list(parameters.items()))
    assert Space(parameters) != Space(dict(reversed(parameters.items())))
    assert Space(parameters) != Space({**parameters, "n": Integer(1, 4)})
    assert Space(parameters) != parameters


def test_a_space_with_an_unhashable_constraint_has_a_hash() -> None:
    @dataclass
    class Below:
        limit: float

        def __call__(self, config: dict[str, Any]) -> bool:
            return bool(config["x"] < self.limit)

    space = Space({"x": Float(0, 1)}, constraints=[Below(0.5)])
    assert hash(space) == hash(Space({"x": Float(0, 1)}, constraints=[Below(0.5)]))
