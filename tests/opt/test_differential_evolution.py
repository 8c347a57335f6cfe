"""Differential evolution: its proposals, and how far it comes in simulated runs."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rush_core import TaskTable
from rush_opt import Boolean, Float, Integer, Space
from rush_opt.optimizers import DifferentialEvolution
from rush_opt.optimizers.base import Place
from rush_opt.optimizers.differential_evolution import _reflected
from rush_opt.problem.problem import Problem
from rush_opt.search.archive import Archive
from rush_opt.search.pending import Pending
from tests.opt import smooth
from tests.opt.inspecting import configs_of
from tests.opt.plans import LOSS, untimed
from tests.opt.smooth import run
from tests.opt.spaces import MIXED

CONDITIONAL = Space(
    {"on": Boolean(), "x": Float(0, 1, when={"on": True}), "y": Float(0, 1)},
    constraints=[lambda config: not config["on"] or config["x"] <= config["y"]],
)


@pytest.mark.parametrize("space", [MIXED, CONDITIONAL], ids=["mixed", "conditional"])
def test_every_proposal_is_new_and_one_of_the_space(space: Space) -> None:
    result = run("de", objective=lambda config: len(repr(config)), space=space, n_trials=80)
    assert sum("n_known" in trial.notes for trial in result.frozen_trials) == 60
    for config in configs_of(result):
        space.validate(config)
    assert len({repr(config) for config in configs_of(result)}) == 80


def test_a_seed_decides_all_proposals() -> None:
    first, again, other = (configs_of(run("de", seed=seed)) for seed in (5, 5, 6))
    assert first == again
    assert first[20:] != other[20:]


def archive_of(space: Space, configs: list[dict[str, Any]], losses: list[float]) -> Archive:
    archive = Archive(space, LOSS)
    finite = [(c, loss) for c, loss in zip(configs, losses, strict=True) if math.isfinite(loss)]
    failed = [c for c, loss in zip(configs, losses, strict=True) if not math.isfinite(loss)]
    tables = [c for c, _ in finite], [{"loss": loss} for _, loss in finite]
    archive.add(TaskTable.from_results(*tables))
    archive.add_failed(TaskTable.from_results(failed, [{}] * len(failed)))
    return archive


@pytest.mark.parametrize("n_finished", [0, 3, 12])
def test_any_number_of_parents_leads_to_a_proposal(n_finished: int) -> None:
    space = Space({"x": Float(0, 1), "n": Integer(1, 9)})
    configs = [{"x": i / 20, "n": 1 + i % 9} for i in range(20)]
    losses = [float(i) if i < n_finished else math.inf for i in range(20)]
    archive = archive_of(space, configs, losses)
    settings = DifferentialEvolution(population=8)
    proposer = settings.proposer(Problem(space, LOSS, 1), Place(0, 0, 1))
    for _ in range(10):
        (proposal,) = proposer.propose(archive, Pending(space), untimed, 1)
        space.validate(proposal.config)
        assert proposal.config not in configs
        assert proposal.notes["n_known"] == 20


def test_parents_are_the_best_results() -> None:
    """The best have x = 0.25, so their combinations have it, too."""
    space = Space({"x": Float(0, 1), "y": Float(0, 1)})
    best = [{"x": 0.25, "y": y} for y in (0.1, 0.4, 0.6, 0.9)]
    others = [{"x": 0.75, "y": y} for y in (0.2, 0.3, 0.5, 0.7)]
    archive = archive_of(space, others + best, [1.0, 2.0, 3.0, 4.0, 0.1, 0.2, 0.3, 0.4])
    settings = DifferentialEvolution(population=4)
    proposer = settings.proposer(Problem(space, LOSS, 1), Place(0, 0, 1))
    proposed = [proposer.propose(archive, Pending(space), untimed, 1)[0].config for _ in range(20)]
    assert {config["x"] for config in proposed} == {0.25}
    assert len({config["y"] for config in proposed}) > 10


@given(st.floats(-5, 5))
def test_coordinates_are_reflected_at_the_bounds(x: float) -> None:
    (reflected,) = _reflected(np.array([x]))
    assert 0.0 <= reflected <= 1.0
    if 0.0 <= x <= 1.0:
        assert reflected == pytest.approx(x)
    (beyond,) = _reflected(np.array([-x]))
    assert beyond == pytest.approx(reflected)


@pytest.mark.parametrize(
    ("function", "share"), [(smooth.wide_bowl, 0.05), (smooth.rosenbrock, 0.5)]
)
def test_it_gets_closer_to_the_optimum_than_random_search(function: Any, share: float) -> None:
    """For each of ten seeds; runs repeat exactly, so there is no false alarm."""
    for seed in range(10):
        given = {"objective": function, "space": smooth.SPACE, "n_trials": 300, "seed": seed}
        best = run("de", **given).best_value
        assert best < share * run("random", **given).best_value


def test_the_design_has_the_size_of_the_population() -> None:
    result = run(DifferentialEvolution(population=7))
    assert sum("n_known" not in trial.notes for trial in result.frozen_trials) == 7


@pytest.mark.parametrize(
    "settings",
    [
        {"population": 3},
        {"scale": 0.0},
        {"crossover": -0.1},
        {"crossover": 1.1},
        {"scale": math.nan},
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="need population >= 4, scale > 0 and crossover from 0 to"):
        DifferentialEvolution(**settings)
