"""What the settings of algorithms with a model must be, told before a worker finds out."""

from __future__ import annotations

from rush_opt.search.candidates import Candidates

__all__ = ["check_exploration", "check_settings"]


def check_settings(surrogate: object, candidates: object) -> None:
    """Refuse what fits no model, and what says of no acquisition function how it is searched.

    Raises
    ------
    TypeError
        If the surrogate has no ``fit``, or the candidates are something else.
    """
    _check_methods("surrogate", surrogate, "ProcessThenTrees() or ExtraTrees()", "fit")
    if not isinstance(candidates, Candidates):
        raise TypeError(
            "candidates must be an instance of Candidates, such as Candidates(n_random=500), got "
            f"{candidates!r:.80}"
        )


def check_exploration(exploration: object) -> None:
    """Refuse what yields no exploration weights; see `check_settings`."""
    _check_methods(
        "exploration",
        exploration,
        "Decaying() or Steady(1.96) of rush_opt.search.exploration",
        "weights",
    )


def _check_methods(name: str, given: object, examples: str, *methods: str) -> None:
    has_all = all(callable(getattr(given, method, None)) for method in methods)
    if isinstance(given, type) or not has_all:
        hint = f"; write {given.__name__}()" if isinstance(given, type) else ""
        raise TypeError(
            f"{name} must be {examples} or have their methods {list(methods)}, got {given!r:.80}"
            f"{hint}"
        )
