"""Hyperparameter search in the manner of scikit-learn.

Stands above `tune`, which it calls.
"""

from rush_opt.sklearn.search import RushSearchCV

__all__ = ["RushSearchCV"]
