"""Spaces that have parameters of every kind."""

import math

from rush_opt import Boolean, Categorical, Float, Integer, Space, Transformed

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


def power_of_two(k: int) -> int:
    return int(2**k)


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
