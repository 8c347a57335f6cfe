import pickle
from typing import Any

import numpy as np
import pytest

from rush_core import TaskTable
from rush_opt.models.forest import ExtraTrees
from rush_opt.problem.goal import Goal
from rush_opt.search.archive import Archive
from rush_opt.search.candidates import propose
from rush_opt.search.design import random_design
from rush_opt.search.moves import moves
from rush_opt.space import (
    INACTIVE,
    Boolean,
    Categorical,
    Condition,
    Constant,
    Float,
    Integer,
    Ordinal,
    Space,
    Transformed,
)
from tests.typed import unchecked

BOOSTER = Space(
    {
        # A child before its parent: the order of the names is free.
        "drop": Float(1e-4, 1, log=True, when={"booster": "dart"}),
        "booster": Categorical(["gbdt", "dart", "linear"]),
        "leaves": Integer(2, 100, log=True, when={"booster": ["gbdt", "dart"]}),
        "bag": Boolean(when={"booster": "gbdt", "leaves": list(range(2, 50))}),
        "seed": Integer(1, 3),
        "solver": Categorical(["a", None], when=[{"booster": "linear"}, {"seed": [2, 3]}]),
        "tag": Constant("dropping", when={"booster": "dart"}),
    }
)

CONFIGS = [
    {"booster": "gbdt", "leaves": 10, "bag": True, "seed": 1},
    {"booster": "gbdt", "leaves": 60, "seed": 3, "solver": None},
    {"drop": 0.01, "booster": "dart", "leaves": 10, "seed": 1, "tag": "dropping"},
    {"booster": "linear", "seed": 1, "solver": "a"},
]


MOVES: dict[str, Any] = {"p_move": 0.25, "log10_step": (-2.0, -0.5)}


def test_only_active_parameters_are_in_a_configuration() -> None:
    for config in CONFIGS:
        BOOSTER.validate(config)
    rows = BOOSTER.encode(CONFIGS)
    found = BOOSTER.decode(rows)
    assert [set(config) for config in found] == [set(config) for config in CONFIGS]
    for config, again in zip(CONFIGS, found, strict=True):
        assert again == pytest.approx(config) if "drop" in config else again == config
    assert list(found[2]) == ["drop", "booster", "leaves", "seed", "tag"]


def test_parents_of_conditions_and_unordered_parameters_are_choices() -> None:
    is_choice = dict(zip(BOOSTER.columns, BOOSTER.is_choice.tolist(), strict=True))
    assert is_choice == {
        **{"drop": False, "booster": True, "leaves": True},
        **{"bag": True, "seed": True, "solver": True},
    }
    assert not Space({"x": Float(0, 1), "n": Integer(1, 3)}).is_choice.any()


def test_all_inactive_coordinates_have_one_value_outside_the_cube() -> None:
    rows = BOOSTER.encode(CONFIGS)
    assert BOOSTER.columns == ("drop", "booster", "leaves", "bag", "seed", "solver")
    inactive = [[0, 5], [0, 3], [3, 5], [0, 2, 3]]
    assert [list(np.flatnonzero(row == INACTIVE)) for row in rows] == inactive
    assert ((rows >= 0) | (rows == INACTIVE)).all()
    assert np.float32(INACTIVE) == INACTIVE


def test_rows_that_differ_in_inactive_coordinates_only_are_snapped_to_one() -> None:
    row = BOOSTER.encode([CONFIGS[3]])
    other = row.copy()
    other[0, [0, 2, 3]] = [0.1, 0.7, 0.9]
    np.testing.assert_array_equal(BOOSTER.snap(other), row)
    assert BOOSTER.decode(other) == [CONFIGS[3]]
    np.testing.assert_array_equal(BOOSTER.encode([CONFIGS[3] | {"drop": 0.5, "bag": True}]), row)


def test_an_inactive_parent_makes_its_children_inactive() -> None:
    space = Space(
        {
            "a": Boolean(),
            "b": Integer(1, 2, when={"a": True}),
            "c": Float(0, 1, when={"b": 2}),
        }
    )
    rows = space.snap(np.array([[0.0, 0.9, 0.5], [1.0, 0.9, 0.5], [1.0, 0.1, 0.5]]))
    assert space.decode(rows) == [{"a": False}, {"a": True, "b": 2, "c": 0.5}, {"a": True, "b": 1}]
    with pytest.raises(ValueError, match=r"'c' is active only when b = 2, got 0\.5"):
        space.validate({"a": False, "c": 0.5})


@pytest.mark.parametrize(
    "parent",
    [
        Float(0, 1, step=0.25),
        Integer(0, 8, step=2),
        Integer(1, 9, log=True),
        Ordinal(["low", "middle", "high"]),
        Boolean(),
        Categorical([1, "one", None]),
        Transformed(Integer(1, 4), lambda k: 2 * k, inverse=lambda n: n / 2),
    ],
)
def test_every_countable_kind_can_be_a_parent(parent: Any) -> None:
    values = [parent.from_unit(u) for u in parent.grid(20)]
    for value in values:
        space = Space({"p": parent, "x": Float(0, 1, when={"p": [value]})})
        configs = [{"p": v, "x": 0.5} if v == value else {"p": v} for v in values]
        for config in configs:
            space.validate(config)
        rows = space.encode(configs)
        assert space.decode(rows) == configs
        assert space.decode(space.snap(rows.astype(np.float32))) == configs


def test_the_archive_reads_configurations_with_absent_parameters() -> None:
    archive = Archive(BOOSTER, [Goal("y")])
    archive.add(TaskTable.from_results(CONFIGS, [{"y": float(i)} for i in range(4)]))
    rows = BOOSTER.encode(CONFIGS)
    np.testing.assert_array_equal(archive.X, rows.astype(np.float32))
    assert all(row in archive for row in rows)
    assert BOOSTER.encode([CONFIGS[3] | {"solver": None}])[0] not in archive


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"booster": "linear", "seed": 1}, "parameter 'solver' is missing"),
        ({"booster": "dart", "leaves": 3, "seed": 1}, "parameter 'drop' is missing.*'tag' is miss"),
        (CONFIGS[0] | {"drop": 0.1}, "'drop' is active only when booster = 'dart', got 0.1"),
        (
            CONFIGS[0] | {"solver": "a"},
            r"'solver' is active only when booster = 'linear' or seed in \[2, 3\], got 'a'",
        ),
        (CONFIGS[2] | {"tag": "other"}, r"parameter 'tag' needs one of \['dropping'\]"),
        (CONFIGS[2] | {"drop": 7}, "parameter 'drop' needs 0.0001 <= value <= 1.0, got 7"),
    ],
)
def test_validation_knows_which_parameters_are_active(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BOOSTER.validate(config)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"drop": None}, "parameter 'drop' needs a number, got None"),
        ({"drop": 2.0}, "parameter 'drop' needs 0.0001 <= value"),
        # What its coordinate would be: a value below the range is not taken for an inactive one.
        ({"drop": 1e-5}, "parameter 'drop' needs 0.0001 <= value"),
        ({"booster": "rf"}, "parameter 'booster' needs one of"),
    ],
)
def test_encoding_refuses_wrong_values_of_active_parameters(
    change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        BOOSTER.encode([*CONFIGS, CONFIGS[2] | change])
    with pytest.raises(ValueError, match="parameter 'drop' is missing"):
        BOOSTER.encode([{"booster": "dart", "leaves": 3, "seed": 1}])


def test_moves_change_active_coordinates_and_keep_the_others_canonical() -> None:
    rng = np.random.default_rng(0)
    parents = random_design(BOOSTER, 10, rng)
    found = moves(BOOSTER, parents, 2000, rng, **MOVES)
    np.testing.assert_array_equal(BOOSTER.snap(found), found)
    for config in BOOSTER.decode(found):
        BOOSTER.validate(config)
    changed = (found != parents[np.arange(2000) % 10]).any(axis=1)
    assert changed.mean() > 0.9
    activity = {tuple(row != INACTIVE) for row in found}
    assert len(activity) >= 5


def test_a_parameter_that_a_move_makes_active_starts_anywhere_in_its_range() -> None:
    space = Space({"b": Boolean(), "x": Float(0, 1, when={"b": True})})
    start = space.encode([{"b": False}])
    found = moves(space, start, 400, np.random.default_rng(0), **MOVES)
    # The only active coordinate is the boolean: every move flips it.
    assert (found[:, 0] == 0.75).all()
    # A uniform sample of 400 leaves a tenth of the range empty with probability below 1e-17.
    assert (np.histogram(found[:, 1], bins=10, range=(0, 1))[0] > 0).all()


def test_proposals_are_new_canonical_rows() -> None:
    rng = np.random.default_rng(1)
    archive = Archive(BOOSTER, [Goal("y")])
    configs = BOOSTER.decode(random_design(BOOSTER, 20, rng))
    for _ in range(20):
        values = [{"y": float(c["seed"] + c.get("drop", 0))} for c in configs]
        archive.add(TaskTable.from_results(configs, values))
        row = propose(archive, ExtraTrees().fit(archive.X, archive.y, rng), 1.0, rng)
        assert row not in archive
        np.testing.assert_array_equal(BOOSTER.snap(row[None])[0], row)
        configs = BOOSTER.decode(row[None])
        BOOSTER.validate(configs[0])


def test_the_last_point_of_a_conditional_space_is_proposed() -> None:
    space = Space({"a": Boolean(), "n": Integer(1, 3, when={"a": True})})
    configs: list[dict[str, Any]] = [{"a": False}, *({"a": True, "n": n} for n in (1, 2, 3))]
    for left_out in range(4):
        archive = Archive(space, [Goal("y")])
        known = [config for i, config in enumerate(configs) if i != left_out]
        archive.add(TaskTable.from_results(known, [{"y": float(i)} for i in range(3)]))
        rng = np.random.default_rng(left_out)
        row = propose(archive, ExtraTrees().fit(archive.X, archive.y, rng), 1.0, rng)
        assert space.decode(row[None]) == [configs[left_out]]


def test_the_model_sees_whether_a_parameter_is_active() -> None:
    # With x > 0.5 the objective is good, and without x it is better still.
    space = Space({"b": Boolean(), "x": Float(0, 1, when={"b": True})})
    rng = np.random.default_rng(0)
    X = random_design(space, 200, rng)
    y = np.where(X[:, 1] == INACTIVE, -2.0, np.where(X[:, 1] > 0.5, -1.0, 0.0))
    forest = ExtraTrees().fit(X.astype(np.float32), y, rng)
    queries = space.encode([{"b": False}, {"b": True, "x": 0.9}, {"b": True, "x": 0.1}])
    mean, _ = forest.predict(queries)
    assert mean[0] < mean[1] < mean[2]


def test_a_condition_can_be_written_out_and_read_back() -> None:
    assert Condition.of(None) is None
    one = Condition.of({"a": 1, "b": ["x", "y"]})
    two = Condition.of([{"a": (1, 2)}, {"b": np.array(["x"])}])
    assert one is not None
    assert two is not None
    assert Condition.of(one) is one
    assert Condition.of(two.to_plain()) == two
    assert (one.parents, two.parents) == (["a", "b"], ["a", "b"])
    assert str(one) == "a = 1 and b in ['x', 'y']"
    assert repr(two) == "[{'a': [1, 2]}, {'b': ['x']}]"
    assert repr(Float(0, 1, when={"a": 1})) == "Float(0.0, 1.0, when={'a': [1]})"
    assert pickle.loads(pickle.dumps(BOOSTER)) == BOOSTER


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Float(0, 1, when=unchecked("a")), TypeError, "when needs a mapping .*got 'a'"),
        (lambda: Float(0, 1, when=unchecked([3])), TypeError, "when needs a mapping"),
        (lambda: Float(0, 1, when={}), ValueError, "at least one parameter"),
        (lambda: Float(0, 1, when=[]), ValueError, "at least one parameter"),
        (lambda: Float(0, 1, when={"a": []}), ValueError, "a value of 'a', got none"),
        (lambda: Float(0, 1, when={"a": {1, 2}}), TypeError, "a value or a list of values of 'a'"),
        (
            lambda: Float(0, 1, when=unchecked({3: 1})),
            TypeError,
            "names of parameters as keys, got 3",
        ),
        (
            lambda: Space({"x": Float(0, 1, when={"a": 1})}),
            ValueError,
            r"parameter 'x' needs a condition on .* got 'a', not one of \['x'\]",
        ),
        (
            lambda: Space({"a": 1, "x": Float(0, 1, when={"a": 1})}),
            ValueError,
            "got 'a', which is fixed",
        ),
        (
            lambda: Space({"a": Float(0, 1), "x": Float(0, 1, when={"a": 1})}),
            ValueError,
            "countable values, got 'a', a Float",
        ),
        (
            lambda: Space({"a": Integer(0, 1), "x": Float(0, 1, when={"a": [1, 2]})}),
            ValueError,
            "'x' has a condition on 'a', which needs 0 <= value <= 1, got 2",
        ),
        (
            lambda: Space({"a": Boolean(when={"b": True}), "b": Boolean(when={"a": True})}),
            ValueError,
            "got the circle '[ab]' -> '[ab]' -> '[ab]'",
        ),
        (lambda: Space({"a": Boolean(when={"a": True})}), ValueError, "got the circle"),
    ],
)
def test_a_meaningless_condition_is_refused(
    make: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        make()
