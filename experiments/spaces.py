"""Search spaces that several experiments share."""

from rush_opt import Boolean, Float, Integer
from rush_opt.space import Parameter

# The LightGBM space of Becker & Bischl (2026), arXiv 2606.21430.
LIGHTGBM: dict[str, Parameter] = {
    "learning_rate": Float(1e-3, 1.0, log=True),
    "feature_fraction": Float(0.1, 1.0),
    "min_data_in_leaf": Integer(1, 200),
    "num_leaves": Integer(10, 255),
    "extra_trees": Boolean(),
    "lambda_l1": Float(1e-3, 1e3, log=True),
    "lambda_l2": Float(1e-3, 1e3, log=True),
    "min_gain_to_split": Float(1e-3, 0.1, log=True),
}
