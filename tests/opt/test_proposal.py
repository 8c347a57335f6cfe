from typing import Any

import numpy as np
import pytest

from rush_core import TaskTable
from rush_opt.models.forest import ExtraTrees
from rush_opt.problem.goal import Goal
from rush_opt.search.archive import Archive
from rush_opt.search.candidates import Candidates, propose
from rush_opt.search.design import random_design
from rush_opt.search.moves import moves
from rush_opt.space import Boolean, Categorical, Float, Integer, Space

MIXED = Space(
    {
        "x": Float(0, 1),
        "n": Integer(1, 5),
        "m": Integer(1, 50, log=True),
        "c": Categorical(["p", "q", "r"]),
        "one": Categorical(["only"]),
        "b": Boolean(),
    }
)


MOVES: dict[str, Any] = {"p_move": 0.25, "log10_step": (-2.0, -0.5)}


def archive_of(space: Space, n: int, seed: int = 0) -> Archive:
    archive = Archive(space, [Goal("y")])
    X = random_design(space, n, np.random.default_rng(seed))
    values = ((X - 0.3) ** 2).sum(axis=1)
    results = [{"y": float(y)} for y in values]
    archive.add(TaskTable.from_results(space.decode(X), results))
    return archive


def proposal(archive: Archive, lam: float = 1.0, seed: int = 0, **settings: Any) -> np.ndarray:
    rng = np.random.default_rng(seed)
    forest = ExtraTrees().fit(archive.X, archive.y, rng)
    return propose(archive, forest, lam, rng, **settings)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("n", [1, 2, 30, 700])
def test_a_proposal_is_a_snapped_row_that_has_not_been_evaluated(n: int, seed: int) -> None:
    archive = archive_of(MIXED, n)
    row = proposal(archive, seed=seed)
    assert row.shape == (6,)
    assert row.dtype == np.float64
    np.testing.assert_array_equal(MIXED.snap(row[None])[0], row)
    assert row not in archive
    MIXED.validate(MIXED.decode(row[None])[0])


def test_the_same_seed_gives_the_same_proposal_and_another_seed_another() -> None:
    archive = archive_of(MIXED, 50)
    np.testing.assert_array_equal(proposal(archive, seed=4), proposal(archive, seed=4))
    assert not np.array_equal(proposal(archive, seed=4), proposal(archive, seed=5))


def test_the_last_point_of_a_small_space_is_found() -> None:
    space = Space({"a": Boolean(), "n": Integer(1, 3)})
    configs = [{"a": a, "n": n} for a in (False, True) for n in (1, 2, 3)]
    for left_out in range(6):
        archive = Archive(space, [Goal("y")])
        known = [config for i, config in enumerate(configs) if i != left_out]
        archive.add(TaskTable.from_results(known, [{"y": float(i)} for i in range(len(known))]))
        assert space.decode(proposal(archive)[None]) == [configs[left_out]]


def test_a_fully_evaluated_space_gives_a_repeat_of_the_best() -> None:
    space = Space({"a": Boolean(), "b": Boolean()})
    archive = Archive(space, [Goal("y")])
    for a in (False, True):
        for b in (False, True):
            evaluated = TaskTable.from_results([{"a": a, "b": b}] * 5, [{"y": a + 2.0 * b}] * 5)
            archive.add(evaluated)
    assert space.decode(proposal(archive, lam=0.0)[None]) == [{"a": False, "b": False}]


def test_without_exploration_proposals_are_near_the_optimum() -> None:
    space = Space({"x": Float(0, 1), "y": Float(0, 1)})
    archive = archive_of(space, 300)
    rows = np.array([proposal(archive, lam=0.0, seed=seed) for seed in range(10)])
    # A uniform point is this close with probability pi / 25; all ten with less than 1e-9.
    assert (np.hypot(*(rows - 0.3).T) < 0.2).all()


def test_the_proposal_has_the_lowest_bound_of_all_candidates_not_evaluated() -> None:
    space = Space({"n": Integer(0, 30), "b": Boolean()})
    archive = archive_of(space, 25)
    forest = ExtraTrees().fit(archive.X, archive.y, np.random.default_rng(0))
    row = propose(
        *(archive, forest, 1.5, np.random.default_rng(1)), candidates=Candidates(p_choices=0.0)
    )
    every = space.encode([{"n": n, "b": b} for n in range(31) for b in (False, True)])
    mean, sd = forest.predict(every)
    allowed = np.array([point not in archive for point in every])
    found_mean, found_sd = forest.predict(row[None])
    lowest = (mean - 1.5 * sd)[allowed].min()
    assert (found_mean - 1.5 * found_sd)[0] == pytest.approx(lowest, rel=1e-12)


def test_drawn_choices_reach_all_values_and_other_parameters_are_searched() -> None:
    method = {"c": ["p", "q"]}
    space = Space(
        {"c": Categorical(["p", "q", "r"]), "x": Float(0, 1), "z": Float(0, 1, when=method)}
    )
    archive = Archive(space, [Goal("y")])
    configs = space.decode(random_design(space, 200, np.random.default_rng(0)))
    # One choice is better throughout; the best number is the same with each.
    values = [(config["x"] - 0.3) ** 2 + 2.0 * (config["c"] != "r") for config in configs]
    archive.add(TaskTable.from_results(configs, [{"y": y} for y in values]))
    drawn, never = Candidates(p_choices=1.0), Candidates(p_choices=0.0)
    found = [
        [
            space.decode(proposal(archive, lam=0.0, seed=seed, candidates=candidates)[None])[0]
            for seed in range(40)
        ]
        for candidates in (drawn, never)
    ]
    # That one of three is never drawn in 40 has probability below 1e-6.
    assert {config["c"] for config in found[0]} == {"p", "q", "r"}
    assert {config["c"] for config in found[1]} == {"r"}
    assert np.mean([abs(config["x"] - 0.3) for config in found[0]]) < 0.1
    for config in found[0]:
        space.validate(config)


def test_drawn_choices_without_a_new_candidate_are_dropped() -> None:
    space = Space(
        {
            "model": Categorical(["lda", "svm"]),
            "C": Float(1e-3, 1e3, log=True, when={"model": "svm"}),
        }
    )
    archive = Archive(space, [Goal("y")])
    configs: list[dict[str, Any]] = [{"model": "lda"}]
    configs += ({"model": "svm", "C": 10.0**k} for k in range(-2, 3))
    archive.add(TaskTable.from_results(configs, [{"y": float(i)} for i in range(6)]))
    drawn = Candidates(p_choices=1.0)
    for seed in range(20):  # the first model, which is known, is drawn every other time
        assert proposal(archive, seed=seed, candidates=drawn) not in archive


def test_no_choices_are_drawn_if_all_parameters_are_choices() -> None:
    space = Space({name: Categorical(list("pqrst")) for name in "abcd"})
    archive = archive_of(space, 40)
    for seed in range(5):
        always, never = (
            proposal(archive, seed=seed, candidates=Candidates(p_choices=p)) for p in (1.0, 0.0)
        )
        np.testing.assert_array_equal(always, never)


def test_every_move_changes_something_and_stays_on_the_grid() -> None:
    rng = np.random.default_rng(3)
    parents = random_design(MIXED, 4, rng)
    parents[:, 0] = np.clip(parents[:, 0], 0.05, 0.95)
    found = moves(MIXED, parents, 400, rng, **MOVES)
    assert found.shape == (400, 6)
    np.testing.assert_array_equal(MIXED.snap(found), found)
    origins = parents[np.arange(400) % 4]
    changed = found != origins
    assert not changed[:, 4].any()  # a single choice has nowhere to go
    # A move changes nothing if it drew only that choice, or points out of the range; all others do.
    assert changed.any(axis=1).mean() > 0.85


def test_moves_of_choices_reach_all_others_equally_and_never_the_same() -> None:
    space = Space({"c": Categorical(["p", "q", "r"])})
    start = space.encode([{"c": "q"}])
    found = space.decode(moves(space, start, 1000, np.random.default_rng(0), **MOVES))
    counts = {choice: sum(c["c"] == choice for c in found) for choice in "pqr"}
    assert counts["q"] == 0
    # Binomial(1000, 1/2) has sd 16; five of them: false alarms below 1e-6.
    assert abs(counts["p"] - 500) < 80


def test_a_move_of_a_boolean_flips_it() -> None:
    space = Space({"b": Boolean()})
    found = moves(space, np.array([[0.25]]), 10, np.random.default_rng(0), **MOVES)
    np.testing.assert_array_equal(found, 0.75)


def test_parents_are_taken_in_turn() -> None:
    space = Space({"x": Float(0, 1)})
    parents = np.array([[0.1], [0.9]])
    tiny = Candidates(log10_step=(-6.0, -5.0))
    found = moves(
        space, parents, 7, np.random.default_rng(0), p_move=tiny.p_move, log10_step=tiny.log10_step
    )
    np.testing.assert_allclose(found[:, 0], [0.1, 0.9, 0.1, 0.9, 0.1, 0.9, 0.1], atol=1e-3)


@pytest.mark.parametrize(
    "settings",
    [
        {"n_random": 0},
        {"n_random": 2.5},
        {"n_local": -1},
        {"n_parents": 0},
        {"p_move": 1.5},
        {"log10_step": (0, -1)},
        {"p_choices": 2.0},
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(settings))}.*setting that is out of range"):
        Candidates(**settings)


def test_local_moves_can_be_left_out() -> None:
    archive = archive_of(MIXED, 20)
    assert proposal(archive, candidates=Candidates(50, 0, 0)) not in archive
