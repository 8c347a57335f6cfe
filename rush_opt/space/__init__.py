"""Parameters, conditions and constraints; configurations and their rows in the unit cube.

A new kind of parameter is a subclass of `Parameter` and an entry in `json.KINDS`.
Imports only the types of arrays.
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
