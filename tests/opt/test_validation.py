"""Validation names all problems of a configuration."""

import math
from typing import Any

import pytest

from rush_opt.space import Categorical, Space
from tests.opt.spaces import MIXED

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
def test_validation_checks_types_and_unknown_names(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MIXED.validate(GOOD | change)


def test_validation_distinguishes_true_from_one() -> None:
    space = Space({"p": Categorical([1, 2])})
    space.validate({"p": 1})
    with pytest.raises(ValueError, match=r"needs one of \[1, 2\], got True"):
        space.validate({"p": True})


def test_the_message_lists_all_problems() -> None:
    with pytest.raises(ValueError, match=r"unknown parameter 'z'; .*'rate' is missing; .*'depth'"):
        MIXED.validate(
            {"z": 1} | {name: GOOD[name] for name in GOOD if name != "rate"} | {"depth": 99}
        )


def test_encoding_names_a_missing_parameter() -> None:
    with pytest.raises(ValueError, match="parameter 'extra' is missing"):
        MIXED.encode([{name: value for name, value in GOOD.items() if name != "extra"}])
