"""Parameters, conditions and constraints; configurations and the unit cube.

A new kind of parameter is a class beside the others and its line in `json.KINDS`.
"""

from rush_opt.arrays import BoolArray, FloatArray
from rush_opt.space.active import INACTIVE
from rush_opt.space.choice import Boolean, Categorical, Constant, Ordinal
from rush_opt.space.condition import Condition
from rush_opt.space.constraint import Config, Constraint
from rush_opt.space.numeric import Float, Integer
from rush_opt.space.parameter import Parameter
from rush_opt.space.search_space import MOST_DRAWS, Space
from rush_opt.space.transformed import Transformed

__all__ = [
    "INACTIVE",
    "MOST_DRAWS",
    "BoolArray",
    "Boolean",
    "Categorical",
    "Condition",
    "Config",
    "Constant",
    "Constraint",
    "Float",
    "FloatArray",
    "Integer",
    "Ordinal",
    "Parameter",
    "Space",
    "Transformed",
]
