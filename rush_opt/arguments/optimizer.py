"""The argument `optimizer`: a name, or settings that follow the optimizer interface."""

from __future__ import annotations

from typing import Any, cast, get_args

from rush_opt.optimizers import OPTIMIZERS, Optimizer
from rush_opt.optimizers.base import Place, Placement, ProposingOptimizer
from rush_opt.problem.problem import Problem

__all__ = ["check_proposer", "choose_optimizer"]

_METHODS: dict[Placement, tuple[str, ...]] = {
    "each worker": ("n_initial", "proposer"),
    "independent": ("n_initial", "proposer"),
    "one process": ("n_initial", "n_next", "proposer"),
    "listed": ("points",),
}
_INTERFACE = "rush_opt.optimizers.base describes the interface of an optimizer of your own"


def choose_optimizer(optimizer: str | Optimizer) -> Optimizer:
    """Return the optimizer of a name; return settings unchanged.

    Raises
    ------
    TypeError
        If settings do not follow the interface.
    ValueError
        If there is no optimizer of this name.
    """
    if isinstance(optimizer, str):
        if optimizer not in OPTIMIZERS:
            raise ValueError(f"optimizer must be one of {sorted(OPTIMIZERS)}, got {optimizer!r}")
        return OPTIMIZERS[optimizer]()
    placement: Any = getattr(optimizer, "placement", None)
    if isinstance(optimizer, type) or placement not in get_args(Placement):
        hint = f"; write {optimizer.__name__}()" if isinstance(optimizer, type) else ""
        raise TypeError(
            f"optimizer must be one of {sorted(OPTIMIZERS)}, an instance such as ADBO(), or one of "
            f"your own whose placement is one of {list(get_args(Placement))}, got "
            f"{optimizer!r:.80}{hint}; {_INTERFACE}"
        )
    needed = _METHODS[placement]
    missing = [name for name in needed if not callable(getattr(optimizer, name, None))]
    if missing:
        raise TypeError(
            f"an optimizer with the placement {placement!r} needs the methods {list(needed)}, but "
            f"{optimizer!r:.80} lacks {missing}; {_INTERFACE}"
        )
    return optimizer


def check_proposer(optimizer: Optimizer, problem: Problem, n_workers: int) -> None:
    """Make a proposer, so that an optimizer can refuse the problem before a worker starts.

    Raises
    ------
    TypeError
        If the proposer has no method ``propose``.
    """
    if optimizer.placement == "listed":
        return
    make_proposer = cast(ProposingOptimizer, optimizer).proposer
    proposer = make_proposer(problem, Place(0, 0, n_workers))
    if not callable(getattr(proposer, "propose", None)):
        raise TypeError(
            "the proposer of an optimizer needs a method 'propose', got "
            f"{proposer!r:.80}; {_INTERFACE}"
        )
