import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from rush_core import TaskTable
from rush_opt.models.forest import ExtraTrees
from rush_opt.problem.goal import Goal
from rush_opt.search.archive import Archive
from rush_opt.search.candidates import Candidates, propose
from rush_opt.search.design import LatinHypercube, random_design, sobol_design
from rush_opt.search.grid import grid_design
from rush_opt.space import Boolean, Categorical, Float, Integer, Space
from tests.typed import unchecked


def in_order(config: dict[str, Any]) -> bool:
    return bool(config["low"] < config["high"])


Draw = Callable[[Space, int, np.random.Generator], np.ndarray]


def hypercube(space: Space, n: int, rng: np.random.Generator) -> np.ndarray:
    return LatinHypercube(n).draw(space, rng)


PARAMETERS = {"low": Float(0, 1), "high": Float(0, 1), "n": Integer(1, 4)}
SPACE = Space(PARAMETERS, constraints=[in_order])
DRAWN = [random_design, hypercube, sobol_design]


@pytest.mark.parametrize("design", DRAWN)
@pytest.mark.parametrize("n", [0, 1, 7, 200])
def test_designs_have_the_given_number_of_points_and_all_are_allowed(design: Draw, n: int) -> None:
    X = design(SPACE, n, np.random.default_rng(0))
    assert X.shape == (n, 3)
    assert SPACE.allowed(X).all()
    np.testing.assert_array_equal(X, design(SPACE, n, np.random.default_rng(0)))
    for config in SPACE.decode(X):
        SPACE.validate(config)


@pytest.mark.parametrize("design", DRAWN)
def test_constraints_that_allow_everything_do_not_change_designs(design: Draw) -> None:
    # A design of 16 or more: fewer are drawn 16 at once.
    without = design(Space(PARAMETERS), 32, np.random.default_rng(1))
    within = design(
        Space(PARAMETERS, constraints=[lambda config: True]), 32, np.random.default_rng(1)
    )
    np.testing.assert_array_equal(without, within)


def test_a_sobol_design_is_the_allowed_part_of_the_sequence() -> None:
    every = sobol_design(Space(PARAMETERS), 64, np.random.default_rng(2))
    allowed = every[SPACE.allowed(every)]
    found = sobol_design(SPACE, len(allowed), np.random.default_rng(2))
    np.testing.assert_array_equal(found, allowed)


def test_a_grid_has_the_points_that_are_allowed() -> None:
    X = grid_design(SPACE, 3)
    assert len(X) == 3 * 3
    assert SPACE.allowed(X).all()
    with pytest.raises(ValueError, match="no point of the grid satisfies the constraints"):
        grid_design(SPACE, {"low": 1, "high": 1, "n": 4})


def test_proposals_are_allowed_even_if_the_model_prefers_forbidden_points() -> None:
    rng = np.random.default_rng(0)
    archive = Archive(SPACE, [Goal("y")])
    configs = SPACE.decode(random_design(SPACE, 20, rng))
    for _ in range(15):
        # The less high and the more low the better: what is best is forbidden.
        values = [{"y": c["high"] - c["low"]} for c in configs]
        archive.add(TaskTable.from_results(configs, values))
        row = propose(archive, ExtraTrees().fit(archive.X, archive.y, rng), 0.5, rng)
        assert SPACE.allowed(row[None])[0]
        assert row not in archive
        configs = SPACE.decode(row[None])


def test_a_proposal_is_found_where_no_candidate_is_allowed() -> None:
    # One random point in 2,000 is allowed: most proposals see none among their candidates.
    space = Space(
        {"x": Float(0, 1), "y": Float(0, 1)}, constraints=[lambda c: c["x"] * c["y"] > 0.968]
    )
    rng = np.random.default_rng(3)
    archive = Archive(space, [Goal("y")])
    archive.add(TaskTable.from_results([{"x": 0.1, "y": 0.2}] * 5, [{"y": 1.0}] * 5))
    for _ in range(5):
        row = propose(archive, ExtraTrees().fit(archive.X, archive.y, rng), 0.5, rng)
        assert space.allowed(row[None])[0]


def test_drawn_choices_that_are_forbidden_do_not_make_a_proposal_random() -> None:
    space = Space(
        {"c": Categorical(["p", "q"]), "x": Float(0, 1)}, constraints=[lambda c: c["c"] == "p"]
    )
    archive = Archive(space, [Goal("y")])
    configs = space.decode(random_design(space, 200, np.random.default_rng(0)))
    values = [{"y": (config["x"] - 0.3) ** 2} for config in configs]
    archive.add(TaskTable.from_results(configs, values))
    for seed in range(20):
        rng = np.random.default_rng(seed)
        model = ExtraTrees().fit(archive.X, archive.y, rng)
        row = propose(archive, model, 0.0, rng, candidates=Candidates(p_choices=1.0))
        assert space.allowed(row[None])[0]
        assert row not in archive
        # Every other time what is forbidden is drawn; a random point is this near one time in five.
        assert abs(space.decode(row[None])[0]["x"] - 0.3) < 0.1


@pytest.mark.parametrize("design", DRAWN)
def test_an_accepted_space_yields_any_number_of_points(design: Draw) -> None:
    # One point in 4,000 is allowed: of the gaps between them one in twelve is above 10,000.
    space = Space({"x": Float(0, 1)}, constraints=[lambda c: c["x"] < 1 / 4_000])
    rng = np.random.default_rng(0)
    found = np.concatenate([design(space, 1, rng) for _ in range(30)])
    assert found.shape == (30, 1)
    assert space.allowed(found).all()


def test_drawing_ends_if_almost_nothing_is_allowed() -> None:
    calls = []

    def never_after_the_first(config: dict[str, Any]) -> bool:
        calls.append(config)
        return len(calls) == 1

    space = Space({"x": Float(0, 1)}, constraints=[never_after_the_first])
    for design in DRAWN:
        calls[1:] = []
        with pytest.raises(ValueError, match=r"2\d\d,\d\d\d points in a row break them"):
            design(space, 5, np.random.default_rng(0))
        assert len(calls) < 300_000


def test_a_space_refuses_constraints_that_allow_nothing() -> None:
    with pytest.raises(ValueError, match="none of 10,000 random configurations satisfies"):
        Space(PARAMETERS, constraints=[in_order, lambda c: c["low"] > c["high"]])


def test_a_constraint_on_an_inactive_parameter_does_not_apply() -> None:
    space = Space(
        {"a": Boolean(), "x": Float(0, 1, when={"a": True}), "y": Float(0, 1)},
        constraints=[lambda c: c["x"] < c["y"]],
    )
    assert space.satisfies({"a": False, "y": 0.5})
    assert space.satisfies({"a": True, "x": 0.1, "y": 0.5})
    assert not space.satisfies({"a": True, "x": 0.6, "y": 0.5})
    X = random_design(space, 50, np.random.default_rng(0))
    assert {config["a"] for config in space.decode(X)} == {False, True}


def test_an_error_in_a_constraint_is_reported() -> None:
    with pytest.raises(ValueError, match="KeyError: 'hihg'; the space has the parameters"):
        Space(PARAMETERS, constraints=[lambda c: c["low"] < c["hihg"]])
    with pytest.raises(TypeError, match=r"return True or False, got None from .*<lambda>"):
        Space(PARAMETERS, constraints=[unchecked(lambda c: None)])
    with pytest.raises(TypeError, match=r"sequence of functions.*put a single one into a list"):
        Space(PARAMETERS, constraints=in_order)  # type: ignore[arg-type]


def test_a_constraint_cannot_change_the_configuration() -> None:
    def greedy(config: dict[str, Any]) -> bool:
        config.clear()
        return True

    config = {"low": 0.1, "high": 0.2, "n": 1}
    Space(PARAMETERS, constraints=[greedy]).validate(config)
    assert config == {"low": 0.1, "high": 0.2, "n": 1}


def test_validation_names_the_broken_constraint() -> None:
    good = {"low": 0.1, "high": 0.2, "n": 1}
    SPACE.validate(good)
    with pytest.raises(ValueError, match="constraint in_order is broken"):
        SPACE.validate(good | {"low": 0.3})
    with pytest.raises(ValueError, match="unknown parameter 'z'"):
        SPACE.validate(good | {"z": 1})


def test_constraints_are_part_of_a_space() -> None:
    assert pickle.loads(pickle.dumps(SPACE)) == SPACE
    assert Space(PARAMETERS) != SPACE
    assert str(SPACE).splitlines()[-1] == "constraint: in_order"
    assert "constraints=[<function in_order" in repr(SPACE)
    with pytest.raises(ValueError, match="space with constraints cannot be written as JSON"):
        SPACE.to_json()
