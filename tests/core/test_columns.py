"""Columns that are collected in parts are the columns of all rows."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rush_core import TaskTable
from rush_core.kernel.columns import Columns

values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(),
    st.sampled_from(["a", "b"]),
    st.lists(st.integers(), max_size=2),
)
# A part often has values of one type, which are packed.
parts = st.one_of(
    st.lists(values, max_size=4),
    st.lists(st.floats() | st.none(), max_size=4),
    st.lists(st.integers(-5, 5), max_size=4),
    st.lists(st.integers(2**63, 2**64 - 1), max_size=4),
    st.lists(st.booleans(), max_size=4),
    st.lists(st.none(), max_size=4),
)


def series_of(values: list[Any]) -> "pd.Series[Any]":
    """Make the column of all values at once."""
    types = {type(value) for value in values}
    if types == {float, type(None)}:
        values, types = [math.nan if value is None else value for value in values], {float}
    uniform = len(types) == 1 and types <= {bool, int, float, str}
    return pd.Series(values, dtype=None if uniform else object)


@given(st.lists(parts, max_size=4))
def test_a_column_in_parts_is_the_column_of_all_values(parts: list[list[Any]]) -> None:
    columns = Columns("config.")
    columns.append({"x": []}, 0)
    for part in parts:
        columns.append({"x": part}, len(part))
    (series,) = columns.to_series().values()
    expected = series_of([value for part in parts for value in part])
    assert series.dtype == expected.dtype
    assert list(map(type, series.tolist())) == list(map(type, expected.tolist()))
    np.testing.assert_array_equal(series.to_numpy(), expected.to_numpy())


def test_a_column_that_a_part_lacks_has_none_there() -> None:
    columns = Columns("")
    columns.append({"x": [1, 2]}, 2)
    columns.append({"y": [0.5]}, 1)
    columns.append({"y": [1.5], "z": ["a"]}, 1)
    columns.append({}, 1)
    series = columns.to_series()
    assert list(series) == ["x", "y", "z"]
    assert series["x"].tolist() == [1, 2, None, None, None]
    np.testing.assert_array_equal(series["y"], [np.nan, np.nan, 0.5, 1.5, np.nan])
    assert series["z"].tolist() == [None, None, None, "a", None]


@pytest.mark.parametrize("n", [9_999, 10_000, 25_001])
def test_a_frame_of_several_parts_has_all_rows_in_order(n: int) -> None:
    configs: list[dict[str, Any]] = [{"x": i, "kind": "tree"} for i in range(n)]
    for i in range(n // 2, n):
        configs[i]["rate"] = i / 2
    table = TaskTable.from_results(configs, [{"loss": i / 3} for i in range(n)])
    frame = table.to_pandas()
    assert list(frame["config.x"]) == list(range(n))
    assert frame["config.x"].dtype == np.int64
    assert set(frame["config.kind"]) == {"tree"}
    rates = [math.nan if i < n // 2 else i / 2 for i in range(n)]
    np.testing.assert_array_equal(frame["config.rate"], rates)
    np.testing.assert_array_equal(frame["result.loss"], [i / 3 for i in range(n)])
    assert list(frame["key"]) == table.keys
