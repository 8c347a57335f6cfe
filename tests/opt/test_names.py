"""Names of parameters and objectives with any characters, in runs of every optimizer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rush_core import EmbeddedServer, TaskTable
from rush_opt import Boolean, Categorical, Float, Integer, tune
from rush_opt.space import Space

HARD = ['a "b"', "back\\slash", "line\nfeed", "tab\t", "nul\0", "bell\a", "\x1b[31mred", "", "é ∞"]


@pytest.mark.parametrize("optimizer", ["adbo", "acbo", "random"])
def test_names_with_any_characters_work(optimizer: str, server: EmbeddedServer) -> None:
    kinds = [Float(0, 1), Integer(1, 9), Float(1e-3, 1, log=True)]
    space: dict[str, Any] = {name: kinds[i % 3] for i, name in enumerate(HARD)}
    space |= {'which "one"': Categorical(["p", "q"]), "is\x00it": Boolean()}

    def objective(config: dict[str, Any]) -> dict[str, float]:
        return {'the "loss"\n': sum(config[name] for name in HARD), "n\\a": 1.0}

    result = tune(
        objective,
        space,
        metric='the "loss"\n',
        n_workers=2,
        n_trials=25,
        initial_design=6,
        optimizer=optimizer,
        seed=1,
        url=server.url,
        progress=False,
    )
    assert [trial.state for trial in result.frozen_trials] == ["finished"] * 25
    assert set(result.best_params) == set(space)
    assert len(result.trials) == 25


def test_a_table_reads_numbers_with_any_names() -> None:
    rows = [{name: float(i + 10 * j) for i, name in enumerate(HARD)} for j in range(3)]
    table = TaskTable.from_results(rows, [{'"': True}, {'"': 2}, {'"': -0.5}])
    expected = np.array([[row[name] for name in HARD] for row in rows])
    np.testing.assert_array_equal(table.to_numpy(HARD), expected)
    np.testing.assert_array_equal(table.to_numpy(['"'], of="result"), [[1.0], [2.0], [-0.5]])


@pytest.mark.parametrize("results", [[{'"': "text"}], [{}], [{'"': None}]])
def test_a_value_with_such_a_name_that_is_no_number_is_named(results: list[dict[str, Any]]) -> None:
    with pytest.raises(ValueError, match=r"need a number '\"' in the result of every task"):
        TaskTable.from_results([{}], results).to_numpy(['"'], of="result")


def test_a_name_that_is_no_text_for_a_server_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'\\udc80' cannot be written as UTF-8"):
        Space({"\udc80": Float(0, 1)})
    with pytest.raises(ValueError, match=r"'\\udc80' cannot be written as UTF-8"):
        tune(lambda config: 1.0, {"x": Float(0, 1)}, metric="\udc80")
