"""Checks of the settings that all algorithms with a model share."""

from __future__ import annotations

from rush_opt.search.candidates import Candidates

__all__ = ["check_exploration", "check_settings"]


def check_settings(surrogate: object, candidates: object) -> None:
    """Check that `surrogate` has ``fit`` and `candidates` is a `Candidates`.

    Raises
    ------
    TypeError
        If one of the two conditions does not hold.
    """
    _check_method("surrogate", surrogate, "ProcessThenTrees() or ExtraTrees()", "fit")
    if not isinstance(candidates, Candidates):
        raise TypeError(
            "candidates must be an instance of Candidates, such as Candidates(n_random=500), got "
            f"{candidates!r:.80}"
        )


def check_exploration(exploration: object) -> None:
    """Check that `exploration` has ``weights``; raise a TypeError if not."""
    _check_method("exploration", exploration, "Decaying() or Steady(1.96)", "weights")


def _check_method(name: str, given: object, examples: str, method: str) -> None:
    if isinstance(given, type) or not callable(getattr(given, method, None)):
        hint = f"; write {given.__name__}()" if isinstance(given, type) else ""
        raise TypeError(
            f"{name} must be {examples}, or have their method {method!r}, got {given!r:.80}{hint}"
        )
