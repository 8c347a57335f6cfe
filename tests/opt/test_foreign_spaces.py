import pickle
from typing import Any

import ConfigSpace as C  # as its documentation abbreviates it
import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from rush_opt import tune
from rush_opt.arguments.space import make_space
from rush_opt.search.design import random_design
from rush_opt.space import Categorical, Constant, Float, Integer, Ordinal, Space
from rush_opt.space.foreign import from_configspace, from_optuna
from tests.typed import unchecked


def conditional_space() -> C.ConfigurationSpace:
    space = C.ConfigurationSpace(seed=1)
    kind = C.CategoricalHyperparameter("kind", ["svm", "forest", "linear"])
    size = C.UniformIntegerHyperparameter("size", 1, 9, default_value=4)
    level = C.OrdinalHyperparameter("level", ["low", "middle", "high"])
    rate = C.UniformFloatHyperparameter("rate", 1e-4, 1.0, log=True)
    trees = C.UniformIntegerHyperparameter("trees", 1, 500, log=True)
    gamma = C.UniformFloatHyperparameter("gamma", 0.0, 2.0)
    extra = C.CategoricalHyperparameter("extra", [True, False])
    tag = C.Constant("tag", "v1")
    space.add(kind, size, level, rate, trees, gamma, extra, tag)
    space.add(
        C.EqualsCondition(rate, kind, "svm"),
        C.InCondition(trees, kind, ["forest", "linear"]),
        C.AndConjunction(
            C.NotEqualsCondition(gamma, kind, "linear"), C.GreaterThanCondition(gamma, size, 3)
        ),
        C.OrConjunction(
            C.EqualsCondition(extra, kind, "forest"), C.LessThanCondition(extra, level, "middle")
        ),
    )
    space.add(
        C.ForbiddenAndConjunction(
            C.ForbiddenEqualsClause(size, 5), C.ForbiddenInClause(kind, ["svm", "linear"])
        ),
        C.ForbiddenAndConjunction(
            C.ForbiddenGreaterThanClause(level, "middle"), C.ForbiddenLessThanClause(gamma, 0.5)
        ),
        C.ForbiddenGreaterThanRelation(size, trees),
    )
    return space


def test_samples_of_a_configuration_space_are_valid_in_the_converted_space() -> None:
    foreign = conditional_space()
    space = from_configspace(foreign)
    configs = [dict(config) for config in foreign.sample_configuration(300)]
    for config in configs:
        space.validate(config)
    again = space.decode(space.encode(configs))
    assert [set(config) for config in again] == [set(config) for config in configs]


def test_samples_of_the_converted_space_are_valid_in_the_configuration_space() -> None:
    foreign = conditional_space()
    space = from_configspace(foreign)
    for config in space.decode(random_design(space, 300, np.random.default_rng(0))):
        C.Configuration(foreign, values=config).check_valid_configuration()


def test_forbidden_clauses_forbid_the_same() -> None:
    foreign = conditional_space()
    space = from_configspace(foreign)
    unconstrained = Space(dict(zip(space.names, space.parameters, strict=True)))
    n_forbidden = 0
    for config in unconstrained.decode(random_design(unconstrained, 300, np.random.default_rng(1))):
        forbidden = any(clause.is_forbidden_value(config) for clause in foreign.forbidden_clauses)
        assert space.satisfies(config) != forbidden
        n_forbidden += forbidden
    assert 20 < n_forbidden < 280


def test_kinds_and_bounds_are_kept() -> None:
    space = from_configspace(conditional_space())
    found = dict(zip(space.names, space.parameters, strict=True))
    assert found["rate"] == Float(1e-4, 1.0, log=True, when={"kind": ["svm"]})
    assert found["trees"] == Integer(1, 500, log=True, when={"kind": ["forest", "linear"]})
    assert found["gamma"] == Float(
        0, 2, when={"kind": ["svm", "forest"], "size": [4, 5, 6, 7, 8, 9]}
    )
    assert found["extra"] == Categorical(
        [True, False], when=[{"kind": ["forest"]}, {"level": ["low"]}]
    )
    assert found["level"] == Ordinal(["low", "middle", "high"])
    assert found["tag"] == Constant("v1")


def test_a_default_configuration_is_a_given_point() -> None:
    foreign = conditional_space()
    from_configspace(foreign).validate(dict(foreign.get_default_configuration()))


def test_a_converted_space_needs_no_configspace_to_be_unpickled() -> None:
    space = from_configspace(conditional_space())
    text = pickle.dumps(space)
    assert b"ConfigSpace" not in text
    assert pickle.loads(text) == space


def test_several_conditions_on_one_child_must_all_hold() -> None:
    foreign = C.ConfigurationSpace({"a": [1, 2, 3], "b": [1, 2], "x": (0.0, 1.0)})
    both = C.AndConjunction(
        C.OrConjunction(
            C.EqualsCondition(foreign["x"], foreign["a"], 1),
            C.EqualsCondition(foreign["x"], foreign["b"], 2),
        ),
        C.InCondition(foreign["x"], foreign["a"], [1, 2]),
    )
    foreign.add(both)
    space = from_configspace(foreign)
    when = [{"a": [1]}, {"b": [2], "a": [1, 2]}]
    assert space.parameters[space.names.index("x")] == Float(0, 1, when=when)


def test_weights_may_be_equal() -> None:
    kind = C.CategoricalHyperparameter("kind", ["a", "b"], weights=[2, 2])
    space = from_configspace(C.ConfigurationSpace({"kind": kind}))
    assert space.parameters == (Categorical(["a", "b"]),)


def impossible(foreign: C.ConfigurationSpace) -> C.ConfigurationSpace:
    foreign.add(
        C.AndConjunction(
            C.EqualsCondition(foreign["x"], foreign["a"], 1),
            C.EqualsCondition(foreign["x"], foreign["a"], 2),
        )
    )
    return foreign


def on_float(foreign: C.ConfigurationSpace) -> C.ConfigurationSpace:
    foreign.add(C.GreaterThanCondition(foreign["a"], foreign["x"], 0.5))
    return foreign


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: C.ConfigurationSpace({"x": C.NormalFloatHyperparameter("x", 0, 1, -1, 1)}),
            "'x' needs a uniform distribution",
        ),
        (
            lambda: C.ConfigurationSpace(
                {"x": C.CategoricalHyperparameter("x", ["a", "b"], weights=[0.2, 0.8])}
            ),
            "'x' needs a uniform distribution without weights",
        ),
        (
            lambda: impossible(C.ConfigurationSpace({"a": [1, 2], "x": (0.0, 1.0)})),
            "'x' needs a condition that can hold",
        ),
        (
            lambda: on_float(C.ConfigurationSpace({"a": [1, 2], "x": (0.0, 1.0)})),
            "a condition needs a parent with countable values",
        ),
    ],
)
def test_features_without_an_equivalent_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_configspace(make())


def test_forbidden_clauses_can_be_joined_by_or() -> None:
    a = C.UniformIntegerHyperparameter("a", 1, 9, default_value=2)
    foreign = C.ConfigurationSpace({"a": a, "b": (1, 9)})
    foreign.add(
        C.ForbiddenOrConjunction(
            C.ForbiddenEqualsRelation(foreign["a"], foreign["b"]),
            C.ForbiddenGreaterThanEqualsClause(foreign["a"], 7),
        )
    )
    space = from_configspace(foreign)
    for config in ({"a": a, "b": b} for a in range(1, 10) for b in range(1, 10)):
        assert space.satisfies(config) == (config["a"] != config["b"] and config["a"] < 7)


DISTRIBUTIONS = {
    "rate": FloatDistribution(1e-4, 1.0, log=True),
    "share": FloatDistribution(0.0, 1.0, step=0.1),
    "depth": IntDistribution(1, 9, step=2),
    "leaves": IntDistribution(2, 512, log=True),
    "kind": CategoricalDistribution(["a", None, 3]),
    "one": IntDistribution(4, 4),
}


def test_distributions_of_optuna_become_parameters() -> None:
    space = from_optuna(DISTRIBUTIONS)
    assert dict(zip(space.names, space.parameters, strict=True)) == {
        "rate": Float(1e-4, 1.0, log=True),
        "share": Float(0.0, 1.0, step=0.1),
        "depth": Integer(1, 9, step=2),
        "leaves": Integer(2, 512, log=True),
        "kind": Categorical(["a", None, 3]),
        "one": Constant(4),
    }
    for config in space.decode(random_design(space, 100, np.random.default_rng(0))):
        for name, value in config.items():
            distribution = DISTRIBUTIONS[name]
            assert distribution._contains(distribution.to_internal_repr(value))


def test_distributions_of_optuna_can_be_mixed_with_parameters_and_values() -> None:
    mixed = {"rate": FloatDistribution(0, 1), "depth": Integer(1, 9), "seed": 3}
    expected = Space({"rate": Float(0, 1), "depth": Integer(1, 9), "seed": Constant(3)})
    assert from_optuna(mixed) == expected
    with pytest.raises(TypeError, match="parameter 'x' needs to be a Float"):
        from_optuna({**mixed, "x": object()})


def test_tune_simulate_and_advisor_accept_foreign_spaces() -> None:
    foreign = conditional_space()
    assert make_space(foreign) == from_configspace(foreign)
    assert make_space(DISTRIBUTIONS) == from_optuna(DISTRIBUTIONS)
    with pytest.raises(TypeError, match="a ConfigurationSpace, or Optuna's distributions"):
        make_space(3)


def test_a_configuration_space_is_tuned() -> None:
    foreign = conditional_space()
    result = tune(
        lambda config: float(config["size"] + config.get("gamma", 3.0)),
        unchecked(foreign),  # spaces of other packages have no type that we know
        n_workers=1,
        n_trials=15,
        seed=1,
        initial_design=[dict(foreign.get_default_configuration())],
        progress=False,
    )
    assert len(result.trials) == 15
    C.Configuration(foreign, values=result.best_params).check_valid_configuration()
