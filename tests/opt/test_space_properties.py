"""Properties of every space: spaces are drawn with conditions on parents of every kind."""

import math
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from rush_core import TaskTable
from rush_opt.models.forest import ExtraTrees
from rush_opt.problem.goal import Goal
from rush_opt.search.archive import Archive
from rush_opt.search.candidates import Candidates, propose
from rush_opt.search.design import LatinHypercube, random_design, sobol_design
from rush_opt.search.grid import grid_design
from rush_opt.search.moves import moves
from rush_opt.space import (
    INACTIVE,
    Boolean,
    Categorical,
    Constant,
    Float,
    Integer,
    Ordinal,
    Parameter,
    Space,
)
from rush_opt.space.condition import Condition

FEW = Candidates(n_random=30, n_local=15, n_refine=15)
TREES = ExtraTrees(n_trees=2)

seeds = st.integers(0, 2**32 - 1)


@st.composite
def parameters(draw: st.DrawFn, parents: dict[str, Parameter]) -> Parameter:
    """Draw a parameter, often with a condition on some that are there."""
    when = draw(st.none() | conditions(parents)) if parents else None
    kind = draw(st.integers(0, 7))
    low = draw(st.integers(-50, 50))
    n = draw(st.integers(1, 6))
    made: list[Parameter] = [
        Float(low, low + n, when=when),
        Float(math.exp(low / 10), math.exp((low + n) / 10), log=True, when=when),
        Float(low / 10, (low + n) / 10, step=0.1, when=when),
        Integer(low, low + 3 * n, step=3, when=when),
        Integer(abs(low) + 1, abs(low) + 1 + 10 * n, log=True, when=when),
        Categorical([low, "a", None, 0.5][: 1 + n % 4], when=when),
        Ordinal(["s", "m", "l", low][: 2 + n % 3], when=when),
        Constant(low, when=when) if n == 1 else Boolean(when=when),
    ]
    return made[kind]


@st.composite
def conditions(draw: st.DrawFn, parents: dict[str, Parameter]) -> list[dict[str, list[Any]]]:
    alternatives = []
    for _ in range(draw(st.integers(1, 2))):
        names = draw(st.lists(st.sampled_from(sorted(parents)), min_size=1, max_size=2))
        alternatives.append(
            {
                name: draw(st.lists(st.sampled_from(values_of(parents[name])), min_size=1))
                for name in names
            }
        )
    return alternatives


def values_of(parameter: Parameter) -> list[Any]:
    return [parameter.from_unit(u) for u in parameter.grid(100).tolist()]


@st.composite
def parameter_dicts(draw: st.DrawFn) -> dict[str, Parameter]:
    found: dict[str, Parameter] = {"root": Boolean()}
    for i in range(draw(st.integers(0, 5))):
        parents = {
            name: parameter
            for name, parameter in found.items()
            if parameter.n_levels and not isinstance(parameter, Constant)
        }
        found[f"p{i}"] = draw(parameters(parents))
    names = draw(st.permutations(sorted(found)))
    return {name: found[name] for name in names}


spaces = parameter_dicts().map(Space)


@settings(max_examples=40)
@given(spaces, seeds)
def test_configurations_survive_encoding_and_decoding(space: Space, seed: int) -> None:
    X = random_design(space, 20, np.random.default_rng(seed))
    configs = space.decode(X)
    for config, again in zip(configs, space.decode(space.encode(configs)), strict=True):
        space.validate(config)
        assert list(config) == list(again)
        for name, value in config.items():
            exact = type(value) is not float
            assert again[name] == value if exact else math.isclose(again[name], value, abs_tol=1e-9)
    np.testing.assert_allclose(space.encode(configs), X, atol=1e-9)


@settings(max_examples=40)
@given(spaces, seeds)
def test_snapping_is_idempotent_and_forgets_inactive_coordinates(space: Space, seed: int) -> None:
    rng = np.random.default_rng(seed)
    once = space.snap(rng.uniform(-0.5, 1.5, (20, space.n_dims)))
    np.testing.assert_array_equal(space.snap(once), once)
    np.testing.assert_array_equal(space.snap(space.fill_inactive(once, rng)), once)
    # Through the archive's single precision and back, rows stay the same to its precision.
    again = space.snap(once.astype(np.float32))
    np.testing.assert_array_equal(again.astype(np.float32), once.astype(np.float32))


@settings(max_examples=40)
@given(spaces, seeds)
def test_a_parameter_is_in_a_configuration_if_its_condition_holds(space: Space, seed: int) -> None:
    for config in space.decode(random_design(space, 20, np.random.default_rng(seed))):
        for name, parameter in zip(space.names, space.parameters, strict=True):
            condition = Condition.of(parameter.when)
            alternatives = [{}] if condition is None else condition.to_plain()
            active = any(
                all(p in config and config[p] in values for p, values in alternative.items())
                for alternative in alternatives
            )
            assert (name in config) == active


@settings(max_examples=20)
@given(parameter_dicts(), seeds)
def test_every_design_and_move_is_valid_and_satisfies_the_constraints(
    given_parameters: dict[str, Parameter], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    free = Space(given_parameters)
    first = free.columns[0]

    def first_is_low(config: dict[str, Any]) -> bool:
        return bool(free.encode([config])[0, 0] <= 0.7)

    space = Space(given_parameters, constraints=[first_is_low])
    designs = [random_design(space, 9, rng), sobol_design(space, 9, rng)]
    for X in [*designs, LatinHypercube(9).draw(space, rng), grid_design(space, 2)]:
        np.testing.assert_array_equal(space.snap(X), X)
        assert (X[:, space.columns.index(first)] <= 0.7).all()
        for config in space.decode(X):
            space.validate(config)
    moved = moves(space, designs[0], 30, rng, p_move=0.25, log10_step=(-2.0, -0.5))
    np.testing.assert_array_equal(space.snap(moved), moved)
    assert ((moved >= 0) & (moved <= 1) | (moved == INACTIVE)).all()
    for config in free.decode(moved):
        free.validate(config)


@settings(max_examples=20, deadline=None)
@given(parameter_dicts(), seeds)
def test_every_proposal_is_valid_and_satisfies_the_constraints(
    given_parameters: dict[str, Parameter], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    space = Space(given_parameters, constraints=[lambda c: not c["root"] or len(c) % 7 != 6])
    archive = Archive(space, [Goal("y")])
    configs = space.decode(random_design(space, 5, rng))
    for _ in range(3):
        values = [{"y": float(len(config))} for config in configs]
        archive.add(TaskTable.from_results(configs, values))
        row = propose(archive, TREES.fit(archive.X, archive.y, rng), 1.0, rng, candidates=FEW)
        np.testing.assert_array_equal(space.snap(row[None])[0], row)
        configs = space.decode(row[None])
        space.validate(configs[0])


@settings(max_examples=40)
@given(spaces)
def test_a_grid_has_every_configuration_once(space: Space) -> None:
    X = grid_design(space, 2)
    assert len(np.unique(X, axis=0)) == len(X)
    columns = [space.grid(j, 2) for j in range(space.n_dims)]
    product = np.stack(np.meshgrid(*columns, indexing="ij"), axis=-1).reshape(-1, space.n_dims)
    np.testing.assert_array_equal(np.unique(space.snap(product), axis=0), np.unique(X, axis=0))


@settings(max_examples=40)
@given(spaces)
def test_a_space_survives_json_and_repr(space: Space) -> None:
    assert Space.from_json(space.to_json()) == space
    assert len(str(space).splitlines()) == 2 + len(space.names)
    assert eval(repr(space)) == space
