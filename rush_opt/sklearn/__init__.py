"""`RushSearchCV`: `tune()` as a search estimator of scikit-learn.

Nothing in this package imports this room. It calls `tune()`.
"""

from rush_opt.sklearn.search import RushSearchCV

__all__ = ["RushSearchCV"]
