"""Spaces of other packages, turned into ours: ConfigSpace and Optuna.

A module imports its package only when it is called. If such a space has something that ours cannot
describe, the space is refused. These are priors, weights, and conditions on continuous parameters.
"""

from rush_opt.space.foreign.configspace import from_configspace
from rush_opt.space.foreign.optuna import from_optuna

__all__ = ["from_configspace", "from_optuna"]
