"""The scores that a search computes, and the one that it optimizes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sklearn.metrics import check_scoring

__all__ = ["choose_scorers"]


def choose_scorers(estimator: Any, scoring: Any, refit: Any) -> tuple[Any, str | None]:
    """Return the scorers for `cross_validate`, and the name of the score to optimize.

    Parameters
    ----------
    estimator : estimator
    scoring, refit
        As for `RushSearchCV`.

    Returns
    -------
    scorers : callable or dict of str to callable
    metric : str or None
        Such as ``test_score``. None for the first score: how many scores a function returns is
        known only after a call.

    Raises
    ------
    ValueError
        If there are several scores, and `refit` is neither the name of one, nor False, nor a
        function.
    """
    if scoring is None or isinstance(scoring, str):
        return check_scoring(estimator, scoring), "test_score"
    metric = None if not refit or callable(refit) else "test_score"
    if isinstance(refit, str):
        metric = f"test_{refit}"
    if callable(scoring):
        return scoring, metric
    pairs = scoring if isinstance(scoring, Mapping) else {name: name for name in scoring}
    scorers = {name: check_scoring(estimator, scorer) for name, scorer in pairs.items()}
    if metric is not None and refit not in scorers:
        raise ValueError(
            "with several scores, refit must be the name of the one to optimize, one of "
            f"{list(scorers)}, or False, or a function, got refit={refit!r}"
        )
    return scorers, metric
